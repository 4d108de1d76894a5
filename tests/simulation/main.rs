//! Ring 1: the real kernel and turn loop over the memory ports, under one seeded scheduler. Every port call of every node asks
//! what happens to it; a seed is a run, a failing seed prints the few faults it takes.
//!
//! `make simulate SEEDS=1000000` runs more; `PERENNIAL_SEED=n` runs one and prints what happened
//! (with `PERENNIAL_LOGS=1` every event, too).

#![expect(clippy::unwrap_used, reason = "a simulation that cannot run should stop")]

mod front;
mod hands;
mod people;
mod plan;
mod ports;
mod reach;
mod run;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use perennial_proof::oracle::Counters;
use plan::{Fault, Faults, shrink};
use run::{Verdict, run};
use world::Sabotage;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 10_000;
/// From so many seeds on, a branch that was never taken fails the run.
const ENOUGH: u64 = 1_000;

/// Every way of recovering must have been taken.
const BRANCHES: &[&str] = &[
    "a page was short",
    "ambiguous commit found",
    "ambiguous commit made again",
    "archived",
    "append fenced",
    "append refused: the head moved",
    "release refused: the head moved",
    "call attached",
    "call cancelled",
    "context summarised",
    "executor refused an old epoch",
    "forked",
    "hand-off found its event",
    "journal is another",
    "journal put back",
    "lease found expired",
    "model request failed",
    "owner signed off",
    "poison killed a holder",
    "quarantine lifted",
    "settled: done",
    "settled: lost",
    "settled: never started",
    "stream resumed",
];

#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    oracle: Counters,
    slowest_rest: u64,
    slowest_put_off: u64,
}

fn drawn(seed: u64) -> Verdict {
    run(seed, Faults::Drawn, Sabotage::None)
}

fn listed(seed: u64, list: &[(u64, Fault)], sabotage: Sabotage) -> Verdict {
    run(seed, Faults::Listed(list.iter().copied().collect()), sabotage)
}

/// What it takes to fail, for people.
fn explain(seed: u64, verdict: &Verdict, sabotage: Sabotage) -> String {
    let shrunk = shrink(verdict.fired.clone(), |list| {
        !listed(seed, list, sabotage).violations.is_empty()
    });
    let least = listed(seed, &shrunk, sabotage);
    let commit = std::process::Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    let commit = commit.map_or_else(
        |_| "?".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!(
        "seed {seed} (commit {commit}) fails: {:#?}\nit takes {} of {} faults, by decision: {shrunk:?}: {:#?}",
        verdict.violations,
        shrunk.len(),
        verdict.fired.len(),
        least.violations
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("PERENNIAL_SEED") {
        let verdict = drawn(seed);
        let Verdict {
            fired, hash, counts, ..
        } = &verdict;
        println!("seed {seed}, trace {hash:016x}: {fired:?}\n{counts:#?}");
        assert!(
            verdict.violations.is_empty(),
            "{}",
            explain(seed, &verdict, Sabotage::None)
        );
        return;
    }
    let seeds = number("PERENNIAL_SEEDS").unwrap_or(SEEDS);
    let first = number("PERENNIAL_FIRST_SEED").unwrap_or(1);
    let (next, tally, failed) = (AtomicU64::new(first), Mutex::new(Tally::default()), Mutex::new(None));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        return;
                    }
                    let verdict = drawn(seed);
                    if !verdict.violations.is_empty() {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((seed, verdict));
                        return;
                    }
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.oracle.add(&verdict.oracle);
                    if verdict.put_off {
                        tally.slowest_put_off = tally.slowest_put_off.max(verdict.healed_in);
                    } else {
                        tally.slowest_rest = tally.slowest_rest.max(verdict.healed_in);
                    }
                    for (what, n) in verdict.counts {
                        *tally.counts.entry(what).or_default() += n;
                    }
                }
            });
        }
    });
    if let Some((seed, verdict)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        panic!("{}", explain(seed, &verdict, Sabotage::None));
    }
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = began.elapsed();
    println!(
        "simulation: {seeds} seeds from {first} in {:.1} s, 0 violations; at rest within {} ms of their own time, after deaths {} ms\n{:?}",
        took.as_secs_f64(),
        tally.slowest_rest,
        tally.slowest_put_off,
        tally.oracle
    );
    for (what, n) in &tally.counts {
        println!("  {what}: {n}");
    }
    if seeds >= ENOUGH {
        let never: Vec<_> = BRANCHES
            .iter()
            .filter(|branch| !tally.counts.contains_key(**branch))
            .collect();
        assert!(never.is_empty(), "no seed took {never:?}");
        let Counters {
            in_doubt,
            resent,
            abandoned,
            rescheduled,
            repeated,
            ..
        } = tally.oracle;
        assert!(
            in_doubt.min(resent).min(abandoned).min(rescheduled).min(repeated) > 0,
            "{:?}",
            tally.oracle
        );
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=60 {
        let (first, second) = (drawn(seed), drawn(seed));
        assert_eq!(first.fired, second.fired, "seed {seed}");
        assert_eq!(first.hash, second.hash, "seed {seed} has two traces");
    }
}

#[test]
fn a_listed_run_repeats_a_drawn_one() {
    for seed in 1..=30 {
        let verdict = drawn(seed);
        assert_eq!(
            listed(seed, &verdict.fired, Sabotage::None).hash,
            verdict.hash,
            "seed {seed}"
        );
    }
}

/// Runs seeds until one notices that the mechanism is gone; it must be the promise which the mechanism keeps.
fn is_missed(sabotage: Sabotage, promises: &[&str]) {
    let broken = |violation: &String| {
        promises
            .iter()
            .any(|promise| violation.contains(&format!("{promise}:")))
    };
    let found = (1..=2_000).find_map(|seed| {
        let violations = run(seed, Faults::Drawn, sabotage).violations;
        violations.into_iter().find(broken).map(|violation| (seed, violation))
    });
    let found = found.map(|(seed, violation)| format!("{sabotage:?} is found by seed {seed}: {violation}"));
    println!("{}", found.as_deref().unwrap_or_default());
    assert!(found.is_some(), "no seed missed it: {sabotage:?}");
}

#[test]
fn without_the_fence_old_leases_write() {
    is_missed(Sabotage::NoFence, &["I3"]);
}

#[test]
fn without_the_journal_effects_repeat() {
    is_missed(Sabotage::NoJournal, &["I5"]);
}

#[test]
fn without_a_new_id_a_journal_put_back_repeats_effects() {
    is_missed(Sabotage::NoNewJournal, &["I5"]);
}

#[test]
fn without_the_conditional_release_inputs_are_stranded() {
    is_missed(Sabotage::NoConditionalRelease, &["I10"]);
}

#[test]
fn without_dedupe_requests_repeat() {
    is_missed(Sabotage::NoDedupe, &["I2", "I9", "I19"]);
}
