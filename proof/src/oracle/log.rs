//! What a log must look like: gapless, complete, and as one writer at a time would have written it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Evidence, Findings};

/// I1: 1..n without a hole, ids unique. Without this nothing else can be judged.
pub(super) fn numbers(evidence: &Evidence, findings: &mut Findings<'_>) -> bool {
    let mut ids = BTreeSet::new();
    for (expected, event) in (1u64..).zip(&evidence.log) {
        if event["seq"].as_u64() != Some(expected) {
            findings.violation("I1", format!("expected seq {expected}, found {}", event["seq"]));
            return false;
        }
        if !ids.insert(event["id"].to_string()) {
            findings.violation("I1", format!("event id {} appears twice", event["id"]));
        }
    }
    true
}

/// I2: what was acknowledged is there, exactly once. I19: a repeated request had one effect and one answer.
pub(super) fn acknowledged(evidence: &Evidence, findings: &mut Findings<'_>) {
    let mut stored: BTreeMap<&str, usize> = BTreeMap::new();
    for id in evidence.log.iter().filter_map(|event| event["id"].as_str()) {
        *stored.entry(id).or_default() += 1;
    }
    let mut answers: BTreeMap<&str, &[String]> = BTreeMap::new();
    for post in &evidence.posts {
        findings.counters.acknowledged += 1;
        if let Some(first) = answers.insert(&post.key, &post.ids) {
            findings.counters.repeated += 1;
            if first != post.ids {
                let (key, ids) = (&post.key, &post.ids);
                findings.violation("I19", format!("request {key:?} was answered {first:?}, then {ids:?}"));
            }
        }
        for id in &post.ids {
            let found = stored.get(id.as_str()).copied().unwrap_or(0);
            if found != 1 {
                findings.violation("I2", format!("acknowledged event {id} is in the log {found} times"));
            }
        }
    }
}

/// I3, where the store tells epochs: they never fall.
pub(super) fn one_writer(evidence: &Evidence, findings: &mut Findings<'_>) {
    let mut highest = 0;
    for (event, epoch) in evidence.log.iter().zip(&evidence.epochs) {
        let Some(epoch) = epoch else { continue };
        if *epoch < highest {
            let seq = &event["seq"];
            findings.violation("I3", format!("seq {seq} of epoch {epoch} follows epoch {highest}"));
        }
        highest = highest.max(*epoch);
    }
}

/// What one writer keeps in mind while it writes. Two writers at once cannot keep to it for long.
#[derive(Default)]
struct Desk<'a> {
    request: Option<&'a str>,
    /// Calls without a result.
    open: BTreeSet<&'a str>,
    /// Inputs that wait to enter the context, then those that have.
    waiting: BTreeSet<&'a str>,
    entered: BTreeSet<&'a str>,
    mail: BTreeSet<&'a str>,
    /// The last status and why it rests.
    status: &'a str,
    stop: &'a str,
}

/// I3: requests, calls and rests are opened and closed as by one writer. I6: every call has its result before the model is
/// asked again. I9: a message is received once. I10: at rest nothing is owed.
pub(super) fn grammar(evidence: &Evidence, findings: &mut Findings<'_>) {
    let mut desk = Desk::default();
    for event in &evidence.log {
        desk.event(event, findings);
    }
    if evidence.at_rest && !evidence.log.is_empty() {
        desk.rest(findings);
    }
}

