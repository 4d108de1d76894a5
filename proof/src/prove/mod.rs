//! The kill rig as a feature: a private copy of the install works, is killed, frozen and cut off, and everything its clients
//! were told is then held against its logs (`perennial prove`).

mod fault;
mod house;
mod strike;
mod trace;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

pub use fault::{Fault, Sabotage};
pub use house::{Cluster, House, Kills, Outages, sabotaged, stalled};
pub use trace::{Trace, takeover};
pub use verdict::{Latencies, Verdict};

use crate::oracle::{self, Counters, Violation};
use crate::rig::visitor::{Crowd, Told, Visitor};

/// Longest a session may take to rest once everything is healed: TTL + sweep + 5 s (I10), the 31 s for which one that was
/// unlucky in each of its attempts is kept waiting (I15), its turn in a worker of its own, and room for a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is tried, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything random follows from it, except the timing of the machine.
    pub seed: u64,
    /// Sessions at a time.
    pub sessions: usize,
    /// Until when.
    pub until: Until,
    /// A protection taken away.
    pub sabotage: Option<Sabotage>,
    /// An event that every second session begins with: one that older workers do not know.
    pub opening: Option<serde_json::Value>,
}

/// When enough was tried.
#[derive(Clone, Debug)]
pub enum Until {
    /// After so long, with every fault the install can suffer.
    Elapsed(Duration),
    /// When each of these was done so many times.
    Counts(BTreeMap<Fault, u64>),
}

/// How far it is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Since the first fault.
    pub elapsed: Duration,
    /// Faults so far.
    pub struck: BTreeMap<Fault, u64>,
    /// What is done now.
    pub doing: String,
}

/// A process that was taken away from its sessions.
#[derive(Clone, Debug)]
pub struct Loss {
    /// When.
    pub at: DateTime<Utc>,
    /// The log file of the process; none when it held every session.
    pub log: Option<PathBuf>,
}

/// A seed nobody chose, short enough to be typed.
#[must_use]
pub fn fresh_seed() -> u64 {
    u64::from(rand::random::<u32>())
}

/// Runs the plan against the house and judges.
///
/// # Errors
/// When the rig itself fails: a process that does not start again, a log that cannot be read.
pub async fn run(plan: &Plan, mut house: House, progress: &(dyn Fn(&Progress) + Sync)) -> Result<Verdict> {
    let begun = Instant::now();
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut crowd = crowd(plan, &house, &mut rng).await?;
    let mut struck = Progress::default();
    let mut losses = Vec::new();
    while let Some(fault) = choose(plan, &house, &struck, begun.elapsed(), &mut rng) {
        struck.doing = fault.to_string();
        struck.elapsed = begun.elapsed();
        progress(&struck);
        let strike = house.strike(fault, &mut rng).await;
        losses.extend(strike.with_context(|| format!("seed {}: {fault}", plan.seed))?);
        *struck.struck.entry(fault).or_default() += 1;
        // Often the next one comes before the last one is overcome: faults during recovery are the interesting ones.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..600))).await;
    }
    struck.doing = "everything is healed; sessions come to rest".to_owned();
    progress(&struck);
    house.heal().await?;
    // What was broken on purpose needs no benefit of the doubt.
    let patience = plan.sabotage.map_or(PATIENCE, |_| PATIENCE / 9);
    let healed = Instant::now();
    let restless = crowd.finish(patience).await;
    let rested = healed.elapsed();
    struck.doing = "judging".to_owned();
    progress(&struck);
    let mut judged = judge(&crowd, &house, &losses).await?;
    let stuck = restless.iter().map(|session| Violation {
        invariant: "I10",
        what: format!("{session} did not come to rest within {patience:?}"),
    });
    judged.violations.extend(stuck);
    judged.rested = rested;
    let verdict = Verdict::new(plan, begun.elapsed(), &struck.struck, &house, judged);
    house.close().await;
    Ok(verdict)
}

async fn crowd(plan: &Plan, house: &House, rng: &mut StdRng) -> Result<Crowd> {
    let door = house.doors().requests.first().cloned().context("no node")?;
    let (agent, environment) = door.agent_and_environment("rehearsal-1").await?;
    let mut visitors = Vec::with_capacity(plan.sessions);
    for number in 0..plan.sessions {
        let visitor = Visitor::arrive(house.doors(), &agent, &environment, rng.random()).await?;
        if let Some(opening) = plan.opening.as_ref().filter(|_| number % 2 == 1) {
            visitor.open(opening).await;
        }
        visitors.push(visitor);
    }
    Ok(Crowd::of(visitors))
}

/// The next fault, none when enough was tried.
fn choose(plan: &Plan, house: &House, so_far: &Progress, elapsed: Duration, rng: &mut StdRng) -> Option<Fault> {
    let done = |fault: &Fault| so_far.struck.get(fault).copied().unwrap_or(0);
    match &plan.until {
        Until::Elapsed(length) if elapsed >= *length => None,
        Until::Elapsed(_) => {
            let possible = house.faults();
            if let Some(sabotage) = plan.sabotage.filter(|_| rng.random_bool(0.7)) {
                return Some(sabotage.matters_under());
            }
            // What was never tried comes first, then anything.
            let fresh: Vec<Fault> = possible.iter().copied().filter(|fault| done(fault) == 0).collect();
            fresh.choose(rng).or_else(|| possible.choose(rng)).copied()
        }
        Until::Counts(counts) => {
            let left = |fault: &Fault| counts.get(fault).copied().unwrap_or(0).saturating_sub(done(fault));
            let possible: Vec<Fault> = counts.keys().copied().filter(|fault| left(fault) > 0).collect();
            // By what is left of each, so that they stay mixed to the end.
            possible.choose_weighted(rng, left).ok().copied()
        }
    }
}

/// What all sessions come to.
#[derive(Debug, Default)]
pub struct Judged {
    /// What was looked at.
    pub counters: Counters,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// What became of connections.
    pub told: Told,
    /// From the loss of a process to the first record of each session it held.
    pub takeover: Latencies,
    /// From the last healing to the rest of the last session.
    pub rested: Duration,
    /// What the processes said of themselves.
    pub trace: Trace,
}

async fn judge(crowd: &Crowd, house: &House, losses: &[Loss]) -> Result<Judged> {
    let mut judged = Judged {
        trace: house.trace(),
        ..Judged::default()
    };
    for visitor in &crowd.visitors {
        let (evidence, told) = visitor.evidence(house.data_dir()).await?;
        let session = &visitor.session;
        let found = oracle::check(&evidence, &mut judged.counters);
        judged.violations.extend(found.into_iter().map(|violation| Violation {
            what: format!("{session}: {}", violation.what),
            ..violation
        }));
        judged.told.resumed += told.resumed;
        judged.told.repeated += told.repeated;
        judged.told.pairs += told.pairs;
        judged.told.set_aside += told.set_aside;
        for loss in losses.iter().filter(|loss| judged.trace.held(loss, session)) {
            judged.takeover.extend(takeover(&evidence.log, loss.at));
        }
    }
    judged.counters.stale_at_log += judged.trace.stale_at_log;
    judged.counters.stale_at_executor += judged.trace.stale_at_executor;
    Ok(judged)
}
