//! One step: what the agent says until it calls tools of ours or ends its turn.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use agent_client_protocol::v1::schema::StopReason;
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, StopKind};
use perennial_router::mcp::McpCall;
use perennial_schema::EventId;
use perennial_schema::event::{Native, Raw};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::harness::fault::{self, Broken};

/// Calls come over another connection than words, and several may come at once. When the agent has named as many calls as it
/// made, silence of so long tells that the step is complete.
const GATHERING: Duration = Duration::from_millis(50);
/// The same when it has named fewer: they are named on the way that words come, so those before them are still to come. Or
/// more: then calls are.
const CATCHING_UP: Duration = Duration::from_secs(2);
/// The same with an agent that was waited for like that and named none.
const UNNAMED: Duration = Duration::from_millis(300);
/// The step is complete so long after its first call, whatever else the agent tells meanwhile. What comes later belongs to
/// the next one.
const GATHERED: Duration = Duration::from_secs(5);

/// What comes from a process.
#[derive(Debug)]
pub(super) enum Heard {
    /// More of what it says.
    Text(String),
    /// More of what it thinks.
    Thought(String),
    /// It names a call that it makes, of our tools or its own: what it said before is told by now.
    Named(String),
    /// A call that it named is over.
    Settled(String),
    /// Any other sign of life.
    Stirred,
    /// It calls a tool of ours, and waits.
    Call(McpCall),
    /// It waits no more for a call, and made up a result.
    GaveUp,
    /// Its turn is over.
    Ended(Result<StopReason, ModelError>),
    /// The process is; this became of it.
    Gone(String),
}

/// Hears a process, also between two steps.
#[derive(Debug)]
pub(super) struct Ear {
    heard: mpsc::Receiver<Heard>,
    /// Heard before anybody asked.
    early: VecDeque<Heard>,
    /// It calls without naming.
    names_none: bool,
}

impl Ear {
    pub(super) const fn new(heard: mpsc::Receiver<Heard>) -> Self {
        Self {
            heard,
            early: VecDeque::new(),
            names_none: false,
        }
    }

    /// The next of it. A future that is dropped loses nothing.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        match self.early.pop_front() {
            Some(heard) => Some(heard),
            None => self.heard.recv().await,
        }
    }

    /// Keeps what an agent tells that waits for results until it is of no use any more; tells why. How much that can be is
    /// bounded where its lines are read.
    pub(super) async fn overhear(&mut self) -> String {
        loop {
            match self.heard.recv().await {
                None => return "nobody tells anything any more".into(),
                Some(Heard::Gone(why)) => return why,
                Some(Heard::Ended(_)) => return "it ended its turn by itself".into(),
                Some(Heard::GaveUp) => return NO_PATIENCE.into(),
                Some(other) => self.early.push_back(other),
            }
        }
    }
}

const NO_PATIENCE: &str = "it did not wait for a result";

/// A step, and whether the agent's turn is over with it.
#[derive(Debug)]
pub(super) struct Heeded {
    pub(super) step: ModelStep,
    pub(super) is_over: bool,
}

/// Listens until the step is complete.
pub(super) async fn listen(
    name: &str,
    ear: &mut Ear,
    silence: Duration,
    sink: &mut dyn DeltaSink,
) -> Result<Heeded, Broken> {
    let mut draft = Draft::new(name);
    loop {
        let until = draft.complete_at(ear.names_none);
        let until = until.unwrap_or_else(|| Instant::now() + silence);
        match timeout_at(until, ear.next()).await {
            Err(_) if !draft.calls.is_empty() => {
                ear.names_none = !draft.named_any;
                return Ok(draft.end(StopKind::EndTurn, false));
            }
            Err(_) => {
                let seconds = silence.as_secs();
                let message = format!("acp:{name} said nothing for {seconds} s and was given up");
                return Err(fault::transient(message).into());
            }
            Ok(None) => return Err(draft.broken("nobody tells anything any more")),
            Ok(Some(Heard::Text(text))) => draft.say(&text, sink),
            Ok(Some(Heard::Thought(text))) => draft.think(&text, sink),
            Ok(Some(Heard::Named(call))) => draft.name(call),
            Ok(Some(Heard::Settled(call))) => drop(draft.named.remove(&call)),
            Ok(Some(Heard::Stirred)) => {}
            Ok(Some(Heard::Call(call))) => draft.call(call, sink),
            Ok(Some(Heard::GaveUp)) => return Err(draft.broken(NO_PATIENCE)),
            Ok(Some(Heard::Gone(why))) => return Err(draft.broken(&why)),
            Ok(Some(Heard::Ended(Err(error)))) => return Err(error.into()),
            Ok(Some(Heard::Ended(Ok(reason)))) => {
                let stop = stop(name, reason)?;
                return Ok(draft.end(stop, true));
            }
        }
    }
}

