//! A session's events as a transcript: text as it streams, tool cards, errors, the outcome. Pure: events in, text out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::card::{plain, result_lines, summary};
use super::{Style, sanitize};

/// Renders one session's events in order.
#[derive(Debug)]
pub struct Transcript {
    style: Style,
    /// Inputs the reader typed just now.
    own: BTreeSet<String>,
    /// The message being streamed: its id and the raw text so far.
    open: Option<(String, String)>,
    /// Calls by the id of the use, as their cards show them, until the result came.
    calls: BTreeMap<String, String>,
    /// What calls have printed so far, by the id of the preview.
    aloud: BTreeMap<String, Aloud>,
    /// Which of them printed last.
    loudest: Option<String>,
    /// The last card printed, when nothing followed it yet.
    last_card: Option<String>,
    /// Several calls are under way: results say whose they are.
    parallel: bool,
    /// Whether the last thing printed ended its line.
    at_line_start: bool,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// What a call has printed so far.
#[derive(Debug)]
struct Aloud {
    call: String,
    shown: String,
}

impl Transcript {
    /// An empty transcript; inputs with an id in `own` are not repeated.
    pub fn new(style: Style, own: BTreeSet<String>) -> Self {
        Self {
            style,
            own,
            open: None,
            calls: BTreeMap::new(),
            aloud: BTreeMap::new(),
            loudest: None,
            last_card: None,
            parallel: false,
            at_line_start: true,
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
        }
    }

    /// The text one event adds.
    pub fn event(&mut self, kind: &str, event: &Value) -> String {
        match kind {
            "event_start" => self.start(&event["event"]),
            "event_delta" => self.delta(event),
            "agent.message" => self.message(event),
            "agent.tool_use" | "agent.mcp_tool_use" | "agent.custom_tool_use" => self.call(event),
            "agent.tool_result" | "agent.mcp_tool_result" | "user.tool_result" | "user.custom_tool_result" => {
                self.result(event)
            }
            "user.message" | "system.message" => self.input(event),
            "user.interrupt" => self.block(&self.style.warn("■ interrupt")),
            "user.tool_confirmation" => self.confirmation(event),
            "span.model_request_end" => self.request_end(event),
            "session.error" => self.error(&event["error"]),
            "session.status_rescheduled" => self.block(&self.style.warn("… an attempt failed, another follows")),
            "session.status_idle" => self.idle(event),
            "session.status_terminated" => self.block(&self.style.warn("■ archived")),
            "session.deleted" => self.block(&self.style.warn("■ deleted")),
            _ => String::new(),
        }
    }

    fn start(&mut self, event: &Value) -> String {
        if event["type"] == "agent.tool_result" {
            let call = text(&event["tool_use_id"]);
            let shown = String::new();
            self.aloud.insert(text(&event["id"]), Aloud { call, shown });
            return String::new();
        }
        if event["type"] != "agent.message" {
            return String::new();
        }
        self.open = Some((text(&event["id"]), String::new()));
        self.fresh_line()
    }

    fn delta(&mut self, event: &Value) -> String {
        let piece = event["delta"]["content"]["text"].as_str().unwrap_or_default();
        match &mut self.open {
            Some((id, shown)) if event["event_id"] == id.as_str() => {
                shown.push_str(piece);
                self.stream(piece)
            }
            _ => self.progress(event["event_id"].as_str().unwrap_or_default(), piece),
        }
    }

    /// What a running call prints, under its card.
    fn progress(&mut self, id: &str, piece: &str) -> String {
        let Some(aloud) = self.aloud.get_mut(id) else {
            return String::new();
        };
        aloud.shown.push_str(piece);
        let follows = self.last_card.take().is_some_and(|card| card == aloud.call);
        let call = self.calls.get(&aloud.call).cloned();
        let another = self.loudest.replace(id.to_owned()).is_none_or(|last| last != id);
        let mut out = String::new();
        if another {
            out = self.fresh_line();
            if let Some(call) = call.filter(|_| self.parallel && !follows) {
                out.push_str(&format!("{}\n", self.style.dim(&format!("● {call} says"))));
            }
        }
        for line in sanitize(piece).split_inclusive('\n') {
            if self.at_line_start {
                out.push_str(&format!("{} ", self.style.dim("  │")));
            }
            let (words, end) = line.strip_suffix('\n').map_or((line, ""), |words| (words, "\n"));
            out.push_str(&self.style.dim(words));
            out.push_str(end);
            self.at_line_start = !end.is_empty();
        }
        out
    }

