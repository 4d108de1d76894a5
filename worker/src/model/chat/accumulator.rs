//! Chunks of a chat completion → previews as they come, and the finished step.
//!
//! Servers differ: calls come whole or in pieces, with an index or without; what the model thought is called
//! `reasoning_content` or `reasoning`; usage comes in the last chunk, in one behind it, or never.

use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, StopKind};
use perennial_schema::EventId;
use perennial_schema::event::{Native, Raw};
use perennial_schema::model::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::PROVIDER;
use crate::model::error::{self, Class};

/// Most calls of one step: an index is not believed beyond.
const CALLS: usize = 512;

/// One completion in the making.
#[derive(Debug, Default)]
pub struct Accumulator {
    thinking: Option<(EventId, String)>,
    text: Option<(EventId, String)>,
    calls: Vec<Call>,
    usage: Usage,
    stop: Option<StopKind>,
    refused: bool,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: EventId,
    native_id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<Value>,
    reasoning_content: Option<String>,
    reasoning: Option<Value>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Accumulator {
    /// Of a completion that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one chunk, the JSON of its `data`.
    ///
    /// # Errors
    /// A chunk that is an error, or malformed.
    pub fn event(&mut self, data: &str, sink: &mut dyn DeltaSink) -> Result<(), ModelError> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| malformed(&error.to_string()))?;
        self.count(chunk.usage);
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(failed(&error));
        }
        // One answer was asked for.
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.delta(choice.delta.unwrap_or_default(), sink)?;
            if let Some(reason) = choice.finish_reason {
                self.stop = Some(stop_kind(&reason)?);
            }
        }
        Ok(())
    }

    /// Tokens so far.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// The step, when the completion is whole.
    ///
    /// # Errors
    /// When the stream was cut, or a call's arguments are not a JSON object.
    pub fn finish(self) -> Result<ModelStep, ModelError> {
        let Some(stop) = self.stop else {
            return Err(error::broken("the model's answer broke off before its end"));
        };
        let thinking = self.thinking.map(|(id, text)| Part::Thinking {
            id,
            native: Native {
                provider: PROVIDER.into(),
                block: Raw::of(&json!({"type": "reasoning", "text": text})),
            },
        });
        let text = self.text.map(|(id, text)| Part::Text { id, text });
        let mut parts: Vec<Part> = thinking.into_iter().chain(text).collect();
        for call in self.calls {
            parts.extend(call.part(stop)?);
        }
        let stop = if self.refused { StopKind::Refusal } else { stop };
        Ok(ModelStep {
            parts,
            usage: self.usage,
            stop,
        })
    }

    fn delta(&mut self, delta: Delta, sink: &mut dyn DeltaSink) -> Result<(), ModelError> {
        let thought = delta
            .reasoning_content
            .or_else(|| delta.reasoning.and_then(|thought| thought.as_str().map(str::to_owned)));
        if let Some(more) = thought.filter(|more| !more.is_empty()) {
            let (_, text) = self.thinking.get_or_insert_with(|| (sink.start(true), String::new()));
            text.push_str(&more);
        }
        if let Some(refusal) = delta.refusal {
            self.refused |= !refusal.is_empty();
            self.add_text(&refusal, sink);
        }
        match delta.content {
            Some(Value::String(text)) => self.add_text(&text, sink),
            Some(Value::Array(parts)) => {
                for text in parts.iter().filter_map(|part| part["text"].as_str()) {
                    self.add_text(text, sink);
                }
            }
            _ => {}
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(call, sink)?;
        }
        Ok(())
    }

    fn add_text(&mut self, more: &str, sink: &mut dyn DeltaSink) {
        if more.is_empty() {
            return;
        }
        let (id, text) = self.text.get_or_insert_with(|| (sink.start(false), String::new()));
        text.push_str(more);
        sink.text(*id, more);
    }

    /// A piece of a call: of the one with its index, if it has one; else of the last, unless it brings an id of its own.
    fn call(&mut self, delta: CallDelta, sink: &mut dyn DeltaSink) -> Result<(), ModelError> {
        let function = delta.function.unwrap_or_default();
        let native_id = delta.id.filter(|id| !id.is_empty());
        let is_same = |call: &Call| {
            native_id
                .as_ref()
                .is_none_or(|id| call.native_id.is_empty() || call.native_id == *id)
        };
        let found = match delta.index {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.index == delta.index && is_same(call)),
            None => self
                .calls
                .len()
                .checked_sub(1)
                .filter(|last| is_same(&self.calls[*last])),
        };
        let at = match found {
            Some(at) => at,
            None if self.calls.len() >= CALLS => return Err(malformed("more calls than any model makes")),
            None => {
                self.calls.push(Call {
                    index: delta.index,
                    id: sink.id(),
                    native_id: String::new(),
                    name: String::new(),
                    arguments: String::new(),
                });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if let Some(id) = native_id {
            call.native_id = id;
        }
        if let Some(name) = function.name.filter(|name| call.name != *name) {
            call.name.push_str(&name);
        }
        match function.arguments {
            Some(Value::String(piece)) => call.arguments.push_str(&piece),
            // Some servers send the object itself.
            Some(whole @ Value::Object(_)) => call.arguments = whole.to_string(),
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, usage: Option<WireUsage>) {
        let Some(usage) = usage else { return };
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let cached = cached.or(usage.prompt_cache_hit_tokens).unwrap_or(0);
        self.usage = Usage {
            input_tokens: usage.prompt_tokens.unwrap_or(0).saturating_sub(cached),
            output_tokens: usage.completion_tokens.unwrap_or(0),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
        };
    }
}

impl Call {
    fn part(self, stop: StopKind) -> Result<Option<Part>, ModelError> {
        let json = if self.arguments.trim().is_empty() {
            "{}".to_owned()
        } else {
            self.arguments
        };
        let input = RawValue::from_string(json).map(Raw::from);
        match input {
            Ok(input) if input.text().trim_start().starts_with('{') && !self.name.is_empty() => {
                Ok(Some(Part::ToolUse {
                    id: self.id,
                    native_id: if self.native_id.is_empty() {
                        self.id.to_string()
                    } else {
                        self.native_id
                    },
                    name: self.name,
                    input,
                }))
            }
            _ if stop != StopKind::EndTurn => Ok(None),
            _ => Err(malformed(&format!(
                "the arguments of tool {:?} are not a JSON object",
                self.name
            ))),
        }
    }
}

fn stop_kind(reason: &str) -> Result<StopKind, ModelError> {
    Ok(match reason {
        "length" | "max_tokens" | "model_length" => StopKind::MaxTokens,
        "content_filter" | "refusal" => StopKind::Refusal,
        "error" => return Err(error::broken("the model's answer ended in an error")),
        _ => StopKind::EndTurn,
    })
}

fn malformed(problem: &str) -> ModelError {
    Class::Passing.error("the model's answer is malformed", problem)
}

/// An error in the place of a chunk: its code is a word or a status.
fn failed(error: &Value) -> ModelError {
    let message = error["message"].as_str().or_else(|| error.as_str()).unwrap_or_default();
    let status = error["code"].as_u64().and_then(|status| u16::try_from(status).ok());
    let code = error["code"]
        .as_str()
        .or_else(|| error["type"].as_str())
        .unwrap_or("error");
    let class = match (status, code) {
        (Some(status), _) => Class::of_status(status),
        (None, "rate_limit_exceeded" | "rate_limit_error") => Class::RateLimited,
        (None, "server_is_overloaded" | "overloaded_error" | "overloaded" | "slow_down") => Class::Overloaded,
        (None, "insufficient_quota") => Class::Billing,
        (None, "context_length_exceeded") => Class::TooLong,
        (None, "invalid_request_error" | "invalid_prompt") => Class::Invalid,
        (None, "invalid_api_key" | "authentication_error") => Class::Refused,
        (None, "model_not_found") => Class::NotFound,
        _ => Class::Passing,
    };
    let detail = format!("{code}: {message}");
    class
        .with_hint(&detail)
        .error("the model's answer ended in an error", &detail)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
