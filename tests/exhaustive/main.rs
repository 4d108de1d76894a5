//! Ring 0: a small model of claim, append, dispatch, settle, hand-off and release, explored whole. Everything must hold in every
//! state, every race must have been met, and each mechanism, taken away, must be missed.

mod executor;
mod promises;
mod session;
mod story;
mod worker;
mod world;

use std::sync::atomic::Ordering;

use stateright::{Checker, HasDiscoveries, Model};
use story::{RACES, Story, Without};
use world::Faults;

/// Up to `total` faults; those of workers and their wires up to `each` times.
const fn faults(total: u8, each: u8) -> Faults {
    Faults {
        total,
        crashes: each,
        early_expiries: each,
        ambiguous: each,
        executor_crashes: 1,
        executor_rebuilds: 1,
        hand_off_crashes: 1,
    }
}

/// Explores everything; prints what was met, with how often.
fn holds(calls: u8, faults: Faults) {
    let story = Story::new(calls, faults, Without::Nothing);
    let met = story.met.clone();
    let checker = story.checker().spawn_dfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    let mut report = format!(
        "exhaustive: {calls} call(s), up to {} faults: {states} states, {steps} steps; met",
        faults.total
    );
    let times = |race| met[race as usize].load(Ordering::Relaxed);
    for race in RACES {
        report.push_str(&format!(" {race:?} {}", times(race)));
    }
    println!("{report}");
    checker.assert_properties();
    let missed: Vec<_> = RACES.into_iter().filter(|race| times(*race) == 0).collect();
    assert!(missed.is_empty(), "no story met {missed:?}");
}

#[test]
fn two_faults_in_two_turns_break_no_promise() {
    holds(2, faults(2, 2));
}

#[test]
fn three_faults_around_one_call_break_no_promise() {
    holds(1, faults(3, 1));
}

/// Explores until a promise is broken; it must be one that the mechanism keeps.
fn is_missed(without: Without, promise: &str) {
    let checker = Story::new(2, faults(3, 1), without)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let broken: Vec<_> = checker.discoveries().into_keys().collect();
    assert!(
        broken.iter().any(|name| name.starts_with(promise)),
        "without {without:?} {promise} should break, but {broken:?} did"
    );
}

#[test]
fn without_the_epoch_predicate_old_leases_write() {
    is_missed(Without::Fence, "I3");
}

#[test]
fn without_the_conditional_release_work_is_stranded() {
    is_missed(Without::ConditionalRelease, "I10");
}

#[test]
fn without_the_journal_effects_repeat() {
    is_missed(Without::Journal, "I5");
}

#[test]
fn without_a_new_id_a_journal_put_back_repeats_effects() {
    is_missed(Without::NewJournal, "I5");
}

#[test]
fn without_append_ids_an_ambiguous_commit_repeats() {
    is_missed(Without::Dedupe, "I1");
}

#[test]
fn without_the_high_water_mark_old_commands_are_accepted() {
    is_missed(Without::ExecutorFence, "I4");
}
