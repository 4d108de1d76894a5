//! `rehearsal-1`: a deterministic model that needs no key. It obeys a script in the prompt, so that a newcomer, a test and
//! a benchmark see real turns with real tools. Every message it writes begins with its name.
//!
//! * **The script** is the newest thing the user said, whether or not it holds commands: a message that arrives while a
//!   script is being played takes its place (that is what steering means). Messages that enter the context together are
//!   one script. The grammar is in [`script`].
//! * **An interrupt** is not shown to a model. A script that was cut off before the model said anything stands unanswered
//!   before the next message, and the two are one script: the old lines are played first, as any model would read them.
//! * **The step** is the number of model steps after that message, so the same conversation always gets the same answer:
//!   a process that was killed goes on where the log says.
//! * **Failures** (`/fail`) leave no trace in a conversation. They are counted in memory by session and step, and forgotten
//!   when the step succeeds; after a restart they are played again from the first.
//! * A script always ends with a message: one is added when its last step says nothing or asks for tools.
//! * Usage is counted from the texts alone; `max_tokens` is not obeyed.

pub mod script;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{DeltaSink, Model, ModelError, ModelRequest, ModelStep, Part, StopKind};
use perennial_schema::SessionId;
use perennial_schema::model::Usage;

use self::script::{Act, Script, Step};
use super::error;

/// Its id.
pub const ID: &str = "rehearsal-1";

/// Failures in progress that are remembered; beyond this all are forgotten, which only repeats some.
const COUNTERS: usize = 4_096;
/// Tokens written without a pause before other tasks get their turn.
const BURST: u64 = 64;

/// The rehearsal model.
#[derive(Debug, Default)]
pub struct Rehearsal {
    failed: Mutex<HashMap<Spot, usize>>,
}

/// A place in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Spot {
    session: SessionId,
    messages: usize,
    step: usize,
}

/// What the conversation asks of the model now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cue {
    /// The newest thing the user said.
    prompt: String,
    /// Model steps since.
    step: usize,
    /// Tool results since, and how many of them are errors.
    results: (usize, usize),
}

impl Cue {
    fn of(messages: &[Message]) -> Self {
        let prompt_at = messages.iter().rposition(|message| !words(message).is_empty());
        let since = prompt_at.map_or(&[][..], |at| &messages[at..]);
        let results = since
            .iter()
            .skip(1)
            .flat_map(|message| &message.parts)
            .filter_map(|part| match part {
                MessagePart::ToolResult { is_error, .. } => Some(*is_error),
                _ => None,
            });
        let results: Vec<bool> = results.collect();
        Self {
            prompt: since
                .first()
                .map(|message| words(message).join("\n"))
                .unwrap_or_default(),
            step: since.iter().filter(|message| message.role == Role::Assistant).count(),
            results: (results.len(), results.iter().filter(|is_error| **is_error).count()),
        }
    }
}

/// What the user says in a message; empty for the model's messages and for those that only carry results. A picture is
/// something said, if not something understood.
fn words(message: &Message) -> Vec<String> {
    if message.role == Role::Assistant {
        return Vec::new();
    }
    let said = message.parts.iter().filter_map(|part| match part {
        MessagePart::Text(text) => Some(text.clone()),
        MessagePart::Content(block) => {
            let block: serde_json::Value = block.parse().unwrap_or_default();
            Some(block["text"].as_str().unwrap_or_default().to_owned())
        }
        _ => None,
    });
    said.collect()
}

#[async_trait]
impl Model for Rehearsal {
    async fn request(&self, request: ModelRequest, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let cue = Cue::of(&request.messages);
        let mut step = match script::parse(&cue.prompt) {
            Ok(Some(script)) => step_of(script, &cue),
            Ok(None) => only(introduction(request.messages.len())),
            Err(malformed) => only(format!("I did not play this script. {malformed}.")),
        };
        let spot = Spot {
            session: request.session,
            messages: request.messages.len(),
            step: cue.step,
        };
        if let Some(status) = self.failure(spot, &step.failures) {
            return Err(error::of_status(
                "the rehearsal model",
                status,
                None,
                "you asked for this with /fail",
            ));
        }
        let mut performance = Performance {
            sink,
            step: ModelStep::default(),
        };
        for act in step.acts.drain(..) {
            performance.play(act).await;
        }
        Ok(performance.end(&request))
    }
}

