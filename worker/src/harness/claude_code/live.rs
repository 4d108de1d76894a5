//! A live process: what it was started for, what its conversation holds, and what it waits for.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::ModelError;
use perennial_router::mcp::McpEndpoint;
use perennial_schema::{EventId, Timestamp};
use tokio::time::Instant;

use super::desk::Desk;
use super::launch::{self, Start};
use super::message::{answers, is_prompt};
use super::{Settings, transcript};
use crate::harness::access::{Admitted, Wire};
use crate::harness::asked::Asked;
use crate::harness::fault::Broken;
use crate::harness::held::{Answers, Held};
use crate::harness::process::{Install, Process};
use crate::harness::warm::{Slot, Waiter, Waits};
use crate::harness::{Think, fault};
use crate::limits;
use crate::model::anthropic::body::EFFORTS;
use crate::model::effort;

/// Before midnight, a process is not used for another turn: it tells its model the date it began with.
const MIDNIGHT_MILLIS: u64 = 60_000;

/// Where a process is.
#[derive(Debug)]
pub(super) enum Phase {
    /// It asks its model.
    Asking,
    /// It waits for results of these calls of its last message, by our id and the model's.
    Calling(Vec<(EventId, String)>),
    /// Its last message ended the turn; it has not said so yet.
    Finishing,
    /// It waits for a prompt.
    Resting,
    /// It is of no use any more.
    Over,
}

/// A process and what belongs to it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) process: Process,
    pub(super) desk: Arc<Desk>,
    pub(super) asked: Asked,
    /// The model, as the process knows it.
    pub(super) model: String,
    pub(super) held: Held,
    pub(super) phase: Phase,
    /// It said hello with the right tools, in this turn.
    pub(super) greeted: bool,
    /// Prompts it was given beyond its transcript.
    pub(super) turns: u64,
    endpoint: McpEndpoint,
    admitted: Admitted,
    began: Instant,
    day: Timestamp,
    _slot: Slot,
}

impl Live {
    /// Starts a process from the whole conversation.
    pub(super) async fn start(
        settings: &Settings,
        install: &Install,
        ask: &Think<'_>,
        slot: Slot,
    ) -> Result<Self, ModelError> {
        let (admitted, access) = Admitted::at(settings.gate.clone(), ask.key, ask.agent, Wire::Messages).await?;
        let asked = asked(ask);
        let desk = Desk::new();
        let endpoint = McpEndpoint::listen(ask.tools, desk.clone())
            .await
            .map_err(|error| fault::transient(format!("no MCP endpoint for Claude Code: {error}")))?;
        let session = ask.key.session.uuid();
        let at = settings.clock.now();
        let transcript = transcript::render(&ask.messages, session, &access.model, at);
        let start = Start {
            session,
            transcript: &transcript,
            effort: asked.effort.as_deref(),
            system: asked.system.as_deref(),
            mcp_url: &endpoint.url(),
            mcp_token: endpoint.token(),
            access: &access,
        };
        let process = launch::spawn(settings, install, &start)
            .map_err(|error| fault::transient(format!("Claude Code could not be started: {error}")))?;
        Ok(Self {
            process,
            desk,
            asked,
            model: access.model,
            // While the process starts, which takes much longer.
            held: Held::of(&ask.messages),
            phase: Phase::Asking,
            greeted: false,
            turns: 0,
            endpoint,
            admitted,
            began: Instant::now(),
            day: at,
            _slot: slot,
        })
    }

    /// Hands the process what it waits for, if these messages are what it holds and exactly that.
    pub(super) async fn go_on(&mut self, ask: &Think<'_>, at: Timestamp) -> Result<(), Broken> {
        if self.began.elapsed() >= limits::HARNESS_AGE {
            return Err(Broken::void("it has lived long enough"));
        }
        if self.asked != asked(ask) {
            return Err(Broken::void("agent or tools are others now"));
        }
        let Some((last, next)) = self.held.next(&ask.messages) else {
            return Err(Broken::void("the conversation went another way"));
        };
        if let Phase::Calling(calls) = &self.phase {
            let Some(answers) = answers(calls, last) else {
                return Err(Broken::void("it waits for other results"));
            };
            self.desk.post(answers);
        } else {
            if !is_prompt(last) {
                return Err(Broken::void("what comes is no prompt"));
            }
            if !same_day(self.day, at) {
                return Err(Broken::void("it began on another day"));
            }
            self.until_rested().await?;
            self.desk.post(Answers::new());
            self.greeted = false;
            self.turns += 1;
            let said = self.process.say(&transcript::prompt(last)).await;
            said.map_err(|_| Broken::void("it does not listen"))?;
        }
        self.held = next;
        self.phase = Phase::Asking;
        Ok(())
    }

    /// What it waits for, if it is worth keeping.
    pub(super) const fn waits(&self) -> Option<Waits> {
        match self.phase {
            Phase::Calling(_) => Some(Waits::ForResults),
            Phase::Finishing | Phase::Resting => Some(Waits::ForTurn),
            Phase::Asking | Phase::Over => None,
        }
    }

    /// What became of the process, after its output ended.
    pub(super) async fn epitaph(&mut self) -> String {
        self.process.epitaph().await
    }
}

#[async_trait]
impl Waiter for Live {
    async fn spoils(&mut self) -> String {
        loop {
            if let Err(why) = self.overhear().await {
                return why.to_owned();
            }
        }
    }

    fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Kills the process, frees the port, gives the key back.
    async fn end(self) {
        self.process.end().await;
        self.endpoint.close().await;
        self.admitted.withdraw().await;
    }
}

fn asked(ask: &Think<'_>) -> Asked {
    let effort = effort(&ask.agent.model).filter(|level| EFFORTS.contains(&level.as_str()));
    Asked::of(ask, effort)
}

fn same_day(began: Timestamp, now: Timestamp) -> bool {
    let day = |at: Timestamp| at.datetime().date_naive();
    day(began) == day(now) && day(now) == day(now.plus_millis(MIDNIGHT_MILLIS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_a_little_early() {
        let noon = Timestamp::from_micros(43_200_000_000);
        let later = |minutes: u64| noon.plus_millis(minutes * 60_000);
        assert!(same_day(noon, later(1)) && same_day(noon, later(12 * 60 - 2)));
        assert!(!same_day(noon, later(12 * 60 - 1)) && !same_day(noon, later(24 * 60)));
    }
}
