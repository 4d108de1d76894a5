//! An oracle that cannot find anything proves nothing: every kind of violation is put before it once.

use serde_json::{Value, json};

use super::*;

/// A turn with one call, as the engine writes it.
fn turn() -> Vec<Value> {
    let bodies = [
        json!({"type": "user.message", "id": "in"}),
        json!({"type": "session.status_running", "id": "run"}),
        json!({"type": "span.model_request_start", "id": "ask1"}),
        json!({"type": "input.processed", "id": "named", "event_ids": ["in"]}),
        json!({"type": "agent.tool_use", "id": "call", "name": "bash", "input": {"command": "echo mark >> ledger"}}),
        json!({"type": "span.model_request_end", "id": "end1", "model_request_start_id": "ask1", "is_error": false}),
        json!({"type": "tool.dispatched", "id": "sent", "tool_use_id": "call", "attempt": 1, "effect": "once"}),
        json!({"type": "agent.tool_result", "id": "result", "tool_use_id": "call", "is_error": false,
            "content": [{"type": "text", "text": ""}]}),
        json!({"type": "span.model_request_start", "id": "ask2"}),
        json!({"type": "agent.message", "id": "answer"}),
        json!({"type": "span.model_request_end", "id": "end2", "model_request_start_id": "ask2", "is_error": false}),
        json!({"type": "session.status_idle", "id": "idle", "stop_reason": {"type": "end_turn"}}),
    ];
    number(bodies.to_vec())
}

fn number(bodies: Vec<Value>) -> Vec<Value> {
    let numbered = (1u64..).zip(bodies);
    numbered
        .map(|(seq, body)| json!({"seq": seq, "id": body["id"], "type": body["type"], "payload": body}))
        .collect()
}

fn evidence() -> Evidence {
    let log = turn();
    let seen = log
        .iter()
        .map(|event| (event["seq"].as_u64().unwrap(), event["payload"].clone()));
    Evidence {
        epochs: vec![
            None,
            Some(1),
            Some(1),
            Some(1),
            Some(1),
            Some(1),
            Some(1),
            Some(2),
            Some(2),
        ],
        posts: vec![post("k", "in"), post("k", "in")],
        views: vec![View {
            after: 0,
            seen: seen.collect(),
            complete: true,
        }],
        effects: vec!["mark".to_owned()],
        journal: vec![
            json!({"epoch": 1}),
            json!({"started": {"call_id": "call", "epoch": 1, "effect": "once"}}),
            json!({"result": {"call_id": "call"}}),
            json!({"epoch": 2}),
        ],
        stale: vec![StaleWrite {
            at: Resource::Log,
            epoch: 1,
            accepted: false,
        }],
        at_rest: true,
        log,
    }
}

fn post(key: &str, id: &str) -> Post {
    Post {
        key: key.to_owned(),
        ids: vec![id.to_owned()],
    }
}

