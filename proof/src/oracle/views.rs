//! Streams: the concatenated view of a client that comes back is the log.

use serde_json::Value;

use super::{Evidence, Findings, View};

/// I11: from where it began, each client saw everything, in order, once.
pub(super) fn views(evidence: &Evidence, findings: &mut Findings<'_>) {
    for view in &evidence.views {
        findings.counters.views += 1;
        findings.counters.frames += view.seen.len() as u64;
        compare(&evidence.log, view, findings);
    }
}

fn compare(log: &[Value], view: &View, findings: &mut Findings<'_>) {
    let expected = log
        .iter()
        .filter_map(|event| Some((event["seq"].as_u64()?, &event["payload"])))
        .filter(|(seq, _)| *seq > view.after);
    let mut expected = expected.peekable();
    for (seq, payload) in &view.seen {
        match expected.next() {
            Some((next, stored)) if next == *seq && stored == payload => {}
            Some((next, _)) if next == *seq => {
                findings.violation("I11", format!("a stream showed seq {seq} otherwise than it is stored"));
            }
            Some((next, _)) => {
                return findings.violation("I11", format!("a stream showed seq {seq} where {next} was next"));
            }
            None => return findings.violation("I11", format!("a stream showed seq {seq}, which is not in the log")),
        }
    }
    if let Some((next, _)) = expected.peek().filter(|_| view.complete) {
        findings.violation("I11", format!("a stream never showed seq {next}"));
    }
}
