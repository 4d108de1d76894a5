//! The verdict: every zero with its n.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::{Fault, House, Judged, Kills, Plan, Sabotage};
use crate::oracle::{Counters, Violation};
use crate::proxy;

/// Violations that are printed; the rest is in `--json`.
const SHOWN: usize = 20;

/// Times, for quantiles.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = Duration>) {
        self.0.extend(more);
        self.0.sort_unstable();
    }

    /// How many.
    #[must_use]
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of all did not exceed, in milliseconds.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (share * self.0.len() as f64).ceil() as usize;
        let at = self.0.get(index.saturating_sub(1))?;
        Some(at.as_secs_f64() * 1_000.0)
    }
}

/// A promise, how often it was broken, and out of how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// Its number in INVARIANTS.
    pub invariant: &'static str,
    /// What must not be.
    pub what: &'static str,
    /// How often it was.
    pub violations: usize,
    /// Looked at.
    pub n: u64,
    /// What n counts.
    pub of: &'static str,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Run it again with this.
    pub seed: u64,
    /// How long it took.
    pub seconds: u64,
    /// Sessions at work.
    pub sessions: usize,
    /// Faults, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Processes that got a SIGKILL.
    pub kills: Kills,
    /// Faults that this form of the install cannot suffer, or that time did not suffice for.
    pub not_tried: Vec<&'static str>,
    /// Promise by promise.
    pub promises: Vec<Promise>,
    /// Calls whose outcome nobody can know, and whose model was told so.
    pub in_doubt: u64,
    /// Stale writes refused by the log.
    pub stale_refused_by_log: u64,
    /// Stale calls refused by executors.
    pub stale_refused_by_executor: u64,
    /// Commits of unknown outcome that were found out by their append id.
    pub ambiguous_resolved: u64,
    /// Dead workers whose sessions were freed before their lease ran out.
    pub freed_early: u64,
    /// Sessions that older workers gave back, for newer ones to drive.
    pub yielded: u64,
    /// Streams that were taken up again.
    pub streams_resumed: u64,
    /// Sessions that were set aside after too many deaths in a row, and asked for again.
    pub set_aside: u64,
    /// Requests that were sent again, or twice at once.
    pub requests_repeated: u64,
    /// From the loss of a process to the next record of each session at work.
    pub takeover_n: usize,
    /// Median, in milliseconds.
    pub takeover_p50_ms: Option<f64>,
    /// In milliseconds.
    pub takeover_p99_ms: Option<f64>,
    /// From the last healing to the rest of the last session, in milliseconds.
    pub rest_ms: f64,
    /// What the network was made to do.
    pub network: BTreeMap<&'static str, proxy::Counters>,
    /// Everything that was looked at.
    pub counters: Counters,
    /// Everything that was found.
    pub violations: Vec<Violation>,
    /// The protection that was taken away, and whether its absence was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sabotage: Option<Caught>,
}

/// Whether a sabotage was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Caught {
    /// Which.
    pub name: Sabotage,
    /// A promise that it breaks was seen broken.
    pub caught: bool,
}

