//! Responses stream events → previews as they come, and the finished step.
//!
//! An item's final form (`response.output_item.done`) counts; deltas before it are previews. A compatible server that sends
//! only deltas, or only the finished response, is understood too. Items of unknown types are left out of the step.

use std::collections::BTreeMap;

use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, StopKind};
use perennial_schema::EventId;
use perennial_schema::event::{Native, Raw};
use perennial_schema::model::Usage;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::PROVIDER;
use crate::model::error::{self, Class};

/// One response in the making.
#[derive(Debug, Default)]
pub struct Accumulator {
    items: BTreeMap<u64, Slot>,
    usage: Usage,
    stop: Option<StopKind>,
    refused: bool,
}

#[derive(Debug)]
struct Slot {
    item: Item,
    done: bool,
}

#[derive(Debug)]
enum Item {
    Message {
        id: Option<EventId>,
        text: String,
    },
    Call {
        id: EventId,
        call_id: String,
        name: String,
        arguments: String,
    },
    Reasoning {
        id: EventId,
        item: Raw,
    },
    Unknown,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    output_index: u64,
    item: Option<Box<RawValue>>,
    delta: Option<Value>,
    arguments: Option<String>,
    response: Option<WireResponse>,
    // An `error` event has its members at the top, or in `error`.
    error: Option<WireError>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct WireResponse {
    #[serde(default)]
    output: Vec<Box<RawValue>>,
    usage: Option<WireUsage>,
    error: Option<WireError>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    input_tokens: u64,
    output_tokens: u64,
    input_tokens_details: Option<Cached>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cached {
    cached_tokens: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireError {
    code: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireItem {
    #[serde(rename = "type")]
    kind: String,
    content: Vec<WireContent>,
    call_id: String,
    name: String,
    arguments: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireContent {
    #[serde(rename = "type")]
    kind: String,
    text: String,
    refusal: String,
}

impl Accumulator {
    /// Of a response that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event, the JSON of its `data`. True when the response is over.
    ///
    /// # Errors
    /// A failed response, an `error` event, or one that is malformed.
    pub fn event(&mut self, data: &str, sink: &mut dyn DeltaSink) -> Result<bool, ModelError> {
        let wire: Wire = serde_json::from_str(data).map_err(|error| malformed(&error.to_string()))?;
        match wire.kind.as_str() {
            "response.output_item.added" => self.item(wire.output_index, wire.item, false, sink)?,
            "response.output_item.done" => self.item(wire.output_index, wire.item, true, sink)?,
            "response.output_text.delta" | "response.refusal.delta" => {
                self.refused |= wire.kind == "response.refusal.delta";
                let text = wire.delta.as_ref().and_then(Value::as_str).unwrap_or_default();
                self.message(wire.output_index)?.add(text, sink);
            }
            "response.function_call_arguments.delta" => {
                let text = wire.delta.as_ref().and_then(Value::as_str).unwrap_or_default();
                self.arguments(wire.output_index)?.push_str(text);
            }
            "response.function_call_arguments.done" => {
                if let Some(arguments) = wire.arguments {
                    *self.arguments(wire.output_index)? = arguments;
                }
            }
            "response.completed" => return self.end(wire.response, StopKind::EndTurn, sink),
            "response.incomplete" => {
                let details = wire
                    .response
                    .as_ref()
                    .and_then(|response| response.incomplete_details.as_ref());
                let filtered = details.is_some_and(|details| details.reason == "content_filter");
                let stop = if filtered {
                    StopKind::Refusal
                } else {
                    StopKind::MaxTokens
                };
                return self.end(wire.response, stop, sink);
            }
            "response.failed" | "error" => {
                let top = WireError {
                    code: wire.code,
                    kind: None,
                    message: wire.message,
                };
                let mut response = wire.response;
                self.count(response.as_mut().and_then(|response| response.usage.take()));
                let inner = response.and_then(|response| response.error).or(wire.error);
                return Err(failed(&inner.unwrap_or(top)));
            }
            // `response.created`, reasoning summaries, and whatever comes to be sent.
            _ => {}
        }
        Ok(false)
    }

    /// Tokens so far.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// The step, when the response is whole.
    ///
    /// # Errors
    /// When the stream was cut, or a call's arguments are not a JSON object.
    pub fn finish(self) -> Result<ModelStep, ModelError> {
        let Some(stop) = self.stop else {
            return Err(error::broken("the model's answer broke off before its end"));
        };
        let mut parts = Vec::with_capacity(self.items.len());
        for slot in self.items.into_values() {
            parts.extend(slot.part(stop)?);
        }
        let stop = if self.refused { StopKind::Refusal } else { stop };
        Ok(ModelStep {
            parts,
            usage: self.usage,
            stop,
        })
    }

    fn item(
        &mut self,
        index: u64,
        item: Option<Box<RawValue>>,
        done: bool,
        sink: &mut dyn DeltaSink,
    ) -> Result<(), ModelError> {
        let item = item.ok_or_else(|| malformed("an item event without an item"))?;
        let wire: WireItem = parse_item(&item)?;
        let slot = self.items.entry(index).or_insert_with(|| Slot {
            item: Item::new(&wire.kind, sink),
            done: false,
        });
        if slot.done {
            return Err(malformed("two output items with one index"));
        }
        slot.done = done;
        match &mut slot.item {
            Item::Message { .. } => {
                self.refused |= wire.content.iter().any(|part| part.kind == "refusal");
                let whole: String = wire.content.iter().map(WireContent::text).collect();
                slot.item.complete(&whole, sink)?;
            }
            Item::Call {
                call_id,
                name,
                arguments,
                ..
            } => {
                *call_id = wire.call_id;
                *name = wire.name;
                if !wire.arguments.is_empty() {
                    *arguments = wire.arguments;
                }
            }
            Item::Reasoning { item: raw, .. } => *raw = item.into(),
            Item::Unknown => {}
        }
        Ok(())
    }

    fn message(&mut self, index: u64) -> Result<&mut Item, ModelError> {
        match self.items.get_mut(&index) {
            Some(Slot {
                item: item @ Item::Message { .. },
                done: false,
            }) => Ok(item),
            _ => Err(malformed("text for an item that is no open message")),
        }
    }

    fn arguments(&mut self, index: u64) -> Result<&mut String, ModelError> {
        match self.items.get_mut(&index) {
            Some(Slot {
                item: Item::Call { arguments, .. },
                done: false,
            }) => Ok(arguments),
            _ => Err(malformed("arguments for an item that is no open call")),
        }
    }

    fn end(
        &mut self,
        response: Option<WireResponse>,
        stop: StopKind,
        sink: &mut dyn DeltaSink,
    ) -> Result<bool, ModelError> {
        self.stop = Some(stop);
        let Some(response) = response else { return Ok(true) };
        if self.items.is_empty() {
            for (index, item) in (0..).zip(response.output) {
                self.item(index, Some(item), true, sink)?;
            }
        }
        self.count(response.usage);
        Ok(true)
    }

    fn count(&mut self, usage: Option<WireUsage>) {
        let Some(usage) = usage else { return };
        let cached = usage.input_tokens_details.unwrap_or_default().cached_tokens;
        self.usage = Usage {
            input_tokens: usage.input_tokens.saturating_sub(cached),
            output_tokens: usage.output_tokens,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
        };
    }
}

impl Item {
    fn new(kind: &str, sink: &mut dyn DeltaSink) -> Self {
        match kind {
            "message" => Self::Message {
                id: None,
                text: String::new(),
            },
            "function_call" => Self::Call {
                id: sink.id(),
                call_id: String::new(),
                name: String::new(),
                arguments: String::new(),
            },
            "reasoning" => Self::Reasoning {
                id: sink.start(true),
                item: Raw::null(),
            },
            _ => Self::Unknown,
        }
    }

    fn add(&mut self, more: &str, sink: &mut dyn DeltaSink) {
        if let Self::Message { id, text } = self
            && !more.is_empty()
        {
            let id = *id.get_or_insert_with(|| sink.start(false));
            text.push_str(more);
            sink.text(id, more);
        }
    }

    /// Adds what of the whole text has not been streamed.
    fn complete(&mut self, whole: &str, sink: &mut dyn DeltaSink) -> Result<(), ModelError> {
        let Self::Message { text, .. } = self else {
            return Ok(());
        };
        if whole.is_empty() {
            return Ok(());
        }
        let Some(rest) = whole.strip_prefix(text.as_str()) else {
            return Err(malformed("a message's final text is not the one that was streamed"));
        };
        self.add(rest, sink);
        Ok(())
    }
}

impl Slot {
    /// The part it became, if it is one.
    fn part(self, stop: StopKind) -> Result<Option<Part>, ModelError> {
        Ok(match self.item {
            Item::Message { id, text } => id.map(|id| Part::Text { id, text }),
            // Cut short, it is neither a thought nor a call.
            Item::Reasoning { .. } if !self.done => None,
            Item::Reasoning { id, item } => Some(Part::Thinking {
                id,
                native: Native {
                    provider: PROVIDER.into(),
                    block: item,
                },
            }),
            Item::Call {
                id,
                call_id,
                name,
                arguments,
            } => {
                let json = if arguments.trim().is_empty() {
                    "{}".to_owned()
                } else {
                    arguments
                };
                match RawValue::from_string(json).map(Raw::from) {
                    Ok(input) if self.done && input.text().starts_with('{') => Some(Part::ToolUse {
                        id,
                        native_id: call_id,
                        name,
                        input,
                    }),
                    _ if stop != StopKind::EndTurn => None,
                    _ => {
                        return Err(malformed(&format!(
                            "the arguments of tool {name:?} are not a JSON object"
                        )));
                    }
                }
            }
            Item::Unknown => None,
        })
    }
}

impl WireContent {
    fn text(&self) -> &str {
        if self.kind == "refusal" {
            &self.refusal
        } else {
            &self.text
        }
    }
}

/// Reasoning items have a `content` of another shape, or null: only messages' is read.
fn parse_item(item: &RawValue) -> Result<WireItem, ModelError> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let parsed = serde_json::from_str::<Kind>(item.get()).and_then(|Kind { kind }| match kind.as_str() {
        "message" | "function_call" => serde_json::from_str(item.get()),
        _ => Ok(WireItem {
            kind,
            ..WireItem::default()
        }),
    });
    parsed.map_err(|error| malformed(&error.to_string()))
}

fn malformed(problem: &str) -> ModelError {
    Class::Passing.error("the model's answer is malformed", problem)
}

fn failed(error: &WireError) -> ModelError {
    let code = error.code.as_deref().or(error.kind.as_deref()).unwrap_or("error");
    let class = match code {
        "rate_limit_exceeded" => Class::RateLimited,
        "server_is_overloaded" | "slow_down" | "overloaded" => Class::Overloaded,
        "insufficient_quota" => Class::Billing,
        "context_length_exceeded" => Class::TooLong,
        "invalid_prompt" | "invalid_request_error" | "cyber_policy" => Class::Invalid,
        "invalid_api_key" | "authentication_error" => Class::Refused,
        "model_not_found" => Class::NotFound,
        _ => Class::Passing,
    };
    let detail = format!("{code}: {}", error.message.as_deref().unwrap_or_default());
    class
        .with_hint(&detail)
        .error("the model's answer ended in an error", &detail)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