fn stop(name: &str, reason: StopReason) -> Result<StopKind, ModelError> {
    match reason {
        StopReason::EndTurn => Ok(StopKind::EndTurn),
        StopReason::MaxTokens => Ok(StopKind::MaxTokens),
        StopReason::Refusal => Ok(StopKind::Refusal),
        StopReason::MaxTurnRequests => Err(fault::setup(format!(
            "acp:{name} stopped at its own limit of requests in a turn: raise it in the agent's configuration"
        ))),
        other => Err(fault::transient(format!("acp:{name} stopped its turn: {other:?}"))),
    }
}

/// What is being said.
struct Draft<'a> {
    name: &'a str,
    parts: Vec<Said>,
    calls: Vec<Part>,
    first_call: Option<Instant>,
    /// Calls it named in this step that are not over, by its own ids.
    named: HashSet<String>,
    named_any: bool,
}

enum Said {
    Text(EventId, String),
    Thought(EventId, String),
}

impl<'a> Draft<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            parts: Vec::new(),
            calls: Vec::new(),
            first_call: None,
            named: HashSet::new(),
            named_any: false,
        }
    }

    /// When a step with calls is complete if nothing more comes.
    fn complete_at(&self, names_none: bool) -> Option<Instant> {
        let gathered = self.first_call? + GATHERED;
        let pause = if self.named.len() == self.calls.len() {
            GATHERING
        } else if names_none && !self.named_any {
            UNNAMED
        } else {
            CATCHING_UP
        };
        Some(gathered.min(Instant::now() + pause))
    }

    /// The agent is of no use any more: which matters only to this process as long as nothing of the step was shown.
    fn broken(&self, why: &str) -> Broken {
        tracing::debug!(harness.name = self.name, why);
        if self.parts.is_empty() && self.calls.is_empty() {
            return Broken::void(why.to_owned());
        }
        let name = self.name;
        Broken::Failed(fault::transient(format!("acp:{name}: {why}")).with_refusal_found())
    }

    fn say(&mut self, more: &str, sink: &mut dyn DeltaSink) {
        if !matches!(self.parts.last(), Some(Said::Text(..))) {
            self.parts.push(Said::Text(sink.start(false), String::new()));
        }
        if let Some(Said::Text(id, text)) = self.parts.last_mut() {
            sink.text(*id, more);
            text.push_str(more);
        }
    }

    fn think(&mut self, more: &str, sink: &mut dyn DeltaSink) {
        if !matches!(self.parts.last(), Some(Said::Thought(..))) {
            self.parts.push(Said::Thought(sink.start(true), String::new()));
        }
        if let Some(Said::Thought(_, thought)) = self.parts.last_mut() {
            thought.push_str(more);
        }
    }

    fn name(&mut self, call: String) {
        self.named.insert(call);
        self.named_any = true;
    }

    fn call(&mut self, call: McpCall, sink: &mut dyn DeltaSink) {
        self.first_call.get_or_insert_with(Instant::now);
        self.calls.push(Part::ToolUse {
            id: sink.id(),
            native_id: call.tool_use_id,
            name: call.tool,
            input: call.arguments,
        });
    }

    /// Usage stays at nothing: the protocol does not tell it.
    fn end(self, stop: StopKind, is_over: bool) -> Heeded {
        let said = self.parts.into_iter().map(|said| match said {
            Said::Text(id, text) => Part::Text { id, text },
            Said::Thought(id, thought) => Part::Thinking {
                id,
                native: Native {
                    provider: format!("acp:{}", self.name),
                    block: Raw::of(&json!({"type": "thinking", "thinking": thought})),
                },
            },
        });
        let step = ModelStep {
            parts: said.chain(self.calls).collect(),
            stop,
            ..ModelStep::default()
        };
        Heeded { step, is_over }
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::event::ErrorKind;

    use super::*;
    use crate::model::testing::Recorder;

    const SILENCE: Duration = Duration::from_secs(60);

    /// A sender that lives, and an ear that has heard this.
    fn ear(heard: Vec<Heard>) -> (mpsc::Sender<Heard>, Ear) {
        let (tx, rx) = mpsc::channel(8);
        let mut ear = Ear::new(rx);
        ear.early.extend(heard);
        (tx, ear)
    }

    async fn listened(heard: Vec<Heard>) -> Result<Heeded, Broken> {
        let (_tx, mut ear) = ear(heard);
        listen("x", &mut ear, SILENCE, &mut Recorder::default()).await
    }

    fn call(id: &str) -> Heard {
        Heard::Call(McpCall {
            tool: "bash".into(),
            arguments: Raw::of(&json!({})),
            tool_use_id: id.into(),
        })
    }

    fn shown(step: &ModelStep) -> String {
        let parts = step.parts.iter().map(|part| match part {
            Part::Text { text, .. } => text.clone(),
            Part::Thinking { native, .. } => format!("~{}", native.block.text()),
            Part::ToolUse { native_id, .. } => native_id.clone(),
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn calls_end_a_step_when_no_more_come_and_words_that_were_late_stand_before_them() {
        let told = vec![Heard::Text("a".into()), call("1"), Heard::Text("b".into()), call("2")];
        let heeded = listened(told).await.unwrap();
        assert_eq!((shown(&heeded.step).as_str(), heeded.is_over), ("ab 1 2", false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_turn_ends_a_step() {
        let told = vec![
            Heard::Thought("h".into()),
            Heard::Thought("m".into()),
            Heard::Text("a".into()),
            Heard::Ended(Ok(StopReason::MaxTokens)),
        ];
        let heeded = listened(told).await.unwrap();
        assert_eq!(shown(&heeded.step), "~{\"type\":\"thinking\",\"thinking\":\"hm\"} a");
        assert_eq!((heeded.step.stop, heeded.is_over), (StopKind::MaxTokens, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_waits_for_words_before_a_call_and_for_calls_that_were_named() {
        let named = |id: &str| Heard::Named(id.into());
        let both = vec![named("a"), call("1"), named("b"), call("2")];
        let mixed = vec![named("own"), Heard::Settled("own".into()), named("a"), call("1")];
        let unnamed = vec![call("1")];
        let awaited = vec![named("a"), named("b"), call("1")];
        for (told, pause) in [
            (both, GATHERING),
            (mixed, GATHERING),
            (unnamed, CATCHING_UP),
            (awaited, CATCHING_UP),
        ] {
            let began = Instant::now();
            listened(told).await.unwrap();
            assert_eq!(began.elapsed(), pause);
        }
        // Who named none is not waited for as long again.
        let (_tx, mut silent) = ear(Vec::new());
        for (told, pause) in [
            (vec![call("1")], CATCHING_UP),
            (vec![call("2")], UNNAMED),
            (vec![named("a"), call("3")], GATHERING),
            (vec![call("4")], CATCHING_UP),
        ] {
            silent.early.extend(told);
            let began = Instant::now();
            listen("x", &mut silent, SILENCE, &mut Recorder::default())
                .await
                .unwrap();
            assert_eq!(began.elapsed(), pause);
        }
        // Late by less than that: they are before the call, in the same step.
        let (tx, mut ear) = ear(vec![call("1")]);
        tokio::spawn(async move {
            tokio::time::sleep(CATCHING_UP - GATHERING).await;
            tx.send(Heard::Text("late".into())).await.unwrap();
            tokio::time::sleep(SILENCE).await;
        });
        let heeded = listen("x", &mut ear, SILENCE, &mut Recorder::default()).await.unwrap();
        assert_eq!(shown(&heeded.step), "late 1");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_never_pauses_does_not_hold_up_its_calls() {
        let (tx, mut ear) = ear(vec![call("1")]);
        tokio::spawn(async move {
            while tx.send(Heard::Stirred).await.is_ok() {
                tokio::time::sleep(GATHERING / 2).await;
            }
        });
        let began = Instant::now();
        listen("x", &mut ear, SILENCE, &mut Recorder::default()).await.unwrap();
        assert_eq!(began.elapsed(), GATHERED);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_between_two_steps_is_of_the_next_one() {
        let (tx, mut ear) = ear(Vec::new());
        for heard in [Heard::Text("early".into()), call("1"), Heard::GaveUp] {
            tx.send(heard).await.unwrap();
        }
        assert_eq!(ear.overhear().await, NO_PATIENCE);
        let heeded = listen("x", &mut ear, SILENCE, &mut Recorder::default()).await.unwrap();
        assert_eq!(shown(&heeded.step), "early 1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_a_step_says_why() {
        for (told, says) in [
            (Heard::GaveUp, NO_PATIENCE),
            (Heard::Gone("a signal".into()), "a signal"),
        ] {
            let Err(Broken::Void(why)) = listened(vec![told]).await else {
                panic!("nothing was shown")
            };
            assert!(why.contains(says), "{why}");
        }
        let shown = vec![Heard::Text("a".into()), Heard::Gone("a signal".into())];
        let Err(Broken::Failed(error)) = listened(shown).await else {
            panic!("no error")
        };
        assert!(error.retryable && error.message.contains("acp:x: a signal"), "{error}");
        let Err(Broken::Failed(error)) = listened(vec![Heard::Ended(Ok(StopReason::MaxTurnRequests))]).await else {
            panic!("no error")
        };
        assert!(
            !error.retryable && error.message.contains("limit of requests"),
            "{error}"
        );
        let began = Instant::now();
        let Err(Broken::Failed(error)) = listened(Vec::new()).await else {
            panic!("no error")
        };
        assert!(error.retryable && error.kind == ErrorKind::ModelRequestFailedError);
        assert_eq!(began.elapsed(), SILENCE);
    }
}
