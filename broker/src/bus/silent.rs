//! A bus that loses everything: what must still work without hints is tested on it.

use async_trait::async_trait;
use perennial_engine::ports::{Bus, Delta, Notice, SessionKey, Subscription, WakeUps};

/// Loses everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

struct Nothing;

#[async_trait]
impl Subscription for Nothing {
    async fn next(&mut self) -> Option<Notice> {
        std::future::pending().await
    }
}

#[async_trait]
impl WakeUps for Nothing {
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

impl Bus for Silent {
    fn hint(&self, _key: SessionKey, _seq: u64) {}

    fn delta(&self, _key: SessionKey, _delta: Delta) {}

    fn wake(&self) {}

    fn subscribe(&self, _key: SessionKey) -> Box<dyn Subscription> {
        Box::new(Nothing)
    }

    fn wake_ups(&self) -> Box<dyn WakeUps> {
        Box::new(Nothing)
    }
}
