//! Rollouts of Codex: what it sent to and got from the Responses API, item by item, between notes for its own screens.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Heard, Part, Transcript, safe, time, tool_input, tool_name};
use crate::Timestamp;
use crate::content::{Block, Source};
use crate::event::{Native, Raw};
use crate::model::Usage;

/// Wrapped lines that say nothing of the conversation, and are known to.
const BESIDE: [&str; 7] = [
    "session_meta",
    "turn_context",
    "event_msg",
    "session_state",
    "world_state",
    "inter_agent_communication",
    // Beside its twin among the `event_msg`, which all versions write.
    "token_usage_record",
];
/// Items that carry no part of the conversation another program could use.
const ITEMS_BESIDE: [&str; 4] = ["ghost_snapshot", "compaction", "context_compaction", "additional_tools"];
/// What the program says in the person's name.
const INJECTED: [&str; 6] = [
    "<environment_context>",
    "<user_instructions>",
    "<permissions instructions>",
    "<turn_aborted>",
    "<collaboration_mode>",
    "# AGENTS.md instructions",
];

/// Collects items.
#[derive(Debug, Default)]
pub struct Codex {
    transcript: Transcript,
    /// Counts model messages: between two of them stands something of the other side.
    step: u64,
    speaks: bool,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Codex {
    /// Takes a line.
    pub fn line(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            self.transcript.unread += 1;
            return;
        };
        let kind = value["type"].as_str().unwrap_or_default();
        let at = time(&value["timestamp"]);
        let payload = &value["payload"];
        match kind {
            "session_meta" => self.identify(payload),
            "turn_context" => self.model(payload),
            "event_msg" => self.tokens(payload),
            "compacted" => {
                // Without a text the summary is the provider's own; what came before it is still there.
                if let Some(summary) = payload["message"].as_str().filter(|summary| !summary.is_empty()) {
                    self.hear(at, false, Heard::Compacted(safe(summary)));
                }
            }
            "response_item" => {
                let raw = serde_json::from_str::<Wrapped<'_>>(text);
                if let Ok(Wrapped { payload: raw }) = raw {
                    self.item(at, raw, payload);
                }
            }
            known if BESIDE.contains(&known) => {}
            // The first versions wrote items bare.
            _ if payload.is_null() => {
                if kind.is_empty() && value["id"].is_string() {
                    return self.identify(&value);
                }
                if let Ok(raw) = serde_json::from_str::<&RawValue>(text) {
                    self.item(at, raw, &value);
                }
            }
            _ => self.transcript.unread += 1,
        }
    }

    fn identify(&mut self, meta: &Value) {
        // A fork begins with what it was forked from; the first one is this one.
        if let Some(id) = meta["id"].as_str().filter(|_| self.transcript.id.is_empty()) {
            id.clone_into(&mut self.transcript.id);
        }
    }

    fn model(&mut self, context: &Value) {
        if let Some(model) = context["model"].as_str() {
            self.transcript.model = Some(model.to_owned());
        }
    }

    /// The tokens of a request are noted behind what it came to.
    fn tokens(&mut self, note: &Value) {
        let last = &note["info"]["last_token_usage"];
        if note["type"] != "token_count" || !last.is_object() {
            return;
        }
        let count = |name: &str| last[name].as_u64().unwrap_or(0);
        let cached = count("cached_input_tokens");
        let usage = Usage {
            input_tokens: count("input_tokens").saturating_sub(cached),
            output_tokens: count("output_tokens"),
            cache_read_input_tokens: cached,
            ..Usage::default()
        };
        let said = self
            .transcript
            .parts
            .iter_mut()
            .rev()
            .find(|part| part.message.is_some());
        if let Some(part) = said {
            part.usage = usage;
        }
    }