/// What the oracle says of a good session after `spoil`: which promises are broken.
fn spoilt(spoil: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = evidence();
    spoil(&mut evidence);
    let mut found: Vec<&str> = check(&evidence, &mut Counters::default())
        .iter()
        .map(|violation| violation.invariant)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The log with an event put in behind the one of that id.
fn insert(evidence: &mut Evidence, behind: &str, body: Value) {
    let mut bodies: Vec<Value> = evidence.log.iter().map(|event| event["payload"].clone()).collect();
    let at = bodies.iter().position(|body| body["id"] == behind).unwrap() + 1;
    bodies.insert(at, body);
    evidence.log = number(bodies);
    evidence.views.clear();
    evidence.epochs.clear();
}

fn remove(evidence: &mut Evidence, id: &str) {
    let bodies = evidence.log.iter().map(|event| event["payload"].clone());
    evidence.log = number(bodies.filter(|body| body["id"] != id).collect());
    evidence.views.clear();
    evidence.epochs.clear();
}

#[test]
fn a_good_session_is_good_and_counted() {
    let mut counters = Counters::default();
    assert_eq!(check(&evidence(), &mut counters), []);
    let expected = Counters {
        sessions: 1,
        events: 12,
        acknowledged: 2,
        repeated: 1,
        views: 1,
        frames: 12,
        calls: 1,
        effects: 1,
        journal_lines: 4,
        takeovers_at_executor: 1,
        stale_at_log: 1,
        ..Counters::default()
    };
    assert_eq!(counters, expected);
    counters.add(&expected);
    assert_eq!((counters.sessions, counters.stale_at_log), (2, 2));
}

#[test]
fn numbers_and_acknowledgements() {
    assert_eq!(spoilt(|e| drop(e.log.remove(3))), ["I1"]);
    assert_eq!(spoilt(|e| e.log[9]["id"] = json!("in")), ["I1", "I2"]);
    assert_eq!(spoilt(|e| e.posts.push(post("other", "lost"))), ["I2"]);
    assert_eq!(spoilt(|e| e.posts.push(post("k", "run"))), ["I19"]);
}

#[test]
fn two_writers_at_once() {
    assert_eq!(spoilt(|e| e.epochs[8] = Some(1)), ["I3"]);
    let start = json!({"type": "span.model_request_start", "id": "rival"});
    assert_eq!(spoilt(|e| insert(e, "ask2", start.clone())), ["I3"]);
    assert_eq!(spoilt(|e| insert(e, "sent", start)), ["I3", "I6"]);
    let message = json!({"type": "agent.message", "id": "rival"});
    assert_eq!(spoilt(|e| insert(e, "idle", message)), ["I3"]);
    let idle = json!({"type": "session.status_idle", "id": "rival", "stop_reason": {"type": "end_turn"}});
    assert_eq!(spoilt(|e| insert(e, "sent", idle.clone())), ["I3"]);
    assert_eq!(spoilt(|e| insert(e, "ask2", idle)), ["I3"]);
    let named = json!({"type": "input.processed", "id": "rival", "event_ids": ["in"]});
    assert_eq!(spoilt(|e| insert(e, "named", named)), ["I3"]);
}

#[test]
fn calls_and_effects() {
    let again = |attempt, effect| json!({"type": "tool.dispatched", "id": "again", "tool_use_id": "call", "attempt": attempt, "effect": effect});
    assert_eq!(spoilt(|e| insert(e, "sent", again(2, "idempotent"))), [] as [&str; 0]);
    assert_eq!(spoilt(|e| insert(e, "sent", again(2, "once"))), ["I5"]);
    assert_eq!(spoilt(|e| insert(e, "sent", again(1, "idempotent"))), ["I3"]);
    assert_eq!(spoilt(|e| insert(e, "result", again(2, "idempotent"))), ["I5"]);
    let result = json!({"type": "agent.tool_result", "id": "again", "tool_use_id": "call"});
    assert_eq!(spoilt(|e| insert(e, "result", result)), ["I5"]);
    assert_eq!(spoilt(|e| remove(e, "sent")), ["I5"]);
    assert_eq!(spoilt(|e| remove(e, "result")), ["I3", "I5", "I6"]);
    assert_eq!(spoilt(|e| e.effects.push("mark".to_owned())), ["I5"]);
    assert_eq!(spoilt(|e| e.effects.clear()), ["I5"]);
    assert_eq!(spoilt(|e| e.effects.push("unheard".to_owned())), ["I5"]);
}

#[test]
fn hands_that_obey_an_old_lease() {
    let begun = |call: &str, epoch| json!({"started": {"call_id": call, "epoch": epoch, "effect": "once"}});
    assert_eq!(spoilt(|e| e.journal.push(begun("late", 1))), ["I4"]);
    assert_eq!(spoilt(|e| e.journal.push(begun("call", 2))), ["I5"]);
    for (at, invariant) in [(Resource::Log, "I3"), (Resource::Executor, "I4")] {
        let write = StaleWrite {
            at,
            epoch: 1,
            accepted: true,
        };
        assert_eq!(spoilt(|e| e.stale.push(write)), [invariant]);
    }
}

#[test]
fn mail_and_rest() {
    let mail = json!({"type": "mail.received", "id": "mail", "message_id": "m1"});
    assert_eq!(spoilt(|e| insert(e, "idle", mail.clone())), ["I10"]);
    let twice = |e: &mut Evidence| {
        insert(e, "run", mail.clone());
        insert(
            e,
            "run",
            json!({"type": "mail.received", "id": "mail2", "message_id": "m1"}),
        );
        e.at_rest = false;
    };
    assert_eq!(spoilt(twice), ["I9"]);
    assert_eq!(spoilt(|e| remove(e, "idle")), ["I10"]);
    let unfinished = |e: &mut Evidence| {
        remove(e, "idle");
        e.at_rest = false;
    };
    assert_eq!(spoilt(unfinished), [] as [&str; 0]);
}

#[test]
fn streams() {
    let seen = |change: fn(&mut Vec<(u64, Value)>)| spoilt(|e| change(&mut e.views[0].seen));
    assert_eq!(seen(|seen| drop(seen.remove(5))), ["I11"]);
    assert_eq!(seen(|seen| drop(seen.pop())), ["I11"]);
    assert_eq!(seen(|seen| seen.swap(1, 2)), ["I11"]);
    assert_eq!(seen(|seen| seen.insert(4, seen[4].clone())), ["I11"]);
    assert_eq!(seen(|seen| seen[3].1["id"] = json!("other")), ["I11"]);
    assert_eq!(seen(|seen| seen.push((13, json!({})))), ["I11"]);
    let late = |e: &mut Evidence| {
        e.views[0].seen.drain(..4);
        e.views[0].after = 4;
    };
    assert_eq!(spoilt(late), [] as [&str; 0]);
}
