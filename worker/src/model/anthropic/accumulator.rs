//! Raw Messages stream events (`message_start` … `message_stop`) → previews as they come, and the finished step.
//!
//! Blocks of types this build does not know are left out of the step, unknown events and deltas are passed over; an event
//! that contradicts the ones before it is an error, because what it belongs to would be wrong without notice.

use std::collections::BTreeMap;

use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, StopKind};
use perennial_schema::EventId;
use perennial_schema::event::{Native, Raw};
use perennial_schema::model::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::PROVIDER;
use crate::model::error::{self, Class};

/// One message in the making.
#[derive(Debug, Default)]
pub struct Accumulator {
    blocks: BTreeMap<u64, Slot>,
    usage: Usage,
    stop: Option<StopKind>,
    stopped: bool,
}

#[derive(Debug)]
struct Slot {
    block: Block,
    open: bool,
}

#[derive(Debug)]
enum Block {
    Thinking {
        id: EventId,
        start: Map<String, Value>,
        thinking: String,
        signature: String,
    },
    Redacted {
        id: EventId,
        block: Raw,
    },
    /// The preview begins with the first character: providers refuse empty texts, so an empty one is no part.
    Text {
        id: Option<EventId>,
        text: String,
    },
    Tool {
        id: EventId,
        native_id: String,
        name: String,
        start: Raw,
        json: String,
    },
    Unknown,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    message: Option<WireMessage>,
    content_block: Option<Box<RawValue>>,
    #[serde(default)]
    delta: Delta,
    usage: Option<WireUsage>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireMessage {
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Start {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    input: Option<Box<RawValue>>,
}

impl Accumulator {
    /// Of a message that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event, the JSON of its `data`. True when the message is over.
    ///
    /// # Errors
    /// An `error` event, or one that is malformed.
    pub fn event(&mut self, data: &str, sink: &mut dyn DeltaSink) -> Result<bool, ModelError> {
        let wire: Wire = serde_json::from_str(data).map_err(|error| malformed(&error.to_string()))?;
        match wire.kind.as_str() {
            "message_start" => self.count(wire.message.and_then(|message| message.usage)),
            "content_block_start" => self.start(wire.index, wire.content_block, sink)?,
            "content_block_delta" => self.delta(wire.index, wire.delta, sink)?,
            "content_block_stop" => self.slot(wire.index)?.open = false,
            "message_delta" => {
                self.count(wire.usage);
                self.stop = wire.delta.stop_reason.as_deref().map(stop_kind).or(self.stop);
            }
            "message_stop" => self.stopped = true,
            "error" => return Err(failed(wire.error)),
            // `ping`, and whatever comes to be sent.
            _ => {}
        }
        Ok(self.stopped)
    }

    /// Tokens so far.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// The step, when the message is whole.
    ///
    /// # Errors
    /// When the stream was cut, or a tool's input is not a JSON object.
    pub fn finish(self) -> Result<ModelStep, ModelError> {
        let Some(stop) = self.stop.filter(|_| self.blocks.values().all(|slot| !slot.open)) else {
            return Err(error::broken("the model's answer broke off before its end"));
        };
        let mut parts = Vec::with_capacity(self.blocks.len());
        for slot in self.blocks.into_values() {
            parts.extend(slot.block.part(stop)?);
        }
        Ok(ModelStep {
            parts,
            usage: self.usage,
            stop,
        })
    }

    fn slot(&mut self, index: Option<u64>) -> Result<&mut Slot, ModelError> {
        let slot = index
            .and_then(|index| self.blocks.get_mut(&index))
            .filter(|slot| slot.open);
        slot.ok_or_else(|| malformed("an event names a content block that is not open"))
    }

    fn start(
        &mut self,
        index: Option<u64>,
        block: Option<Box<RawValue>>,
        sink: &mut dyn DeltaSink,
    ) -> Result<(), ModelError> {
        let (Some(index), Some(block)) = (index, block) else {
            return Err(malformed("content_block_start without index or block"));
        };
        let start: Start = serde_json::from_str(block.get()).map_err(|error| malformed(&error.to_string()))?;
        let block = match start.kind.as_str() {
            "thinking" => Block::thinking(sink.start(true), &block)?,
            "redacted_thinking" => Block::Redacted {
                id: sink.start(true),
                block: block.into(),
            },
            "text" => {
                let mut block = Block::Text {
                    id: None,
                    text: String::new(),
                };
                block.add_text(&start.text, sink);
                block
            }
            "tool_use" => Block::Tool {
                id: sink.id(),
                native_id: start.id,
                name: start.name,
                start: start.input.map_or_else(|| Raw::of(&Map::new()), Raw::from),
                json: String::new(),
            },
            _ => Block::Unknown,
        };
        if self.blocks.insert(index, Slot { block, open: true }).is_some() {
            return Err(malformed("two content blocks with one index"));
        }
        Ok(())
    }

    fn delta(&mut self, index: Option<u64>, delta: Delta, sink: &mut dyn DeltaSink) -> Result<(), ModelError> {
        let block = &mut self.slot(index)?.block;
        if let Some(text) = delta.text {
            block.add_text(&text, sink);
        }
        match block {
            Block::Thinking {
                thinking, signature, ..
            } => {
                thinking.push_str(delta.thinking.as_deref().unwrap_or_default());
                signature.push_str(delta.signature.as_deref().unwrap_or_default());
            }
            Block::Tool { json, .. } => json.push_str(delta.partial_json.as_deref().unwrap_or_default()),
            Block::Redacted { .. } | Block::Text { .. } | Block::Unknown => {}
        }
        Ok(())
    }

    /// Later counts of a message replace earlier ones: they are totals.
    fn count(&mut self, usage: Option<WireUsage>) {
        let Some(usage) = usage else { return };
        let set = |count: &mut u64, total: Option<u64>| *count = total.unwrap_or(*count);
        set(&mut self.usage.input_tokens, usage.input_tokens);
        set(&mut self.usage.output_tokens, usage.output_tokens);
        set(
            &mut self.usage.cache_creation_input_tokens,
            usage.cache_creation_input_tokens,
        );
        set(&mut self.usage.cache_read_input_tokens, usage.cache_read_input_tokens);
    }
}

impl Block {
    fn thinking(id: EventId, start: &RawValue) -> Result<Self, ModelError> {
        let start: Map<String, Value> =
            serde_json::from_str(start.get()).map_err(|error| malformed(&error.to_string()))?;
        let text = |key| start.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (thinking, signature) = (text("thinking"), text("signature"));
        Ok(Self::Thinking {
            id,
            start,
            thinking,
            signature,
        })
    }

    fn add_text(&mut self, more: &str, sink: &mut dyn DeltaSink) {
        if let Self::Text { id, text } = self
            && !more.is_empty()
        {
            let id = *id.get_or_insert_with(|| sink.start(false));
            text.push_str(more);
            sink.text(id, more);
        }
    }

    /// The part it became, if it is one.
    fn part(self, stop: StopKind) -> Result<Option<Part>, ModelError> {
        Ok(match self {
            Self::Thinking {
                id,
                mut start,
                thinking,
                signature,
            } => {
                start.insert("thinking".into(), thinking.into());
                start.insert("signature".into(), signature.into());
                Some(Part::Thinking {
                    id,
                    native: native(Raw::of(&start)),
                })
            }
            Self::Redacted { id, block } => Some(Part::Thinking {
                id,
                native: native(block),
            }),
            Self::Text { id, text } => id.map(|id| Part::Text { id, text }),
            Self::Tool {
                id,
                native_id,
                name,
                start,
                json,
            } => {
                let input = if json.trim().is_empty() {
                    Ok(start)
                } else {
                    RawValue::from_string(json).map(Raw::from)
                };
                match input {
                    Ok(input) if input.text().starts_with('{') => Some(Part::ToolUse {
                        id,
                        native_id,
                        name,
                        input,
                    }),
                    // It ran out of tokens while it wrote the input: there is no call, and the step says why it stopped.
                    _ if stop == StopKind::MaxTokens => None,
                    _ => return Err(malformed(&format!("the input of tool {name:?} is not a JSON object"))),
                }
            }
            Self::Unknown => None,
        })
    }
}

fn native(block: Raw) -> Native {
    Native {
        provider: PROVIDER.into(),
        block,
    }
}

fn stop_kind(reason: &str) -> StopKind {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => StopKind::MaxTokens,
        "refusal" => StopKind::Refusal,
        _ => StopKind::EndTurn,
    }
}

fn malformed(problem: &str) -> ModelError {
    Class::Passing.error("the model's answer is malformed", problem)
}

/// An `error` event: the status was sent long ago, so the type must say what it would have been.
fn failed(error: Option<WireError>) -> ModelError {
    let Some(error) = error else {
        return malformed("an error event without an error");
    };
    let class = match error.kind.as_str() {
        "overloaded_error" => Class::Overloaded,
        "rate_limit_error" => Class::RateLimited,
        "authentication_error" | "permission_error" => Class::Refused,
        "billing_error" => Class::Billing,
        "not_found_error" => Class::NotFound,
        "request_too_large" => Class::TooLong,
        "invalid_request_error" => Class::Invalid,
        _ => Class::Passing,
    };
    let detail = format!("{}: {}", error.kind, error.message);
    class
        .with_hint(&detail)
        .error("the model's answer ended in an error", &detail)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