    fn item(&mut self, at: Option<Timestamp>, raw: &RawValue, item: &Value) {
        let text = |name: &str| item[name].as_str().unwrap_or_default();
        let id = || item["call_id"].as_str().or_else(|| item["id"].as_str());
        let call = |name: String, input: Raw| Heard::ToolUse {
            id: id().unwrap_or_default().to_owned(),
            name,
            input,
        };
        match text("type") {
            "message" => self.message(at, item),
            "reasoning" => {
                // Only what is encrypted means anything to the provider.
                let native = item["encrypted_content"].is_string().then(|| Native {
                    provider: "openai".into(),
                    block: Raw::from(raw.to_owned()),
                });
                self.hear(at, true, Heard::Thinking(native));
            }
            "function_call" => {
                let arguments = serde_json::from_str(text("arguments")).unwrap_or_else(|_| item["arguments"].clone());
                self.hear(at, true, call(qualified(item), tool_input(&arguments)));
            }
            "custom_tool_call" => self.hear(at, true, call(tool_name(text("name")), tool_input(&item["input"]))),
            "local_shell_call" => self.hear(at, true, call("local_shell".into(), tool_input(&item["action"]))),
            "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
                let (content, is_error) = self.output(&item["output"]);
                let id = id().unwrap_or_default().to_owned();
                self.hear(at, false, Heard::ToolResult { id, content, is_error });
            }
            known if ITEMS_BESIDE.contains(&known) => {}
            _ => self.transcript.unread += 1,
        }
    }

    fn message(&mut self, at: Option<Timestamp>, item: &Value) {
        let blocks: &[Value] = item["content"].as_array().map_or(&[], Vec::as_slice);
        match item["role"].as_str().unwrap_or_default() {
            "user" => {
                let said: Vec<Block> = blocks
                    .iter()
                    .filter(|block| !is_injected(block))
                    .filter_map(|block| self.block(block))
                    .collect();
                if !said.is_empty() {
                    self.hear(at, false, Heard::User(said));
                }
            }
            "assistant" => {
                for block in blocks {
                    match block["text"].as_str().or_else(|| block["refusal"].as_str()) {
                        Some(text) => self.hear(at, true, Heard::Text(safe(text))),
                        None => self.transcript.unread += 1,
                    }
                }
            }
            // Instructions: the agent that goes on has its own.
            "developer" | "system" => {}
            _ => self.transcript.unread += 1,
        }
    }

    /// Text, blocks, or what the first versions wrote: `{content, success}`.
    fn output(&mut self, output: &Value) -> (Vec<Block>, bool) {
        match output {
            Value::String(text) => (vec![Block::text(safe(text))], false),
            Value::Array(blocks) => (blocks.iter().filter_map(|block| self.block(block)).collect(), false),
            Value::Object(members) => {
                let content = members.get("content").and_then(Value::as_str).unwrap_or_default();
                (
                    vec![Block::text(safe(content))],
                    members.get("success") == Some(&Value::Bool(false)),
                )
            }
            _ => (Vec::new(), false),
        }
    }

    fn block(&mut self, given: &Value) -> Option<Block> {
        let block = match given["type"].as_str().unwrap_or_default() {
            "input_text" | "output_text" | "text" => given["text"].as_str().map(|text| Block::text(safe(text))),
            "input_image" => given["image_url"].as_str().and_then(image),
            _ => None,
        };
        self.transcript.unread += u64::from(block.is_none());
        block
    }

    fn hear(&mut self, at: Option<Timestamp>, speaks: bool, heard: Heard) {
        // Results of several calls follow one another, and so do the parts of one step.
        if speaks && !self.speaks {
            self.step += 1;
        }
        self.speaks = speaks;
        self.transcript.parts.push(Part {
            at,
            message: speaks.then(|| self.step.to_string()),
            usage: Usage::default(),
            heard,
        });
    }

    /// What it comes to.
    #[must_use]
    pub fn transcript(self) -> Transcript {
        self.transcript
    }
}

fn is_injected(block: &Value) -> bool {
    let text = block["text"].as_str().unwrap_or_default().trim_start();
    INJECTED.iter().any(|begin| text.starts_with(begin))
}

/// Tools of a namespace are told apart by it; those that were ours come back under our names.
fn qualified(item: &Value) -> String {
    let name = item["name"].as_str().unwrap_or_default();
    match item["namespace"].as_str().filter(|space| !space.is_empty()) {
        Some(space) => tool_name(&format!("{space}__{name}")),
        None => tool_name(name),
    }
}

/// `data:image/png;base64,…`, or a URL.
fn image(url: &str) -> Option<Block> {
    let source = match url.strip_prefix("data:") {
        Some(data) => {
            let (media_type, data) = data.split_once(";base64,")?;
            Source::Base64 {
                media_type: media_type.to_owned(),
                data: data.to_owned(),
            }
        }
        None => Source::Url { url: url.to_owned() },
    };
    Some(Block::Image { source })
}
