//! When to ask the server whether the session rests.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The next look.
#[derive(Clone, Copy, Debug, Default)]
pub enum Looking {
    /// Not before the stream says that the session rests.
    #[default]
    No,
    /// When this seq has been seen.
    AtSeq(u64),
    /// At this time. An input that changes nothing (an interrupt of a session at rest) makes it count as running for a
    /// moment, and no event says when that is over.
    At(Instant, Duration),
}

impl Looking {
    /// After a look that found the session at work.
    pub fn later(self) -> Self {
        let pause = match self {
            Self::At(_, pause) => (pause * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        Self::At(Instant::now() + pause, pause)
    }

    /// Waits until a look is due by time.
    pub async fn due(self) {
        match self {
            Self::At(when, _) => tokio::time::sleep_until(when).await,
            _ => std::future::pending().await,
        }
    }
}
