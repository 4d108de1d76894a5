//! One measurement of a workload of steps, and how it is taken: as many sessions at once as asked for, each writing its
//! records one after another, the next session beginning as soon as one ends.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::report::{Report, percentile};
use crate::usage;

/// Steps of a session.
pub(crate) const STEPS: usize = 20;
/// Bytes of a record.
pub(crate) const RECORD: usize = 1024;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Sessions at once.
    pub(crate) at_once: usize,
    /// Sessions in all.
    pub(crate) sessions: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Sample {
    steps_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
}

impl Sample {
    /// Adds it to the report under a name.
    pub(crate) fn report(&self, report: &mut Report, scenario: &'static str, what: &str) {
        report.add(scenario, what, "steps/s", self.steps_per_second);
        report.add(scenario, what, "p50 ms", self.p50_ms);
        report.add(scenario, what, "p99 ms", self.p99_ms);
        report.add(scenario, what, "cpu ms", self.cpu_ms);
    }
}

/// Runs a load. `session` runs the n-th session to its end and says how long each of its steps took, in milliseconds.
/// `server` is the database process whose CPU time counts too.
pub(crate) async fn take<F>(
    load: Load,
    server: Option<u32>,
    session: impl Fn(usize) -> F + Send + Sync + 'static,
) -> Result<Sample>
where
    F: Future<Output = Result<Vec<f64>>> + Send + 'static,
{
    let cpu = || usage::own_cpu_ms() + server.map_or(0.0, usage::tree_cpu_ms);
    let (session, next) = (Arc::new(session), Arc::new(AtomicUsize::new(0)));
    let (cpu_before, started) = (cpu(), Instant::now());
    let mut drivers = JoinSet::new();
    for _ in 0..load.at_once {
        let (session, next) = (session.clone(), next.clone());
        drivers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= load.sessions {
                    return anyhow::Ok(times);
                }
                times.extend(session(index).await?);
            }
        });
    }
    let mut times = Vec::new();
    while let Some(driver) = drivers.join_next().await {
        times.extend(driver??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    let steps = (load.sessions * STEPS) as f64;
    Ok(Sample {
        steps_per_second: steps / elapsed,
        p50_ms: percentile(&mut times, 0.5),
        p99_ms: percentile(&mut times, 0.99),
        cpu_ms: (cpu() - cpu_before) / steps,
    })
}

/// A record's bytes.
pub(crate) fn payload(session: usize, seq: usize) -> String {
    let head = format!("{{\"session\":{session},\"seq\":{seq},\"text\":\"");
    let text = letters(RECORD - head.len() - 2);
    format!("{head}{text}\"}}")
}

/// Letters that do not compress into nothing, made once: what is measured is storing them.
pub(crate) fn letters(count: usize) -> &'static str {
    static POOL: LazyLock<String> = LazyLock::new(|| {
        let letter = |_| char::from(b'a' + rand::random_range(0..26));
        (0..64 * RECORD).map(letter).collect()
    });
    let start = rand::random_range(0..POOL.len() - count);
    &POOL[start..start + count]
}
