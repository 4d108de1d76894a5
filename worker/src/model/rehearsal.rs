//! `rehearsal-1` inside the worker: `perennial_rehearsal` over the kernel's conversation, without a wire in between, so that
//! a newcomer, a test and a benchmark see real turns with real tools. Every message it writes begins with its name. How a
//! conversation leads to a step is told in `perennial_rehearsal::cue`.
//!
//! Failures (`/fail`) are counted by session and step. Usage is counted from the texts alone; `max_tokens` is not obeyed.

use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{DeltaSink, Model, ModelError, ModelRequest, ModelStep, Part, StopKind};
use perennial_rehearsal::Failures;
pub use perennial_rehearsal::ID;
use perennial_rehearsal::cue::{Cue, tokens_of};
use perennial_rehearsal::script::Act;
use perennial_schema::SessionId;
use perennial_schema::event::{Native, Raw};
use perennial_schema::model::Usage;

use super::error;

/// Who a thought belongs to: blocks of this name go to no provider.
const PROVIDER: &str = "rehearsal";
/// Tokens written without a pause before other tasks get their turn.
const BURST: u64 = 64;

/// The rehearsal model.
#[derive(Debug, Default)]
pub struct Rehearsal {
    failures: Failures<Spot>,
}

/// A place in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Spot {
    session: SessionId,
    messages: usize,
    step: usize,
}

fn cue_of(messages: &[Message]) -> Cue {
    let said = |(at, message)| Some((at, words(message))).filter(|(_, words)| !words.is_empty());
    let (since, prompt) = match messages.iter().enumerate().rev().find_map(said) {
        Some((at, words)) => (&messages[at..], words.join("\n")),
        None => (&[][..], String::new()),
    };
    let results = since
        .iter()
        .skip(1)
        .flat_map(|message| &message.parts)
        .filter_map(|part| match part {
            MessagePart::ToolResult { is_error, .. } => Some(*is_error),
            _ => None,
        });
    let results: Vec<bool> = results.collect();
    Cue {
        prompt,
        step: since.iter().filter(|message| message.role == Role::Assistant).count(),
        results: (results.len(), results.iter().filter(|is_error| **is_error).count()),
        messages: messages.len(),
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
        let cue = cue_of(&request.messages);
        let mut step = cue.play();
        let spot = Spot {
            session: request.session,
            messages: request.messages.len(),
            step: cue.step,
        };
        if let Some(status) = self.failures.next(spot, &step.failures) {
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

/// A step being played.
struct Performance<'a> {
    sink: &'a mut dyn DeltaSink,
    step: ModelStep,
}

impl Performance<'_> {
    async fn play(&mut self, act: Act) {
        match act {
            Act::Say(text) => self.say(&text),
            Act::Think(text) => self.think(&text),
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

    fn think(&mut self, text: &str) {
        let id = self.sink.start(true);
        let block = serde_json::json!({"type": "thinking", "thinking": text});
        self.step.usage.output_tokens += tokens_of(text.len());
        self.step.parts.push(Part::Thinking {
            id,
            native: Native {
                provider: PROVIDER.to_owned(),
                block: Raw::of(&block),
            },
        });
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

#[cfg(test)]
#[path = "rehearsal/tests.rs"]
mod tests;
