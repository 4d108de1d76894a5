//! The oracle: what must be true of a session's log, whatever was killed on the way. It looks at the log, at what clients
//! were told, and at a side-effect ledger that the tools themselves write.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a client knows for certain.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Event ids of acknowledged inputs.
    pub acknowledged: Vec<String>,
    /// Everything streams showed, in order, as (seq, payload).
    pub streamed: Vec<(u64, Value)>,
    /// Lines of the side-effect ledger.
    pub effects: Vec<String>,
}

/// How often each recovery path was taken, so that a run cannot pass vacuously.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Sessions checked.
    pub sessions: u64,
    /// Events checked.
    pub events: u64,
    /// Calls told to the model as in doubt.
    pub in_doubt: u64,
    /// Model requests closed as errors.
    pub abandoned: u64,
    /// Calls with a result.
    pub calls: u64,
}

/// Checks one session; returns every violation found.
#[must_use]
pub fn check(log: &[Value], told: &Told, counters: &mut Counters) -> Vec<String> {
    let mut violations = Vec::new();
    counters.sessions += 1;
    counters.events += log.len() as u64;
    sequences(log, &mut violations);
    acknowledged(log, told, &mut violations);
    streams(log, told, &mut violations);
    calls(log, told, counters, &mut violations);
    counters.abandoned += log
        .iter()
        .filter(|event| event["type"] == "span.model_request_end" && event["payload"]["is_error"] == true)
        .count() as u64;
    violations
}

/// I1: 1..n without a hole; ids unique.
fn sequences(log: &[Value], violations: &mut Vec<String>) {
    let mut ids = BTreeSet::new();
    for (expected, event) in (1u64..).zip(log) {
        if event["seq"].as_u64() != Some(expected) {
            violations.push(format!("I1: expected seq {expected}, found {}", event["seq"]));
            return;
        }
        if !ids.insert(event["id"].to_string()) {
            violations.push(format!("I1: event id {} appears twice", event["id"]));
        }
    }
}

/// I2: what was acknowledged is there, exactly once.
fn acknowledged(log: &[Value], told: &Told, violations: &mut Vec<String>) {
    for id in &told.acknowledged {
        let found = log.iter().filter(|event| event["id"] == id.as_str()).count();
        if found != 1 {
            violations.push(format!("I2: acknowledged input {id} is in the log {found} times"));
        }
    }
}

/// I11: the concatenated view of a client that resumes is the log.
fn streams(log: &[Value], told: &Told, violations: &mut Vec<String>) {
    if told.streamed.is_empty() {
        return;
    }
    let stored: Vec<(u64, &Value)> = log
        .iter()
        .filter_map(|event| Some((event["seq"].as_u64()?, &event["payload"])))
        .collect();
    let seen: Vec<(u64, &Value)> = told.streamed.iter().map(|(seq, payload)| (*seq, payload)).collect();
    if stored != seen {
        let seqs = |view: &[(u64, &Value)]| view.iter().map(|(seq, _)| *seq).collect::<Vec<_>>();
        violations.push(format!(
            "I11: the stream showed {:?}, the log has {:?}",
            seqs(&seen),
            seqs(&stored)
        ));
    }
}

/// I5: one terminal event per call; a `once` effect at most once, exactly once when its result says so.
fn calls(log: &[Value], told: &Told, counters: &mut Counters, violations: &mut Vec<String>) {
    let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &told.effects {
        *effects.entry(line).or_default() += 1;
    }
    for (line, count) in &effects {
        if *count > 1 {
            violations.push(format!("I5: the effect {line:?} happened {count} times"));
        }
    }
    for call in log.iter().filter(|event| event["type"] == "agent.tool_use") {
        let results: Vec<&Value> = log
            .iter()
            .filter(|event| event["type"] == "agent.tool_result" && event["payload"]["tool_use_id"] == call["id"])
            .collect();
        if results.len() != 1 {
            violations.push(format!("I5: call {} has {} results", call["id"], results.len()));
            continue;
        }
        counters.calls += 1;
        let text = results[0]["payload"]["content"][0]["text"].as_str().unwrap_or_default();
        let mark = call["payload"]["input"]["command"]
            .as_str()
            .and_then(|command| command.split_whitespace().nth(1));
        if text.contains("outcome of this call is unknown") {
            counters.in_doubt += 1;
        } else if results[0]["payload"]["is_error"] == false
            && let Some(mark) = mark
            && effects.get(mark) != Some(&1)
        {
            violations.push(format!(
                "I5: call {} succeeded but its effect {mark:?} is not there once",
                call["id"]
            ));
        }
    }
}
