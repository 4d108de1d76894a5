//! Buses: hints, previews and wake-ups; nothing durable.

pub mod local;
pub mod silent;
