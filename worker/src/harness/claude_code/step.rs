//! The next message of a process: read event by event, checked, previewed, and turned into a step.

use std::time::Duration;

use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part};
use perennial_schema::event::Raw;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::events::{self, Event, Server};
use super::live::{Live, Phase};
use super::{SERVER, TOOL_PREFIX};
use crate::harness::fault::{self, Broken};
use crate::model::anthropic::accumulator::Accumulator;

/// How long a process that has its prompt may take to say that it begins; it does so before it asks its model.
pub(super) const HELLO: Duration = Duration::from_secs(10);
/// How often the memory of a process at work is looked at.
const WEIGHING: Duration = Duration::from_secs(2);

/// How long and how much a process may be about a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Longest silence.
    pub(super) silence: Duration,
    /// Most memory.
    pub(super) bytes: u64,
}

/// A message that comes in.
#[derive(Default)]
struct Incoming {
    message: Option<Accumulator>,
    /// It holds a word, and nothing but words and thoughts.
    words: bool,
    other: bool,
    /// It calls a tool we do not have.
    stray: bool,
    /// The harness answered one of its calls itself.
    spoiled: bool,
}

impl Live {
    /// Its next assistant message.
    pub(super) async fn step(&mut self, bounds: Bounds, sink: &mut dyn DeltaSink) -> Result<ModelStep, Broken> {
        let mut incoming = Incoming::default();
        loop {
            let event = match self.hear(bounds, incoming.message.is_some()).await? {
                Some(event) => event,
                None if incoming.message.is_none() => return Err(Broken::void("the process ended")),
                None => return Err(fault::transient("Claude Code ended in the middle of a message").into()),
            };
            match event {
                Event::Init { tools, servers } => self.greet(&tools, &servers)?,
                Event::Stream(event) => {
                    if self.take(&mut incoming, &event, sink)? {
                        let step = incoming.message.map(Accumulator::finish).transpose()?;
                        return Ok(self.said(step.unwrap_or_default(), incoming.spoiled));
                    }
                }
                // It answers calls of unknown tools itself, and does so while the message still comes.
                Event::ToolResults(ids) if !ids.iter().all(|id| self.desk.has_served(id)) => match incoming.message {
                    Some(_) => incoming.spoiled = true,
                    None => return Err(Broken::void("it made up a tool result")),
                },
                Event::Result(ending) => return Err(super::fault::ended(&ending, &self.model).into()),
                Event::ToolResults(_) | Event::Other => {}
            }
        }
    }

    /// Its next event, while it is neither silent for too long nor too large.
    async fn hear(&mut self, bounds: Bounds, begun: bool) -> Result<Option<Event>, Broken> {
        let patience = if self.greeted || begun || self.turns == 0 {
            bounds.silence
        } else {
            HELLO.min(bounds.silence)
        };
        let mut weighing = interval(WEIGHING);
        weighing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        weighing.reset();
        let silent = tokio::time::sleep_until(Instant::now() + patience);
        tokio::pin!(silent);
        let line = loop {
            tokio::select! {
                biased;
                line = self.process.next() => break line,
                () = &mut silent => {
                    if self.greeted || self.turns == 0 {
                        let seconds = patience.as_secs();
                        return Err(fault::transient(format!("Claude Code was silent for {seconds} s")).into());
                    }
                    return Err(Broken::void("it did not take its prompt"));
                }
                _ = weighing.tick() => {
                    let bytes = self.process.resident_bytes();
                    if bytes > bounds.bytes {
                        let megabytes = bytes / 1024 / 1024;
                        return Err(fault::transient(format!("Claude Code was ended: it used {megabytes} MiB of memory")).into());
                    }
                }
            }
        };
        let line = line.map_err(|error| fault::transient(format!("Claude Code: {error}")))?;
        let event = line.map(|line| events::parse(&line)).transpose();
        event.map_err(|error| fault::transient(format!("Claude Code: a line has an unknown shape: {error}")).into())
    }

    /// Takes a piece of the message; true when it was the last one.
    fn take(&mut self, incoming: &mut Incoming, event: &Raw, sink: &mut dyn DeltaSink) -> Result<bool, ModelError> {
        if !self.greeted {
            return Err(fault::tools("Claude Code asked its model before it named its tools"));
        }
        let glance: Glance = event
            .parse()
            .map_err(|error| fault::transient(format!("Claude Code sent an unknown event: {error}")))?;
        if glance.kind == "message_start" && incoming.message.is_some() {
            return Err(fault::transient("Claude Code began its message again"));
        }
        incoming.words |= glance.has_words();
        incoming.other |= glance.begins_other_than_words();
        incoming.stray |= glance.calls().is_some_and(|name| !self.offers(name));
        incoming
            .message
            .get_or_insert_with(Accumulator::default)
            .event(event.text(), sink)?;
        match glance.stop_reason() {
            None => {}
            // A call of an unknown tool is answered by the harness, which then asks its model at once.
            Some("tool_use") if !incoming.stray => {}
            // The one ending behind which the harness does nothing of its own.
            Some("end_turn") if incoming.words && !incoming.other => self.phase = Phase::Finishing,
            // Complete but for `message_stop`, which says nothing. Ended here and now, before the harness asks again; should it
            // be faster for once, that request dies with it, and nobody hears its answer.
            Some(_) => {
                self.phase = Phase::Over;
                self.process.kill();
                return Ok(true);
            }
        }
        Ok(glance.kind == "message_stop")
    }

