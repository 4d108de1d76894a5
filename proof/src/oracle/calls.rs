//! Tool calls: intent before effect, one result each, no `once` effect twice, and hands that obey the newest lease only.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::log::{answered, text};
use super::{Evidence, Findings, Resource};

/// I5: one result per call, and an intent before it leaves.
pub(super) fn results(evidence: &Evidence, findings: &mut Findings<'_>) {
    let mut attempts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut closed: BTreeSet<&str> = BTreeSet::new();
    for event in &evidence.log {
        let payload = &event["payload"];
        if event["type"] == "tool.dispatched" {
            let (call, attempt) = (text(&payload["tool_use_id"]), payload["attempt"].as_u64().unwrap_or(0));
            let before = attempts.insert(call, attempt).unwrap_or(0);
            if before > 0 {
                findings.counters.resent += 1;
            }
            if attempt <= before {
                findings.violation("I3", format!("call {call} is dispatched as attempt {attempt} again"));
            }
            if before > 0 && payload["effect"] == "once" {
                findings.violation("I5", format!("call {call} may run once and is sent again"));
            }
            if closed.contains(call) {
                findings.violation("I5", format!("call {call} is sent after its result"));
            }
        }
        // A client's answer may cross the engine's own closing of a call: the first in the log counts.
        if let Some(call) = answered(payload)
            && !closed.insert(call)
            && text(&event["type"]).starts_with("agent.")
            && engine_answered(&evidence.log, call) > 1
        {
            findings.violation("I5", format!("call {call} has more than one result"));
        }
    }
    for call in uses(evidence) {
        let id = text(&call["id"]);
        if closed.contains(id) {
            findings.counters.calls += 1;
        } else if evidence.at_rest && !rests_for_answers(evidence) {
            findings.violation("I5", format!("call {id} has no result"));
        }
    }
}

fn engine_answered(log: &[Value], call: &str) -> usize {
    let by_engine = log.iter().filter(|event| text(&event["type"]).starts_with("agent."));
    by_engine
        .filter(|event| answered(&event["payload"]) == Some(call))
        .count()
}

fn uses(evidence: &Evidence) -> impl Iterator<Item = &Value> {
    evidence.log.iter().filter(|event| {
        matches!(
            text(&event["type"]),
            "agent.tool_use" | "agent.mcp_tool_use" | "agent.custom_tool_use"
        )
    })
}

/// Waiting for somebody, or set aside: open calls are in order.
fn rests_for_answers(evidence: &Evidence) -> bool {
    let last = evidence
        .log
        .iter()
        .rfind(|event| event["type"] == "session.status_idle");
    last.is_some_and(|idle| {
        matches!(
            text(&idle["payload"]["stop_reason"]["type"]),
            "requires_action" | "retries_exhausted"
        )
    })
}

/// I5: an effect happens at most once, only after its intent is in the log, and exactly once when the result says so.
pub(super) fn effects(evidence: &Evidence, findings: &mut Findings<'_>) {
    let mut happened: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &evidence.effects {
        findings.counters.effects += 1;
        *happened.entry(line).or_default() += 1;
    }
    for (line, times) in happened.iter().filter(|(_, times)| **times > 1) {
        findings.violation("I5", format!("the effect {line:?} happened {times} times"));
    }
    let (mut intended, mut claimed) = (BTreeSet::<&str>::new(), Vec::<&str>::new());
    let mut marks: BTreeMap<&str, &str> = BTreeMap::new();
    for event in &evidence.log {
        let payload = &event["payload"];
        if let Some(mark) = mark(payload) {
            marks.insert(text(&event["id"]), mark);
        } else if event["type"] == "tool.dispatched" {
            intended.extend(marks.get(text(&payload["tool_use_id"])).copied());
        } else if event["type"] == "agent.tool_result" {
            let said = text(&payload["content"][0]["text"]);
            if said.contains("outcome of this call is unknown") {
                findings.counters.in_doubt += 1;
            } else if payload["is_error"] == false {
                claimed.extend(marks.get(text(&payload["tool_use_id"])).copied());
            }
        }
    }
    for mark in claimed.into_iter().filter(|mark| !happened.contains_key(*mark)) {
        findings.violation("I5", format!("the effect {mark:?} was reported and never happened"));
    }
    for mark in happened.keys().filter(|mark| !intended.contains(*mark)) {
        findings.violation(
            "I5",
            format!("the effect {mark:?} happened without an intent in the log"),
        );
    }
}

/// What a call leaves in the ledger: the word between `echo` and `>> ledger`.
fn mark(payload: &Value) -> Option<&str> {
    let command = payload["input"]["command"].as_str()?;
    let (before, _) = command.split_once(" >> ledger")?;
    let (_, mark) = before.rsplit_once("echo ")?;
    Some(mark)
}

/// I4: no call was begun under a lease older than one that had spoken. I5: a call that acts once was begun once.
pub(super) fn journal(evidence: &Evidence, findings: &mut Findings<'_>) {
    let mut highest = 0;
    let mut begun = BTreeSet::new();
    for line in &evidence.journal {
        findings.counters.journal_lines += 1;
        let started = &line["started"];
        let epoch = line["epoch"].as_u64().or_else(|| started["epoch"].as_u64());
        let Some(epoch) = epoch else { continue };
        if started.is_object() {
            let call = text(&started["call_id"]);
            if epoch < highest {
                findings.violation(
                    "I4",
                    format!("call {call} of epoch {epoch} was begun after epoch {highest} spoke"),
                );
            }
            if !begun.insert(call) && started["effect"] == "once" {
                findings.violation("I5", format!("call {call} may run once and was begun again"));
            }
        }
        if epoch > highest && highest > 0 {
            findings.counters.takeovers_at_executor += 1;
        }
        highest = highest.max(epoch);
    }
}

/// I3 and I4: who lost the lease writes nothing more.
pub(super) fn stale(evidence: &Evidence, findings: &mut Findings<'_>) {
    for write in &evidence.stale {
        let (invariant, refused) = match write.at {
            Resource::Log => ("I3", &mut findings.counters.stale_at_log),
            Resource::Executor => ("I4", &mut findings.counters.stale_at_executor),
        };
        if write.accepted {
            let (at, epoch) = (write.at, write.epoch);
            findings.violation(
                invariant,
                format!("a stale write of epoch {epoch} was accepted ({at:?})"),
            );
        } else {
            *refused += 1;
        }
    }
}