    /// What of a result its call has not printed yet.
    fn unsaid(&mut self, call: &str, content: &Value) -> Option<String> {
        let id = self.aloud.iter().find(|(_, aloud)| aloud.call == call)?.0.clone();
        let aloud = self.aloud.remove(&id)?;
        plain(content).strip_prefix(&aloud.shown).map(str::to_owned)
    }

    /// The finished message: what the preview has not shown yet, or all of it.
    fn message(&mut self, event: &Value) -> String {
        let whole = plain(&event["content"]);
        let (mut out, rest) = match self.open.take() {
            Some((id, shown)) if event["id"] == id.as_str() && whole.starts_with(&shown) => {
                (String::new(), whole[shown.len()..].to_owned())
            }
            // The preview of an attempt that died, or one that differs: the stored message is what counts.
            _ => (self.fresh_line(), whole),
        };
        out.push_str(&self.stream(&rest));
        out.push_str(&self.fresh_line());
        out
    }

    fn call(&mut self, event: &Value) -> String {
        let name = sanitize(&text(&event["name"]));
        let mark = match event["evaluated_permission"].as_str() {
            Some("ask") => self.style.warn(" (asks)"),
            Some("deny") => self.style.bad(" (refused)"),
            _ => String::new(),
        };
        let what = summary(&name, &event["input"]);
        let line = format!("{} {} {what}{mark}", self.style.dim("●"), self.style.bold(&name));
        let out = self.block(&line);
        self.parallel |= !self.calls.is_empty();
        self.calls.insert(text(&event["id"]), format!("{name} {what}"));
        self.last_card = Some(text(&event["id"]));
        out
    }

    fn result(&mut self, event: &Value) -> String {
        let answered = ["tool_use_id", "custom_tool_use_id", "mcp_tool_use_id"]
            .iter()
            .find_map(|member| event[*member].as_str())
            .unwrap_or_default();
        let call = self.calls.remove(answered);
        let follows = self.last_card.take().is_some_and(|card| card == answered);
        let failed = event["is_error"] == true;
        let unsaid = self.unsaid(answered, &event["content"]);
        let said_all = unsaid.as_ref().is_some_and(|rest| rest.trim().is_empty());
        let rest = unsaid.map(|rest| json!([{"type": "text", "text": rest.trim_start_matches('\n')}]));
        let mut out = self.fresh_line();
        if said_all && !failed {
            self.parallel &= !self.calls.is_empty();
            return out;
        }
        if let Some(call) = call.filter(|_| self.parallel && !follows) {
            out.push_str(&format!("{}\n", self.style.dim(&format!("● {call} answered"))));
        }
        self.parallel &= !self.calls.is_empty();
        for line in result_lines(rest.as_ref().unwrap_or(&event["content"])) {
            let line = if failed {
                self.style.bad(&line)
            } else {
                self.style.dim(&line)
            };
            out.push_str(&format!("{} {line}\n", self.style.dim("  │")));
        }
        out
    }

    fn input(&mut self, event: &Value) -> String {
        if self.own.contains(event["id"].as_str().unwrap_or_default()) {
            return String::new();
        }
        let said = sanitize(&plain(&event["content"]));
        let lines: Vec<String> = said.lines().map(|line| format!("› {line}")).collect();
        self.block(&self.style.bold(&lines.join("\n")))
    }

    fn confirmation(&mut self, event: &Value) -> String {
        let id = event["tool_use_id"].as_str().unwrap_or_default();
        let call = self.calls.get(id).cloned().unwrap_or_default();
        let line = if event["result"] == "allow" {
            self.style.good(&format!("✓ allowed: {call}"))
        } else {
            self.style.bad(&format!("✗ denied: {call}"))
        };
        self.block(&line)
    }

