//! The oracle: what must be true of a session, whatever happened on the way (INVARIANTS §1). It looks at the log, at what
//! clients were told, at a ledger that the tools themselves write, at the executor's journal and at writes that came too late.
//! No clock, no I/O: the simulator asks it as well as the kill rig.
//!
//! | invariant | decided in |
//! | --- | --- |
//! | I1 numbers, I2 acknowledged, I3 one writer, I6 loadable, I9 mail, I10 rest, I19 repeats | `log.rs` |
//! | I4 fenced hands, I5 calls and their effects | `calls.rs` |
//! | I11 streams | `views.rs` |

mod calls;
mod log;
mod views;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// What is known of one session after a run. Whatever is left empty is not judged.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The log, as `GET /v1/sessions/{id}/log` serves it: envelopes with `seq`, `id`, `type` and `payload`.
    pub log: Vec<Value>,
    /// Epoch under which each event of the log was written, `None` for clients; empty where the store does not tell.
    pub epochs: Vec<Option<u64>>,
    /// Requests that were acknowledged, repeated ones each time.
    pub posts: Vec<Post>,
    /// What each client saw over all its connections.
    pub views: Vec<View>,
    /// Lines that tools wrote: a call that runs `echo MARK >> ledger` leaves `MARK`.
    pub effects: Vec<String>,
    /// Lines of the executor's journal of this session, in order: `{"epoch": n}`, `{"started": {…}}`, `{"result": {…}}`.
    pub journal: Vec<Value>,
    /// Attempts to write under a lease that somebody else had taken over.
    pub stale: Vec<StaleWrite>,
    /// All faults were healed and the session was given time: it must rest, and nothing may be owed.
    pub at_rest: bool,
}

/// A request that was answered with 2xx.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// Its idempotency key.
    pub key: String,
    /// The event ids it was answered with.
    pub ids: Vec<String>,
}

/// What one client saw of a stream, over all its connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The number after which it began.
    pub after: u64,
    /// Numbered frames in order of arrival: seq and payload.
    pub seen: Vec<(u64, Value)>,
    /// It was given time to see everything.
    pub complete: bool,
}

/// A write under a lease that was no longer its writer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleWrite {
    /// Where it was tried.
    pub at: Resource,
    /// Its epoch.
    pub epoch: u64,
    /// Whether it was let through.
    pub accepted: bool,
}

/// What fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The session's log.
    Log,
    /// The hands.
    Executor,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise is broken, e.g. `I5`.
    pub invariant: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What was looked at, and how often each recovery path was taken: a zero without its n says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Sessions.
    pub sessions: u64,
    /// Events of their logs.
    pub events: u64,
    /// Acknowledged requests.
    pub acknowledged: u64,
    /// Requests that were acknowledged more than once under one key.
    pub repeated: u64,
    /// Clients' views.
    pub views: u64,
    /// Frames in them.
    pub frames: u64,
    /// Tool calls with a result.
    pub calls: u64,
    /// Effects of tools that were found.
    pub effects: u64,
    /// Calls told to the model as in doubt.
    pub in_doubt: u64,
    /// Calls sent more than once.
    pub resent: u64,
    /// Model requests closed as errors.
    pub abandoned: u64,
    /// Sessions that were announced as tried again.
    pub rescheduled: u64,
    /// Lines of executors' journals.
    pub journal_lines: u64,
    /// Leases that spoke to executors beyond each session's first.
    pub takeovers_at_executor: u64,
    /// Stale writes refused by the log.
    pub stale_at_log: u64,
    /// Stale writes refused by executors.
    pub stale_at_executor: u64,
}

impl Counters {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.each().into_iter().zip(other.clone().each()) {
            *mine += *theirs;
        }
    }

    fn each(&mut self) -> [&mut u64; 16] {
        let Self {
            sessions,
            events,
            acknowledged,
            repeated,
            views,
            frames,
            calls,
            effects,
            in_doubt,
            resent,
            abandoned,
            rescheduled,
            journal_lines,
            takeovers_at_executor,
            stale_at_log,
            stale_at_executor,
        } = self;
        [
            sessions,
            events,
            acknowledged,
            repeated,
            views,
            frames,
            calls,
            effects,
            in_doubt,
            resent,
            abandoned,
            rescheduled,
            journal_lines,
            takeovers_at_executor,
            stale_at_log,
            stale_at_executor,
        ]
    }
}

/// The findings on one session.
struct Findings<'a> {
    counters: &'a mut Counters,
    violations: Vec<Violation>,
}

impl Findings<'_> {
    fn violation(&mut self, invariant: &'static str, what: impl Into<String>) {
        self.violations.push(Violation {
            invariant,
            what: what.into(),
        });
    }
}

/// Judges one session; returns every violation found.
#[must_use]
pub fn check(evidence: &Evidence, counters: &mut Counters) -> Vec<Violation> {
    let mut findings = Findings {
        counters,
        violations: Vec::new(),
    };
    findings.counters.sessions += 1;
    findings.counters.events += evidence.log.len() as u64;
    if log::numbers(evidence, &mut findings) {
        log::acknowledged(evidence, &mut findings);
        log::one_writer(evidence, &mut findings);
        log::grammar(evidence, &mut findings);
        calls::results(evidence, &mut findings);
        calls::effects(evidence, &mut findings);
        views::views(evidence, &mut findings);
    }
    calls::journal(evidence, &mut findings);
    calls::stale(evidence, &mut findings);
    findings.violations
}
