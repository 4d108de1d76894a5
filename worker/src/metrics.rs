//! What a worker counts. Labels come from closed sets; the recorder, if there is one, is whoever runs the process's.

use perennial_engine::ports::{CallError, Claimed};
use perennial_schema::tool::Outcome;

use crate::session::Asked;

/// Sessions claimed; `takeovers` are those whose last holder died.
pub(crate) fn count_claims(claimed: &[Claimed]) {
    let takeovers = claimed.iter().filter(|claimed| claimed.row.attempts > 0).count();
    ::metrics::counter!("perennial_worker_claims_total").increment(claimed.len() as u64);
    ::metrics::counter!("perennial_worker_takeovers_total").increment(takeovers as u64);
}

/// Sessions driven at this moment.
pub(crate) fn driving(sessions: usize) {
    ::metrics::gauge!("perennial_worker_sessions_driving").set(f64::from(u32::try_from(sessions).unwrap_or(u32::MAX)));
}

/// Sessions it may drive at once.
pub(crate) fn slots(slots: u32) {
    ::metrics::gauge!("perennial_worker_slots").set(f64::from(slots));
}

/// An append of events under a lease.
pub(crate) fn count_append(events: usize) {
    ::metrics::counter!("perennial_worker_appends_total").increment(1);
    ::metrics::counter!("perennial_worker_events_total").increment(events as u64);
}

/// A write refused because the lease is another's.
pub(crate) fn count_fenced() {
    ::metrics::counter!("perennial_worker_fenced_total").increment(1);
}

/// A model request that ended; none for one that was dropped with its lease.
pub(crate) fn count_model_request(ended: Option<&Asked>) {
    let outcome = match ended {
        Some(Asked::Answered(Ok(_))) => "ok",
        Some(Asked::Answered(Err(_))) => "error",
        Some(Asked::Interrupted) => "interrupted",
        None => "dropped",
    };
    ::metrics::counter!("perennial_worker_model_requests_total", "outcome" => outcome).increment(1);
}

/// A tool call that ended, or one that an earlier attempt had sent and that was settled.
pub(crate) fn count_call(ended: &Result<Outcome, CallError>) {
    let outcome = match ended {
        Ok(outcome) if outcome.is_error => "error",
        Ok(_) => "ok",
        Err(CallError::Fenced) => "fenced",
        Err(CallError::NotStarted(_)) => "not_started",
        Err(CallError::NotSent(_)) => "not_sent",
        Err(CallError::Unknown(_)) => "in_doubt",
    };
    ::metrics::counter!("perennial_worker_tool_calls_total", "outcome" => outcome).increment(1);
}

/// A step of a harness process: `cold` from the log, `warm` in a process of an earlier turn, `results` in mid-turn.
pub(crate) fn count_harness_step(harness: &'static str, how: &'static str) {
    ::metrics::counter!("perennial_worker_harness_steps_total", "harness" => harness, "how" => how).increment(1);
}