    fn request_end(&mut self, event: &Value) -> String {
        let tokens = |member: &str| event["model_usage"][member].as_u64().unwrap_or(0);
        self.requests += 1;
        self.input_tokens += tokens("input_tokens") + tokens("cache_read_input_tokens");
        self.input_tokens += tokens("cache_creation_input_tokens");
        self.output_tokens += tokens("output_tokens");
        // A preview still open belongs to an attempt that died: nothing of it counts.
        match self.open.take() {
            Some((_, shown)) if event["is_error"] == true && !shown.is_empty() => {
                self.block(&self.style.warn("… this attempt broke off"))
            }
            _ => String::new(),
        }
    }

    fn error(&mut self, error: &Value) -> String {
        let next = match error["retry_status"]["type"].as_str() {
            Some("retrying") => " (trying again)",
            _ => "",
        };
        let line = format!("✗ {}: {}{next}", text(&error["type"]), text(&error["message"]));
        self.block(&self.style.bad(&sanitize(&line)))
    }

    fn idle(&mut self, event: &Value) -> String {
        self.open = None;
        self.aloud.clear();
        let line = match event["stop_reason"]["type"].as_str().unwrap_or_default() {
            "end_turn" => self.style.good("✓ done"),
            "requires_action" => self.style.warn("‖ waits for an answer"),
            "retries_exhausted" => self.style.bad("✗ gave up"),
            "budget_reached" => self.style.bad("✗ budget reached"),
            "refusal" => self.style.bad("✗ the model refused"),
            other => self.style.bad(&format!("✗ {}", sanitize(other))),
        };
        let used = format!(
            " · {} model request{}, {} tokens in, {} out",
            self.requests,
            if self.requests == 1 { "" } else { "s" },
            self.input_tokens,
            self.output_tokens
        );
        self.block(&format!("{line}{}", self.style.dim(&used)))
    }

    /// Whole lines.
    fn block(&mut self, lines: &str) -> String {
        self.last_card = None;
        format!("{}{lines}\n", self.fresh_line())
    }

    /// Running text.
    fn stream(&mut self, piece: &str) -> String {
        let piece = sanitize(piece);
        if !piece.is_empty() {
            self.last_card = None;
            self.at_line_start = piece.ends_with('\n');
        }
        piece
    }