impl Rehearsal {
    /// The status this attempt fails with, if it does.
    fn failure(&self, spot: Spot, failures: &[u16]) -> Option<u16> {
        if failures.is_empty() {
            return None;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= COUNTERS && !failed.contains_key(&spot) {
            failed.clear();
        }
        let count = failed.entry(spot).or_default();
        let status = failures.get(*count).copied();
        *count += 1;
        if status.is_none() {
            failed.remove(&spot);
        }
        status
    }
}

/// What the script does at this point of the conversation.
fn step_of(mut script: Script, cue: &Cue) -> Step {
    let last = cue.step + 1 >= script.steps.len();
    if cue.step >= script.steps.len() {
        return only(closing(cue));
    }
    let mut step = script.steps.swap_remove(cue.step);
    if last && !step.has_tools() && !step.has_words() {
        step.acts.push(Act::Say(closing(cue)));
    }
    step
}

fn only(text: String) -> Step {
    Step {
        failures: Vec::new(),
        acts: vec![Act::Say(text)],
    }
}

fn closing(cue: &Cue) -> String {
    match cue.results {
        (0, _) => "the script is done.".into(),
        (1, 0) => "the script is done; its tool call was answered.".into(),
        (1, _) => "the script is done; its tool call was answered with an error.".into(),
        (calls, 0) => format!("the script is done; its {calls} tool calls were answered."),
        (calls, errors) => format!("the script is done; its {calls} tool calls were answered, {errors} with an error."),
    }
}

fn introduction(messages: usize) -> String {
    let s = if messages == 1 { "" } else { "s" };
    format!(
        "I am the rehearsal model, which needs no key and only follows scripts; I saw {messages} message{s}; type one command \
         a line ({}), or set ANTHROPIC_API_KEY or OPENAI_API_KEY and choose one of their models to talk to a real one.",
        script::USAGE
    )
}

/// A step being played.
struct Performance<'a> {
    sink: &'a mut dyn DeltaSink,
    step: ModelStep,
}

impl Performance<'_> {
    async fn play(&mut self, act: Act) {
        match act {
            Act::Say(text) => self.say(&text),
            Act::Tokens { count, each } => self.tokens(count, each).await,
            Act::Sleep(time) => tokio::time::sleep(time).await,
            Act::Tool { name, input } => {
                let id = self.sink.id();
                self.step.usage.output_tokens += tokens_of(name.len() + input.text().len());
                self.step.parts.push(Part::ToolUse {
                    id,
                    native_id: id.to_string(),
                    name,
                    input,
                });
            }
        }
    }

    fn say(&mut self, words: &str) {
        let id = self.sink.start(false);
        let text = format!("{ID}: {words}");
        for piece in text.split_inclusive(' ') {
            self.sink.text(id, piece);
        }
        self.step.usage.output_tokens += tokens_of(text.len());
        self.step.parts.push(Part::Text { id, text });
    }

    async fn tokens(&mut self, count: u64, each: Duration) {
        let id = self.sink.start(false);
        let mut text = format!("{ID}:");
        self.sink.text(id, &text);
        for n in 1..=count {
            if !each.is_zero() {
                tokio::time::sleep(each).await;
            } else if n % BURST == 0 {
                tokio::task::yield_now().await;
            }
            let token = format!(" {n}");
            self.sink.text(id, &token);
            text.push_str(&token);
        }
        self.step.usage.output_tokens += count;
        self.step.parts.push(Part::Text { id, text });
    }

    fn end(mut self, request: &ModelRequest) -> ModelStep {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let read: usize = parts.map(length).sum();
        self.step.usage = Usage {
            input_tokens: tokens_of(read),
            ..self.step.usage
        };
        self.step.stop = StopKind::EndTurn;
        self.step
    }
}

fn length(part: &MessagePart) -> usize {
    match part {
        MessagePart::Text(text) => text.len(),
        MessagePart::Content(raw) | MessagePart::ToolResult { content: raw, .. } => raw.text().len(),
        MessagePart::ToolUse { name, input, .. } => name.len() + input.text().len(),
        MessagePart::Native(_) => 0,
    }
}

/// Four bytes are a token.
fn tokens_of(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "rehearsal/tests.rs"]
mod tests;