impl Verdict {
    pub(super) fn new(
        plan: &Plan,
        took: Duration,
        struck: &BTreeMap<Fault, u64>,
        house: &House,
        judged: Judged,
    ) -> Self {
        let network = house.network();
        let mut struck = struck.clone();
        // Armed is not done: nobody may have written, or the connection was encrypted.
        let cut = network.get("database").map_or(0, |database| database.cut_at_commit);
        struck.entry(Fault::CutCommit).and_modify(|times| *times = cut);
        struck.retain(|_, times| *times > 0);
        let caught = |name: Sabotage| {
            let gives_away = name.gives_away();
            let mut found = judged.violations.iter();
            Caught {
                name,
                caught: found.any(|violation| gives_away.contains(&violation.invariant)),
            }
        };
        Self {
            seed: plan.seed,
            seconds: took.as_secs(),
            sessions: plan.sessions,
            faults: struck.iter().map(|(fault, times)| (fault.name(), *times)).collect(),
            kills: house.kills,
            not_tried: Fault::ALL
                .into_iter()
                .filter(|fault| !struck.contains_key(fault))
                .map(Fault::name)
                .collect(),
            promises: promises(&judged.counters, &judged.violations),
            in_doubt: judged.counters.in_doubt,
            stale_refused_by_log: judged.counters.stale_at_log,
            stale_refused_by_executor: judged.counters.stale_at_executor,
            ambiguous_resolved: judged.trace.resolved,
            freed_early: judged.trace.freed,
            yielded: judged.trace.yielded,
            streams_resumed: judged.told.resumed,
            set_aside: judged.told.set_aside,
            requests_repeated: judged.told.repeated + judged.told.pairs,
            takeover_n: judged.takeover.n(),
            takeover_p50_ms: judged.takeover.quantile(0.5),
            takeover_p99_ms: judged.takeover.quantile(0.99),
            rest_ms: judged.rested.as_secs_f64() * 1_000.0,
            network,
            sabotage: plan.sabotage.map(caught),
            counters: judged.counters,
            violations: judged.violations,
        }
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!(
            "seed {} · {} sessions · {} s",
            self.seed, self.sessions, self.seconds
        ));
        line(String::new());
        for (fault, times) in &self.faults {
            line(format!("  {fault:<44}{:>10}", thousands(*times)));
        }
        let Kills {
            servers,
            workers,
            executors,
        } = self.kills;
        line(format!(
            "  {:<44}{:>10}   servers {servers}, workers {workers}, executors {executors}",
            "SIGKILLs in all",
            thousands(self.kills.sum())
        ));
        line(String::new());
        for promise in &self.promises {
            line(format!(
                "  {:<44}{:>10}   of {} {} ({})",
                promise.what,
                promise.violations,
                thousands(promise.n),
                promise.of,
                promise.invariant
            ));
        }
        line(String::new());
        for (what, times) in self.recoveries() {
            line(format!("  {what:<44}{:>10}", thousands(times)));
        }
        if let (Some(p50), Some(p99)) = (self.takeover_p50_ms, self.takeover_p99_ms) {
            let n = thousands(self.takeover_n as u64);
            line(format!(
                "  {:<44}{:>10}   p99 {p99:.0} ms, of {n}",
                "taken over within (p50)",
                format!("{p50:.0} ms")
            ));
        }
        let rest = format!("{:.0} ms", self.rest_ms);
        line(format!("  {:<44}{rest:>10}", "all at rest after the last fault"));
        line(String::new());
        if !self.not_tried.is_empty() {
            line(format!("  not tried: {}", self.not_tried.join(", ")));
        }
        self.close(&mut out);
        out
    }

    fn recoveries(&self) -> [(&'static str, u64); 10] {
        [
            ("calls in doubt, and the model told so", self.in_doubt),
            ("model requests abandoned and asked again", self.counters.abandoned),
            ("stale writes refused by the log", self.stale_refused_by_log),
            ("stale calls refused by the executor", self.stale_refused_by_executor),
            ("ambiguous commits resolved", self.ambiguous_resolved),
            ("dead workers freed before their lease", self.freed_early),
            ("sessions set aside and asked for again", self.set_aside),
            ("sessions yielded to newer workers", self.yielded),
            ("streams resumed", self.streams_resumed),
            ("requests repeated", self.requests_repeated),
        ]
    }

    fn close(&self, out: &mut String) {
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(out, "  VIOLATION {violation}").ok();
        }
        if self.violations.len() > SHOWN {
            writeln!(out, "  … and {} more (--json has all)", self.violations.len() - SHOWN).ok();
        }
        match &self.sabotage {
            Some(Caught { name, caught: true }) => writeln!(out, "  {} was caught", name.name()),
            Some(Caught { name, caught: false }) => writeln!(out, "  {} was NOT caught", name.name()),
            None if self.is_clean() => writeln!(out, "  every promise was kept"),
            None => writeln!(
                out,
                "  {} violations; run it again with --seed {}",
                self.violations.len(),
                self.seed
            ),
        }
        .ok();
    }
}

fn promises(counters: &Counters, violations: &[Violation]) -> Vec<Promise> {
    let rows = [
        (
            "I2",
            "acknowledged events lost",
            counters.acknowledged,
            "acknowledged requests",
        ),
        (
            "I19",
            "repeated requests with a second effect",
            counters.repeated,
            "repeated requests",
        ),
        ("I1", "holes or doubles in a log", counters.events, "events"),
        ("I3", "two writers at once", counters.events, "events"),
        (
            "I5",
            "`once` calls run twice, or results made up",
            counters.calls,
            "calls",
        ),
        (
            "I4",
            "calls obeyed under an old lease",
            counters.journal_lines,
            "journal lines",
        ),
        ("I6", "model asked with a call unanswered", counters.calls, "calls"),
        ("I9", "messages received twice", counters.events, "events"),
        ("I10", "sessions left behind", counters.sessions, "sessions"),
        (
            "I11",
            "stream frames lost, doubled or out of order",
            counters.frames,
            "frames",
        ),
    ];
    rows.into_iter()
        .map(|(invariant, what, n, of)| Promise {
            invariant,
            what,
            violations: violations.iter().filter(|found| found.invariant == invariant).count(),
            n,
            of,
        })
        .collect()
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut times = Latencies::default();
        assert_eq!(times.quantile(0.5), None);
        times.extend((1..=100).rev().map(Duration::from_millis));
        assert_eq!((times.quantile(0.5), times.quantile(0.99)), (Some(50.0), Some(99.0)));
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([7, 1_000, 1_234_567].map(thousands), ["7", "1,000", "1,234,567"]);
    }
}
