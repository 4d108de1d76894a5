//! Buses: hints, previews and wake-ups; nothing durable.

pub mod local;
pub mod nats;
pub mod polled;
pub mod silent;
