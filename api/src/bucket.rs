//! A bound on how often something may be done: so many at once, and then one a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bucket of permits that fills up again.
pub(crate) struct Bucket {
    most: u32,
    every: Duration,
    /// How many there are, as of when.
    state: Mutex<(u32, Instant)>,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(most: u32, every: Duration) -> Self {
        Self {
            most,
            every,
            state: Mutex::new((most, Instant::now())),
        }
    }

    /// Takes a permit, if there is one.
    pub(crate) fn admit(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *state;
        let passed = since.elapsed();
        let more = u32::try_from(passed.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u32::MAX);
        let there = left.saturating_add(more).min(self.most);
        // What has passed of the next one's time is not lost.
        let since = if there == self.most {
            Instant::now()
        } else {
            since + self.every * more
        };
        *state = (there.saturating_sub(1), since);
        there > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_a_while() {
        let bucket = Bucket::new(3, Duration::from_secs(1));
        let admitted = |bucket: &Bucket| (0..10).filter(|_| bucket.admit()).count();
        assert_eq!(admitted(&bucket), 3);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(admitted(&bucket), 0);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(admitted(&bucket), 1);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(admitted(&bucket), 3);
    }
}
