//! How many workers there should be, and when another one is tried after one that failed.

use std::time::{Duration, Instant};

use crate::config::Kept;

/// One that ended sooner did not really run.
const RAN: Duration = Duration::from_secs(10);
/// Pause after the first that did not; it doubles.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// How many workers of `slots` each there should be when so many sessions want a slot.
pub(super) fn wanted(kept: &Kept, wanted_slots: u64, slots: u32) -> usize {
    let workers = wanted_slots.div_ceil(u64::from(slots.max(1)));
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    workers.clamp(kept.min, kept.max.value) as usize
}

/// Keeps a program that cannot run from being started in a loop.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Whether one may be started now.
    pub(super) fn admits(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    /// One ended by itself. If it had run, the next one may start at once.
    pub(super) fn ended(&mut self, after: Duration) {
        if after >= RAN {
            *self = Self::default();
        } else {
            self.failed();
        }
    }

    /// One could not run.
    pub(super) fn failed(&mut self) {
        let pause = self.pause();
        self.failures += 1;
        self.until = Some(Instant::now() + pause);
    }

    fn pause(&self) -> Duration {
        (FIRST * (1 << self.failures.min(8))).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, Setting};

    #[test]
    fn the_number_is_kept_between_the_bounds() {
        let kept = |min, max| Kept {
            min,
            max: Setting {
                value: max,
                from: Origin::Default,
            },
            idle_ms: 1,
        };
        for (min, max, slots, each, workers) in [
            (0, 4, 0, 8, 0),
            (1, 4, 0, 8, 1),
            (0, 4, 1, 8, 1),
            (0, 4, 8, 8, 1),
            (0, 4, 9, 8, 2),
            (2, 4, 9, 8, 2),
            (0, 4, 900, 8, 4),
            (0, 4, u64::MAX, 1, 4),
        ] {
            assert_eq!(
                wanted(&kept(min, max), slots, each),
                workers,
                "{min} {max} {slots} {each}"
            );
        }
    }

    #[test]
    fn what_cannot_run_is_tried_less_and_less() {
        let mut backoff = Backoff::default();
        assert!(backoff.admits());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(backoff.pause().as_secs());
            backoff.ended(Duration::from_secs(1));
            assert!(!backoff.admits());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.ended(Duration::from_secs(60));
        assert!(backoff.admits(), "it had run");
        assert_eq!(backoff.pause(), FIRST);
    }
}