    /// The harness goes on without our tools as if nothing were wrong, so this is checked before its first message.
    fn greet(&mut self, tools: &[String], servers: &[Server]) -> Result<(), ModelError> {
        let connected = |server: &Server| server.name == SERVER && server.status == "connected";
        if !(servers.len() == 1 && servers.iter().all(connected)) {
            return Err(fault::tools(format!(
                "Claude Code did not connect to our tools: {servers:?}"
            )));
        }
        let mut offered: Vec<_> = tools.iter().map(String::as_str).collect();
        let expected: Vec<_> = self
            .asked
            .tools
            .iter()
            .map(|tool| format!("{TOOL_PREFIX}{}", tool.name))
            .collect();
        let mut expected: Vec<_> = expected.iter().map(String::as_str).collect();
        offered.sort_unstable();
        expected.sort_unstable();
        if offered != expected {
            return Err(fault::tools(format!(
                "Claude Code has other tools than ours: {offered:?}"
            )));
        }
        self.greeted = true;
        Ok(())
    }

    /// Whether a tool, as the harness names it, is one of ours.
    fn offers(&self, name: &str) -> bool {
        let own = name.strip_prefix(TOOL_PREFIX);
        own.is_some_and(|own| self.asked.tools.iter().any(|tool| tool.name == own))
    }

    /// Gives tools their own names back, and notes what the process will wait for. A process that answers a call itself
    /// waits for nothing of ours.
    fn said(&mut self, mut step: ModelStep, spoiled: bool) -> ModelStep {
        let mut calls = Vec::new();
        let mut known = !spoiled;
        for part in &mut step.parts {
            let Part::ToolUse {
                id, native_id, name, ..
            } = part
            else {
                continue;
            };
            if let Some(own) = name.strip_prefix(TOOL_PREFIX) {
                *name = own.to_owned();
            }
            known &= self.asked.tools.iter().any(|tool| tool.name == *name);
            // Two calls of one id could not be told apart when they ask for their results.
            known &= calls.iter().all(|(_, other)| other != native_id);
            calls.push((*id, native_id.clone()));
        }
        self.held = self.held.and(&step);
        match self.phase {
            Phase::Asking if known && !calls.is_empty() => self.phase = Phase::Calling(calls),
            Phase::Finishing if known && calls.is_empty() => {}
            _ => self.phase = Phase::Over,
        }
        step
    }

    /// Reads what follows its last message until it has ended its turn.
    pub(super) async fn until_rested(&mut self) -> Result<(), Broken> {
        let finishing = async {
            while !matches!(self.phase, Phase::Resting) {
                if let Err(why) = self.overhear().await {
                    return Err(Broken::void(why));
                }
            }
            Ok(())
        };
        match timeout(HELLO, finishing).await {
            Ok(rested) => rested,
            Err(_) => Err(Broken::void("it did not end its turn")),
        }
    }

    /// Reads one line of a process that waits: it has nothing to say but that its turn is over.
    pub(super) async fn overhear(&mut self) -> Result<(), &'static str> {
        let Ok(line) = self.process.next().await else {
            return Err("it cannot be read");
        };
        let Some(line) = line else {
            return Err("it ended");
        };
        match events::parse(&line) {
            Ok(Event::Other) => Ok(()),
            Ok(Event::Result(ending)) if matches!(self.phase, Phase::Finishing) && ending.is_fine() => {
                self.phase = Phase::Resting;
                Ok(())
            }
            Ok(Event::Result(_)) => Err("it ended its turn by itself"),
            Ok(Event::Stream(event)) if matches!(self.phase, Phase::Finishing) && is_end(&event) => Ok(()),
            Ok(Event::Init { .. } | Event::Stream(_)) => Err("it asked its model by itself"),
            Ok(Event::ToolResults(_)) => Err("it made up a tool result"),
            Err(_) => Err("it said what cannot be understood"),
        }
    }
}

fn is_end(event: &Raw) -> bool {
    event
        .parse::<Glance>()
        .is_ok_and(|glance| matches!(glance.kind.as_str(), "message_stop" | "ping"))
}

/// What we look at ourselves in an event of the model's stream.
#[derive(Deserialize)]
struct Glance {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    delta: Option<GlanceDelta>,
    #[serde(default)]
    content_block: Option<GlanceBlock>,
}

#[derive(Deserialize)]
struct GlanceDelta {
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct GlanceBlock {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    name: Option<String>,
}

impl Glance {
    fn stop_reason(&self) -> Option<&str> {
        self.delta.as_ref()?.stop_reason.as_deref()
    }

    fn has_words(&self) -> bool {
        let begun = self.content_block.as_ref().map(|block| block.text.as_str());
        let more = self.delta.as_ref().and_then(|delta| delta.text.as_deref());
        begun.or(more).is_some_and(|text| !text.trim().is_empty())
    }

    /// The tool a call that begins here is for.
    fn calls(&self) -> Option<&str> {
        let begun = self.content_block.as_ref().filter(|block| block.kind == "tool_use")?;
        begun.name.as_deref()
    }

    fn begins_other_than_words(&self) -> bool {
        self.content_block
            .as_ref()
            .is_some_and(|block| !matches!(block.kind.as_str(), "text" | "thinking" | "redacted_thinking"))
    }
}
