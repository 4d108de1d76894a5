//! A session's events as updates of an editor. Pure: events in, updates out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use agent_client_protocol::v1::schema::{
    ContentBlock, ContentChunk, ImageContent, MessageId, SessionInfoUpdate, SessionUpdate, TextContent, ToolCallStatus,
};
use serde_json::Value;

use super::tool;
use crate::render::plain;

/// How much of what a running call prints is shown, in bytes: every piece is sent with what came before it.
const ALOUD_BYTES: usize = 16 * 1024;

/// What is known of the session while its events pass.
#[derive(Debug)]
pub(super) struct Updates {
    /// Where relative paths begin.
    folder: PathBuf,
    /// Inputs that this editor sent, which it shows already.
    own: BTreeSet<String>,
    /// The message being streamed: its id and the text so far.
    open: Option<(String, String)>,
    /// Names of calls without a result, by the id of the use.
    calls: BTreeMap<String, String>,
    /// What running calls have printed, by the id of the preview: whose, and the end of it.
    aloud: BTreeMap<String, (String, String)>,
    /// Terminals of the editor that calls run in, by the id of the use, until their results.
    terminals: BTreeMap<String, String>,
}

impl Updates {
    /// Of a session whose tools work in this folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            own: BTreeSet::new(),
            open: None,
            calls: BTreeMap::new(),
            aloud: BTreeMap::new(),
            terminals: BTreeMap::new(),
        }
    }

    /// Where relative paths begin.
    pub(super) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// This input need not be told.
    pub(super) fn own(&mut self, id: String) {
        self.own.insert(id);
    }

    /// A call runs in a terminal of the editor. Told with the call, if that is to come yet.
    pub(super) fn terminal(&mut self, call: &str, terminal: String) -> Option<SessionUpdate> {
        self.terminals.insert(call.to_owned(), terminal);
        self.in_terminal(call)
    }

    /// Whether a call's terminal has been told.
    pub(super) fn shows(&self, call: &str) -> bool {
        self.terminals.contains_key(call) && self.calls.contains_key(call)
    }

    fn in_terminal(&self, call: &str) -> Option<SessionUpdate> {
        let terminal = self.terminals.get(call).filter(|_| self.calls.contains_key(call))?;
        let content = vec![tool::terminal(terminal)];
        let update = tool::update(call, ToolCallStatus::InProgress, Some(content));
        Some(SessionUpdate::ToolCallUpdate(update))
    }

    /// What one event changes in the editor.
    pub(super) fn event(&mut self, kind: &str, event: &Value) -> Vec<SessionUpdate> {
        match kind {
            "event_start" => self.start(&event["event"]),
            "event_delta" => self.delta(event),
            "agent.message" => self.message(event),
            "agent.thinking" => vec![SessionUpdate::AgentThoughtChunk(chunk("…", event))],
            "agent.tool_use" | "agent.mcp_tool_use" | "agent.custom_tool_use" => self.call(event),
            "tool.dispatched" => self.running(text(&event["tool_use_id"])),
            "agent.tool_result" | "agent.mcp_tool_result" | "user.tool_result" | "user.custom_tool_result" => {
                self.result(event)
            }
            "user.message" => self.input(event),
            "session.updated" => event["title"]
                .as_str()
                .map(|title| SessionUpdate::SessionInfoUpdate(SessionInfoUpdate::new().title(title.to_owned())))
                .into_iter()
                .collect(),
            "session.status_idle" => {
                self.open = None;
                self.aloud.clear();
                self.terminals.clear();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn start(&mut self, event: &Value) -> Vec<SessionUpdate> {
        match event["type"].as_str() {
            Some("agent.message") => self.open = Some((text(&event["id"]).to_owned(), String::new())),
            Some("agent.tool_result") => {
                let call = text(&event["tool_use_id"]).to_owned();
                self.aloud.insert(text(&event["id"]).to_owned(), (call, String::new()));
            }
            _ => {}
        }
        Vec::new()
    }

    fn delta(&mut self, event: &Value) -> Vec<SessionUpdate> {
        let (id, piece) = (text(&event["event_id"]), text(&event["delta"]["content"]["text"]));
        if let Some((call, printed)) = self.aloud.get_mut(id) {
            printed.push_str(piece);
            let from = printed.len().saturating_sub(ALOUD_BYTES);
            printed.drain(..printed.ceil_char_boundary(from));
            let content = vec![tool::words(printed)];
            let update = tool::update(call, ToolCallStatus::InProgress, Some(content));
            return vec![SessionUpdate::ToolCallUpdate(update)];
        }
        match &mut self.open {
            Some((open, shown)) if open == id => {
                shown.push_str(piece);
                vec![SessionUpdate::AgentMessageChunk(said(piece, id))]
            }
            _ => Vec::new(),
        }
    }

    /// The finished message: what has not been told yet, or all of it when another attempt's was.
    fn message(&mut self, event: &Value) -> Vec<SessionUpdate> {
        let (id, whole) = (text(&event["id"]), plain(&event["content"]));
        let told = self.open.take().filter(|(open, _)| open == id);
        let rest = told.and_then(|(_, shown)| whole.strip_prefix(&shown).map(str::to_owned));
        let rest = rest.unwrap_or(whole);
        if rest.is_empty() {
            return Vec::new();
        }
        vec![SessionUpdate::AgentMessageChunk(said(&rest, id))]
    }

    fn call(&mut self, event: &Value) -> Vec<SessionUpdate> {
        let (id, name) = (text(&event["id"]), text(&event["name"]));
        self.calls.insert(id.to_owned(), name.to_owned());
        let call = tool::call(id, name, &event["input"], &self.folder);
        let mut updates = vec![SessionUpdate::ToolCall(call)];
        updates.extend(self.in_terminal(id));
        updates
    }

    fn running(&self, id: &str) -> Vec<SessionUpdate> {
        let known = self.calls.contains_key(id);
        let update = || SessionUpdate::ToolCallUpdate(tool::update(id, ToolCallStatus::InProgress, None));
        known.then(update).into_iter().collect()
    }

    fn result(&mut self, event: &Value) -> Vec<SessionUpdate> {
        let members = ["tool_use_id", "custom_tool_use_id", "mcp_tool_use_id"];
        let id = members
            .iter()
            .find_map(|member| event[*member].as_str())
            .unwrap_or_default();
        self.aloud.retain(|_, (call, _)| call != id);
        let terminal = self.terminals.remove(id);
        let Some(name) = self.calls.remove(id) else {
            return Vec::new();
        };
        let failed = event["is_error"] == true;
        let said = plain(&event["content"]);
        let content = match terminal {
            // It shows what was printed; what we say of it is not there.
            Some(terminal) => remarks(&said).map(|remarks| vec![tool::terminal(&terminal), tool::words(&remarks)]),
            None => (failed || !tool::shows_diff(&name)).then(|| vec![tool::words(&said)]),
        };
        let status = if failed {
            ToolCallStatus::Failed
        } else {
            ToolCallStatus::Completed
        };
        vec![SessionUpdate::ToolCallUpdate(tool::update(id, status, content))]
    }

    fn input(&mut self, event: &Value) -> Vec<SessionUpdate> {
        if self.own.remove(text(&event["id"])) {
            return Vec::new();
        }
        let blocks = event["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tell = |block: &Value| {
            SessionUpdate::UserMessageChunk(ContentChunk::new(shown(block)).message_id(MessageId::new(id_of(event))))
        };
        blocks.iter().map(tell).collect()
    }
}

/// The lines in brackets at the end, as the outcomes of commands have them.
fn remarks(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().collect();
    let ours = lines.iter().rev().take_while(|line| line.starts_with('[')).count();
    (ours > 0).then(|| lines[lines.len() - ours..].join("\n"))
}

fn shown(block: &Value) -> ContentBlock {
    let source = &block["source"];
    match (source["media_type"].as_str(), source["data"].as_str()) {
        (Some(kind), Some(data)) if block["type"] == "image" => ContentBlock::Image(ImageContent::new(data, kind)),
        _ => ContentBlock::Text(TextContent::new(plain(&Value::Array(vec![block.clone()])))),
    }
}

fn said(words: &str, id: &str) -> ContentChunk {
    ContentChunk::new(ContentBlock::Text(TextContent::new(words))).message_id(MessageId::new(id))
}

fn chunk(words: &str, event: &Value) -> ContentChunk {
    said(words, &id_of(event))
}

fn id_of(event: &Value) -> String {
    text(&event["id"]).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(events: &[Value], expect: &Value) {
        let mut updates = Updates::new("/work".into());
        updates.own("sevt_own".into());
        let told: Vec<SessionUpdate> = events
            .iter()
            .flat_map(|event| updates.event(event["type"].as_str().unwrap(), event))
            .collect();
        assert_eq!(&serde_json::to_value(told).unwrap(), expect);
    }

    fn delta(id: &str, text: &str) -> Value {
        json!({"type": "event_delta", "event_id": id, "delta": {"content": {"type": "text", "text": text}}})
    }

    fn message(id: &str, text: &str) -> Value {
        json!({"type": "agent.message", "id": id, "content": [{"type": "text", "text": text}]})
    }

    fn told(id: &str, text: &str) -> Value {
        json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}, "messageId": id})
    }

    #[test]
    fn a_message_is_told_once_whether_streamed_or_not() {
        let start = json!({"type": "event_start", "event": {"type": "agent.message", "id": "a"}});
        check(
            &[
                start.clone(),
                delta("a", "Hel"),
                delta("a", "lo"),
                message("a", "Hello!"),
            ],
            &json!([told("a", "Hel"), told("a", "lo"), told("a", "!")]),
        );
        check(&[message("a", "Hello")], &json!([told("a", "Hello")]));
        // An attempt that died, and the one that counts.
        check(
            &[start, delta("a", "Hel"), message("b", "Hi")],
            &json!([told("a", "Hel"), told("b", "Hi")]),
        );
    }

    #[test]
    fn only_what_others_said_is_told() {
        let say = |id: &str| json!({"type": "user.message", "id": id, "content": [{"type": "text", "text": "x"}]});
        let expect = json!([{"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": "x"}, "messageId": "sevt_b"}]);
        check(&[say("sevt_own"), say("sevt_b")], &expect);
    }

    #[test]
    fn an_edit_shows_its_diff_to_the_end() {
        let input = json!({"file_path": "a.rs", "old_string": "x", "new_string": "y"});
        let uses = json!({"type": "agent.tool_use", "id": "t", "name": "edit", "input": input});
        let result = json!({"type": "agent.tool_result", "id": "r", "tool_use_id": "t",
            "content": [{"type": "text", "text": "replaced once in a.rs"}]});
        let expect = json!([
            {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "edit a.rs", "name": "edit", "kind": "edit",
             "content": [{"type": "diff", "path": "/work/a.rs", "oldText": "x", "newText": "y"}],
             "locations": [{"path": "/work/a.rs"}], "rawInput": input},
            {"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "completed"},
        ]);
        check(&[uses, result], &sorted(&expect));
    }

    /// Members in the library's order are none of our business.
    fn sorted(value: &Value) -> Value {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn a_terminal_is_shown_with_its_call_whichever_comes_first() {
        let uses = json!({"type": "agent.tool_use", "id": "t", "name": "bash", "input": {"command": "ls"}});
        let result = json!({"type": "agent.tool_result", "id": "r", "tool_use_id": "t", "is_error": true,
            "content": [{"type": "text", "text": "no\n[exit code 1]"}]});
        let shown = json!({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "in_progress",
            "content": [{"type": "terminal", "terminalId": "term"}]});
        for first in [true, false] {
            let mut updates = Updates::new("/".into());
            let mut told = Vec::new();
            if first {
                assert!(updates.terminal("t", "term".into()).is_none() && !updates.shows("t"));
            }
            told.extend(updates.event("agent.tool_use", &uses));
            if !first {
                told.extend(updates.terminal("t", "term".into()));
            }
            assert!(updates.shows("t"));
            assert_eq!(serde_json::to_value(&told[1]).unwrap(), shown);
            // It shows what was printed, to the end; what it does not show is told.
            let end = updates.event("agent.tool_result", &result);
            let end = serde_json::to_value(end).unwrap();
            let remark = json!({"type": "content", "content": {"type": "text", "text": "[exit code 1]"}});
            assert_eq!(end[0]["status"], "failed");
            assert_eq!(
                end[0]["content"],
                json!([{"type": "terminal", "terminalId": "term"}, remark])
            );
        }
    }

    #[test]
    fn what_a_call_prints_is_told_as_it_grows() {
        let uses = json!({"type": "agent.tool_use", "id": "t", "name": "bash", "input": {"command": "ls"}});
        let start =
            json!({"type": "event_start", "event": {"type": "agent.tool_result", "id": "p", "tool_use_id": "t"}});
        let mut updates = Updates::new("/".into());
        updates.event("agent.tool_use", &uses);
        updates.event("event_start", &start);
        let printed = |updates: &mut Updates, text: &str| {
            let told = updates.event("event_delta", &delta("p", text));
            serde_json::to_value(told).unwrap()[0]["content"][0]["content"]["text"].clone()
        };
        assert_eq!(printed(&mut updates, "a\n"), "a\n");
        assert_eq!(printed(&mut updates, "b\n"), "a\nb\n");
        let long = printed(&mut updates, &"é".repeat(ALOUD_BYTES));
        assert!(long.as_str().unwrap().len() <= ALOUD_BYTES);
    }
}
