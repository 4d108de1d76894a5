//! Time and ids come from outside, so that a simulator can supply them.

use perennial_schema::{AppendId, EventId, SessionId, Timestamp};
use uuid::Uuid;

/// The wall clock. Used to stamp events; never to judge a lease (the log's own clock does that).
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Where ids come from.
pub trait Ids: Send + Sync {
    /// A fresh UUIDv7.
    fn uuid(&self) -> Uuid;

    /// A fresh event id.
    fn event(&self) -> EventId {
        EventId::from_uuid(self.uuid())
    }

    /// A fresh append id.
    fn append(&self) -> AppendId {
        AppendId::from_uuid(self.uuid())
    }

    /// A fresh session id.
    fn session(&self) -> SessionId {
        SessionId::from_uuid(self.uuid())
    }
}