impl<'a> Desk<'a> {
    fn event(&mut self, event: &'a Value, findings: &mut Findings<'_>) {
        let (seq, id, payload) = (&event["seq"], text(&event["id"]), &event["payload"]);
        match text(&event["type"]) {
            "user.message" | "system.message" => {
                self.waiting.insert(id);
            }
            "mail.received" => {
                self.waiting.insert(id);
                if !self.mail.insert(text(&payload["message_id"])) {
                    findings.violation("I9", format!("seq {seq} receives {} again", payload["message_id"]));
                }
            }
            "input.processed" => self.enter(seq, payload, findings),
            "span.model_request_start" => self.start(seq, id, findings),
            "span.model_request_end" => self.end(seq, payload, findings),
            "agent.message" | "agent.thinking" => self.said(seq, findings),
            "agent.tool_use" | "agent.mcp_tool_use" | "agent.custom_tool_use" => {
                self.said(seq, findings);
                self.open.insert(id);
            }
            "session.status_running" => self.status = "running",
            "session.status_rescheduled" => {
                self.status = "rescheduling";
                findings.counters.rescheduled += 1;
            }
            "session.status_idle" => self.idle(seq, payload, findings),
            "session.status_terminated" | "session.deleted" => self.status = "terminated",
            _ => {
                if let Some(call) = answered(payload) {
                    self.open.remove(call);
                }
            }
        }
    }

    fn enter(&mut self, seq: &Value, payload: &'a Value, findings: &mut Findings<'_>) {
        for id in payload["event_ids"].as_array().into_iter().flatten().map(text) {
            self.waiting.remove(id);
            if !self.entered.insert(id) {
                findings.violation("I3", format!("seq {seq} lets input {id} into the context again"));
            }
        }
    }

    fn start(&mut self, seq: &Value, id: &'a str, findings: &mut Findings<'_>) {
        if let Some(open) = self.request.replace(id) {
            findings.violation("I3", format!("seq {seq} begins a model request beside {open}"));
        }
        if !self.open.is_empty() {
            let open = &self.open;
            findings.violation("I6", format!("seq {seq} asks the model while {open:?} have no result"));
        }
    }

    fn end(&mut self, seq: &Value, payload: &Value, findings: &mut Findings<'_>) {
        let ends = text(&payload["model_request_start_id"]);
        let open = self.request.take();
        if open != Some(ends) {
            findings.violation("I3", format!("seq {seq} ends model request {ends}, open is {open:?}"));
        }
        if payload["is_error"] == true {
            findings.counters.abandoned += 1;
        }
    }

    fn said(&self, seq: &Value, findings: &mut Findings<'_>) {
        if self.request.is_none() {
            findings.violation("I3", format!("at seq {seq} the model speaks though nobody asked it"));
        }
    }

    fn idle(&mut self, seq: &Value, payload: &'a Value, findings: &mut Findings<'_>) {
        (self.status, self.stop) = ("idle", text(&payload["stop_reason"]["type"]));
        // A session that is set aside is not folded first (I15): what was open stays open.
        if self.stop == "retries_exhausted" {
            return;
        }
        if let Some(request) = self.request {
            findings.violation("I3", format!("seq {seq} rests during model request {request}"));
        }
        if self.stop != "requires_action" && !self.open.is_empty() {
            let open = &self.open;
            findings.violation("I3", format!("seq {seq} rests while {open:?} have no result"));
        }
    }

    fn rest(&self, findings: &mut Findings<'_>) {
        if !matches!(self.status, "idle" | "terminated" | "") {
            findings.violation("I10", format!("the session is {} though nothing stops it", self.status));
        }
        if self.stop != "retries_exhausted" && self.status != "terminated" && !self.waiting.is_empty() {
            let waiting = &self.waiting;
            // A parked session answers later what is said meanwhile.
            if self.stop != "requires_action" || self.status != "idle" {
                findings.violation("I10", format!("the session rests and never looked at {waiting:?}"));
            }
        }
    }
}

/// The call that an event is the result of.
pub(super) fn answered(payload: &Value) -> Option<&str> {
    let kind = payload["type"].as_str()?;
    let field = match kind {
        "agent.tool_result" | "user.tool_result" => "tool_use_id",
        "agent.mcp_tool_result" => "mcp_tool_use_id",
        "user.custom_tool_result" => "custom_tool_use_id",
        _ => return None,
    };
    payload[field].as_str()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
