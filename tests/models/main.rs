//! The model adapters against servers that are as strict as the vendors.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it finds a fault"
)]

mod compaction;
mod conversations;
mod failures;
mod house;
mod outcomes;
mod refusals;
mod support;
