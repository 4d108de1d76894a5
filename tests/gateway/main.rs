//! The model gateway: bytes both ways, who is let in, what is counted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it finds a fault"
)]

mod budgets;
mod counted;
mod faithful;
mod house;
mod keys;
mod refusals;
mod rig;