    fn fresh_line(&mut self) -> String {
        if std::mem::replace(&mut self.at_line_start, true) {
            String::new()
        } else {
            "\n".to_owned()
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(events: &[Value], expect: &str) {
        let mut transcript = Transcript::new(Style::plain(), BTreeSet::from(["sevt_own".to_owned()]));
        let shown: String = events
            .iter()
            .map(|event| transcript.event(event["type"].as_str().expect("type"), event))
            .collect();
        assert_eq!(shown, expect);
    }

    fn start(id: &str) -> Value {
        json!({"type": "event_start", "event": {"type": "agent.message", "id": id}})
    }

    fn delta(id: &str, text: &str) -> Value {
        json!({"type": "event_delta", "event_id": id,
               "delta": {"type": "content_delta", "index": 0, "content": {"type": "text", "text": text}}})
    }

    fn message(id: &str, text: &str) -> Value {
        json!({"type": "agent.message", "id": id, "content": [{"type": "text", "text": text}]})
    }

    fn idle(stop: &str) -> Value {
        json!({"type": "session.status_idle", "id": "i", "stop_reason": {"type": stop}})
    }

    #[test]
    fn a_streamed_message_is_shown_once() {
        let events = [
            start("a"),
            delta("a", "hel"),
            delta("a", "lo"),
            message("a", "hello"),
            idle("end_turn"),
        ];
        check(&events, "hello\n✓ done · 0 model requests, 0 tokens in, 0 out\n");
    }

    #[test]
    fn what_the_preview_missed_is_added() {
        check(&[start("a"), delta("a", "hel"), message("a", "hello")], "hello\n");
        check(&[message("a", "hello\n")], "hello\n");
    }

    #[test]
    fn a_dead_attempt_is_marked_and_its_successor_shown_whole() {
        let end = json!({"type": "span.model_request_end", "is_error": true, "model_usage": {}});
        check(
            &[
                start("a"),
                delta("a", "hel"),
                end,
                start("b"),
                delta("b", "hello"),
                message("b", "hello"),
            ],
            "hel\n… this attempt broke off\nhello\n",
        );
        // The same after a restart, where the end of the dead attempt comes without its preview having been closed.
        check(&[start("a"), delta("a", "hel"), message("b", "hello")], "hel\nhello\n");
    }

    #[test]
    fn tools_are_cards() {
        check(
            &[
                json!({"type": "agent.tool_use", "id": "t", "name": "bash", "input": {"command": "echo hi"}}),
                json!({"type": "agent.tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "hi\n"}]}),
            ],
            "● bash echo hi\n  │ hi\n",
        );
    }

    #[test]
    fn results_of_parallel_calls_name_their_tool() {
        check(
            &[
                json!({"type": "agent.tool_use", "id": "1", "name": "bash", "input": {"command": "a"}}),
                json!({"type": "agent.tool_use", "id": "2", "name": "read", "input": {"file_path": "b"}}),
                json!({"type": "agent.tool_result", "tool_use_id": "1", "content": []}),
                json!({"type": "agent.tool_result", "tool_use_id": "2", "content": []}),
            ],
            "● bash a\n● read b\n● bash a answered\n  │ (no output)\n● read b answered\n  │ (no output)\n",
        );
    }

    #[test]
    fn a_call_that_was_allowed_is_followed_by_its_result() {
        check(
            &[
                json!({"type": "agent.tool_use", "id": "1", "name": "bash", "input": {"command": "a"},
                       "evaluated_permission": "ask"}),
                json!({"type": "user.tool_confirmation", "tool_use_id": "1", "result": "allow"}),
                json!({"type": "agent.tool_result", "tool_use_id": "1", "content": []}),
            ],
            "● bash a (asks)\n✓ allowed: bash a\n  │ (no output)\n",
        );
    }

    #[test]
    fn hostile_text_cannot_drive_the_terminal() {
        check(
            &[
                start("a"),
                delta("a", "\u{1b}]0;x\u{7}"),
                message("a", "\u{1b}]0;x\u{7}"),
            ],
            "␛]0;x␇\n",
        );
        check(
            &[json!({"type": "session.error", "error": {"type": "unknown_error", "message": "\u{1b}[2J"}})],
            "✗ unknown_error: ␛[2J\n",
        );
    }

    #[test]
    fn inputs_of_others_are_shown_and_ones_own_are_not() {
        let said = |id: &str| json!({"type": "user.message", "id": id, "content": [{"type": "text", "text": "go"}]});
        check(&[said("sevt_own"), said("sevt_other")], "› go\n");
    }

    #[test]
    fn what_a_call_prints_is_shown_as_it_comes_and_once() {
        let call = |id: &str| json!({"type": "agent.tool_use", "id": id, "name": "bash", "input": {"command": id}});
        let begin = |id: &str, call: &str| json!({"type": "event_start", "event": {"type": "agent.tool_result", "id": id, "tool_use_id": call}});
        let says = |id: &str, text: &str| {
            json!({"type": "event_delta", "event_id": id,
                "delta": {"type": "content_delta", "index": 0, "content": {"type": "text", "text": text}}})
        };
        let result = |call: &str, text: &str| json!({"type": "agent.tool_result", "tool_use_id": call, "content": [{"type": "text", "text": text}]});
        check(
            &[
                call("c"),
                begin("p", "c"),
                says("p", "one\ntw"),
                says("p", "o\n"),
                result("c", "one\ntwo\nthree\n"),
            ],
            "● bash c\n  │ one\n  │ two\n  │ three\n",
        );
        check(
            &[call("c"), begin("p", "c"), says("p", "all"), result("c", "all")],
            "● bash c\n  │ all\n",
        );
        // One whose pieces have holes is shown as it was in the end; a straggler belongs to nobody.
        check(
            &[
                call("c"),
                begin("p", "c"),
                says("p", "a hole\n"),
                result("c", "whole"),
                says("p", "late"),
            ],
            "● bash c\n  │ a hole\n  │ whole\n",
        );
    }
}
