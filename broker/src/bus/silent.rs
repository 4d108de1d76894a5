//! A bus that loses everything: what must still work without hints is tested on it.

use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{Bus, Delta, Notice, Request, Requests, SessionKey, Subscription, Unanswered, WakeUps};
use perennial_schema::{ExecutorId, WorkspaceId};

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
impl Requests for Nothing {
    async fn next(&mut self) -> Option<Request> {
        std::future::pending().await
    }
}

#[async_trait]
impl WakeUps for Nothing {
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
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

    fn changed(&self, _workspace: WorkspaceId) {}

    fn changes(&self, _workspace: WorkspaceId) -> Box<dyn WakeUps> {
        Box::new(Nothing)
    }

    fn nudge(&self, _about: ExecutorId) {}

    fn nudges(&self, _about: ExecutorId) -> Box<dyn WakeUps> {
        Box::new(Nothing)
    }

    async fn request(&self, _to: ExecutorId, _body: Bytes) -> Result<Bytes, Unanswered> {
        Err(Unanswered)
    }

    fn requests(&self, _at: ExecutorId) -> Box<dyn Requests> {
        Box::new(Nothing)
    }
}
