//! Everything at once: every fault in its count, in an order from the seed, upon sessions that work and clients that follow.
//!
//! The full counts are tried in rounds, each with a house and sessions of its own: so that logs stay of a length that sessions
//! have, and a round that fails names its own seed.

use std::collections::BTreeMap;

use anyhow::Result;
use perennial_proof::prove::{self, Fault, Plan, Until, Verdict};

use crate::place::{Place, either, say, seed};

/// Of the full counts.
const ROUNDS: u64 = 4;

/// What each round of the full counts tries, and what `make test` does.
const COUNTS: [(Fault, u64, u64); 16] = [
    (Fault::KillWorker, 140, 30),
    (Fault::KillServer, 80, 18),
    (Fault::KillExecutor, 15, 2),
    (Fault::KillSeveral, 105, 0),
    (Fault::Freeze, 52, 10),
    (Fault::Drain, 10, 2),
    (Fault::CutStreams, 60, 10),
    (Fault::CutDatabase, 12, 2),
    (Fault::CutCommit, 75, 20),
    (Fault::SilenceDatabase, 5, 1),
    (Fault::SlowDatabase, 5, 1),
    (Fault::CutBus, 12, 2),
    (Fault::SilenceBus, 10, 1),
    (Fault::CrashDatabase, 26, 2),
    (Fault::CrashBus, 52, 5),
    (Fault::IsolateWorker, 25, 5),
];

/// Writers and callers that dawdle where they can be overtaken, now and then.
fn stalls() -> (String, String) {
    let stalls = [
        "worker.append.before=0.3%sleep(1500)",
        "worker.dispatch.after=3%sleep(1500)",
        "worker.rest.before=5%sleep(50)",
    ];
    ("PERENNIAL_STALL_AT".to_owned(), stalls.join(","))
}

#[tokio::test]
async fn every_fault_in_its_count() -> Result<()> {
    let mut sum = Sum::default();
    for round in 1..=either(ROUNDS, 1) {
        let Some(verdict) = one_round(round).await? else {
            return Ok(());
        };
        sum.add(&verdict);
    }
    sum.say();
    Ok(())
}

async fn one_round(round: u64) -> Result<Option<Verdict>> {
    let Some(place) = Place::new().await? else {
        return Ok(None);
    };
    let house = place.house_with(2, 3, &[stalls()]).await?.with_outages(place.outages());
    let counts = COUNTS.map(|(fault, torture, test)| (fault, either(torture, test)));
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let plan = Plan {
        // One that was chosen is chosen for each round.
        seed: seed(&format!("faults, round {round}")),
        sessions: 16,
        until: Until::Counts(counts.into()),
        sabotage: None,
        opening: None,
    };
    let verdict = prove::run(&plan, house, &|progress| {
        let done = progress.struck.values().sum::<u64>();
        if done.is_multiple_of(100) {
            eprintln!(
                "faults, round {round}: {done} of {all} after {:?}, {}",
                progress.elapsed, progress.doing
            );
        }
    })
    .await?;
    for line in verdict.table().lines() {
        say(format_args!("{line}"));
    }
    assert!(verdict.is_clean(), "{:#?}", verdict.violations);
    // Not vacuous: each recovery path was taken. What takes luck is asked of the full counts only.
    let counters = &verdict.counters;
    let stale = either(verdict.stale_refused_by_executor, 1);
    // Of few executors that are killed, each may have had nothing to do.
    let in_doubt = either(counters.in_doubt, 1);
    for (what, times) in [
        ("a stale call refused by the executor", stale),
        ("a call in doubt", in_doubt),
        ("a model request abandoned", counters.abandoned),
        ("a repeated request", counters.repeated),
        ("a takeover at the executor", counters.takeovers_at_executor),
        ("a stale write refused by the log", verdict.stale_refused_by_log),
        ("an ambiguous commit resolved", verdict.ambiguous_resolved),
        ("a stream resumed", verdict.streams_resumed),
        ("a connection cut at commit", verdict.network["database"].cut_at_commit),
        (
            "a word of an isolated worker lost",
            verdict.network["workers' database"].swallowed,
        ),
    ] {
        assert!(times > 0, "{what} never happened: the rig is vacuous");
    }
    Ok(Some(verdict))
}

/// What all rounds come to.
#[derive(Default)]
struct Sum {
    rounds: u64,
    kills: u64,
    faults: BTreeMap<&'static str, u64>,
    promises: BTreeMap<(&'static str, &'static str, &'static str), (usize, u64)>,
    resumed: u64,
    repeated: u64,
}

impl Sum {
    fn add(&mut self, verdict: &Verdict) {
        self.rounds += 1;
        self.kills += verdict.kills.sum();
        for (fault, times) in &verdict.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        for promise in &verdict.promises {
            let (violations, n) = self
                .promises
                .entry((promise.invariant, promise.what, promise.of))
                .or_default();
            *violations += promise.violations;
            *n += promise.n;
        }
        self.resumed += verdict.streams_resumed;
        self.repeated += verdict.requests_repeated;
    }

    fn say(&self) {
        say(format_args!(
            "faults, {} rounds in all: {} SIGKILLs",
            self.rounds, self.kills
        ));
        for (fault, times) in &self.faults {
            say(format_args!("faults in all: {fault}: {times}"));
        }
        for ((invariant, what, of), (violations, n)) in &self.promises {
            say(format_args!(
                "faults in all: {what}: {violations} of {n} {of} ({invariant})"
            ));
        }
        say(format_args!(
            "faults in all: {} streams resumed, {} requests repeated",
            self.resumed, self.repeated
        ));
    }
}
