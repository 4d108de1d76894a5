//! One step: what the agent says until it calls tools of ours or ends its turn.

use std::time::Duration;

use agent_client_protocol::v1::schema::StopReason;
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, StopKind};
use perennial_router::mcp::McpCall;
use perennial_schema::EventId;
use perennial_schema::event::{Native, Raw};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::fault;

/// Calls come over another connection than words, and several may come at once: silence of so long after a call tells that
/// the step is complete. What comes later belongs to the next one.
const GATHERING: Duration = Duration::from_millis(50);

/// What comes from a process.
#[derive(Debug)]
pub(super) enum Heard {
    /// More of what it says.
    Text(String),
    /// More of what it thinks.
    Thought(String),
    /// It calls a tool of ours, and waits.
    Call(McpCall),
    /// It waits no more for this call, and made up a result.
    GaveUp(String),
    /// Its turn is over.
    Ended(Result<StopReason, ModelError>),
    /// The process is.
    Gone(ModelError),
}

/// Why there is no step.
#[derive(Debug)]
pub(super) enum Broken {
    /// The process is of no use any more, and nothing of a step was shown: start again from the log.
    Void(&'static str),
    /// The attempt failed.
    Failed(ModelError),
}

/// A step, and whether the agent's turn is over with it.
#[derive(Debug)]
pub(super) struct Heeded {
    pub(super) step: ModelStep,
    pub(super) is_over: bool,
}

/// Listens until the step is complete.
pub(super) async fn listen(
    name: &str,
    heard: &mut mpsc::Receiver<Heard>,
    silence: Duration,
    sink: &mut dyn DeltaSink,
) -> Result<Heeded, Broken> {
    let mut draft = Draft::new(name);
    loop {
        let calling = !draft.calls.is_empty();
        let next = timeout(if calling { GATHERING } else { silence }, heard.recv()).await;
        match next {
            Err(_) if calling => return Ok(draft.end(StopKind::EndTurn, false)),
            Err(_) => {
                let seconds = silence.as_secs();
                let message = format!("acp:{name} said nothing for {seconds} s and was given up");
                return Err(Broken::Failed(fault::transient(message)));
            }
            Ok(None) => return Err(Broken::Void("nobody tells anything any more")),
            Ok(Some(Heard::Text(text))) => draft.say(&text, sink),
            Ok(Some(Heard::Thought(text))) => draft.think(&text, sink),
            Ok(Some(Heard::Call(call))) => draft.call(call, sink),
            Ok(Some(Heard::GaveUp(call))) => {
                let why = "it did not wait for a result";
                tracing::debug!(harness.name = name, call.id = call, why);
                return Err(if draft.parts.is_empty() && !calling {
                    Broken::Void(why)
                } else {
                    Broken::Failed(fault::transient(format!("acp:{name}: {why}")))
                });
            }
            Ok(Some(Heard::Gone(error) | Heard::Ended(Err(error)))) => return Err(Broken::Failed(error)),
            Ok(Some(Heard::Ended(Ok(reason)))) => {
                let stop = stop(name, reason).map_err(Broken::Failed)?;
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
}

enum Said {
    Text(EventId, String),
    Thought(EventId, String),
}

impl<'a> Draft<'a> {
    const fn new(name: &'a str) -> Self {
        Self {
            name,
            parts: Vec::new(),
            calls: Vec::new(),
        }
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

    fn call(&mut self, call: McpCall, sink: &mut dyn DeltaSink) {
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

    async fn listened(heard: Vec<Heard>) -> Result<Heeded, Broken> {
        let (tx, mut rx) = mpsc::channel(heard.len() + 1);
        for heard in heard {
            tx.send(heard).await.unwrap();
        }
        listen("x", &mut rx, SILENCE, &mut Recorder::default()).await
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
    async fn what_breaks_a_step_says_why() {
        assert!(matches!(
            listened(vec![Heard::GaveUp("1".into())]).await,
            Err(Broken::Void(_))
        ));
        let Err(Broken::Failed(error)) = listened(vec![Heard::Ended(Ok(StopReason::MaxTurnRequests))]).await else {
            panic!("no error")
        };
        assert!(
            !error.retryable && error.message.contains("limit of requests"),
            "{error}"
        );
        let (tx, mut rx) = mpsc::channel(1);
        let start = tokio::time::Instant::now();
        let silent = listen("x", &mut rx, SILENCE, &mut Recorder::default()).await;
        let Err(Broken::Failed(error)) = silent else {
            panic!("no error")
        };
        assert!(error.retryable && error.kind == ErrorKind::ModelRequestFailedError);
        assert_eq!(start.elapsed(), SILENCE);
        drop(tx);
    }
}
