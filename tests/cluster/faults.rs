//! Everything at once: every fault in its count, in an order from the seed, upon sessions that work and clients that follow.

use anyhow::Result;
use perennial_proof::prove::{self, Fault, Plan, Until};

use crate::place::{Place, count, say, seed};

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
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house_with(2, 3, &[stalls()]).await?.with_outages(place.outages());
    let counts = [
        (Fault::KillWorker, 300),
        (Fault::KillServer, 180),
        (Fault::KillExecutor, 20),
        (Fault::Freeze, 100),
        (Fault::Drain, 20),
        (Fault::CutStreams, 100),
        (Fault::CutDatabase, 20),
        (Fault::CutCommit, 200),
        (Fault::SilenceDatabase, 10),
        (Fault::SlowDatabase, 10),
        (Fault::CutBus, 20),
        (Fault::SilenceBus, 10),
        (Fault::CrashDatabase, 20),
        (Fault::CrashBus, 50),
        (Fault::IsolateWorker, 50),
    ];
    let plan = Plan {
        seed: seed("faults"),
        sessions: 16,
        until: Until::Counts(counts.map(|(fault, full)| (fault, count(full))).into()),
        sabotage: None,
    };
    let verdict = prove::run(&plan, house, &|progress| {
        if progress.struck.values().sum::<u64>().is_multiple_of(100) {
            eprintln!("{:?} {:?} {}", progress.elapsed, progress.struck, progress.doing);
        }
    })
    .await?;
    for line in verdict.table().lines() {
        say(format_args!("{line}"));
    }
    assert!(verdict.is_clean(), "{:#?}", verdict.violations);
    // Not vacuous: each recovery path was taken. What takes luck is asked of the full counts only.
    let counters = &verdict.counters;
    let lucky = if count(10) == 10 {
        verdict.stale_refused_by_executor
    } else {
        1
    };
    for (what, times) in [
        ("a stale call refused by the executor", lucky),
        ("a call in doubt", counters.in_doubt),
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
    Ok(())
}
