//! The meter's own work: reservations nobody settled, sessions that may go on, traces that are old.

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::{Clock, Metering};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::limits;

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How often to sweep.
    pub sweep: Duration,
    /// How long traces are kept.
    pub keep: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            sweep: Duration::from_secs(2),
            keep: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Sweeps and forgets until it is dropped. Any number of processes may do so.
pub async fn tend(meter: Arc<dyn Metering>, clock: Arc<dyn Clock>, habits: Habits) {
    let mut ticks = interval(habits.sweep);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruned: Option<Instant> = None;
    loop {
        ticks.tick().await;
        match meter.sweep().await {
            Ok(swept) if swept.expired + swept.readied > 0 => {
                tracing::info!(swept.expired, swept.readied, "swept the budgets");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "could not sweep the budgets"),
        }
        if pruned.is_none_or(|at| at.elapsed() > limits::TRACE_PRUNE_EVERY) {
            pruned = Some(Instant::now());
            let keep = u64::try_from(habits.keep.as_millis()).unwrap_or(u64::MAX);
            let before = clock.now().minus_millis(keep);
            if let Err(error) = meter.prune(before).await {
                tracing::warn!(%error, "could not forget old traces");
            }
        }
    }
}
