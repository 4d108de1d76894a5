//! The server as a client of the vendors sees it: the same script on every wire, streamed and whole, and refusals in the
//! vendor's own words.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod client;
mod conversations;
mod refusals;
mod surface;
