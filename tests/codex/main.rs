//! The codex harness with the real binary against a scripted Responses endpoint.
//!
//! The harness relies on experimental parts of the app-server's protocol and on a measured file format, so these tests
//! compare what the binary really sends upstream. Without the binary they print `NOT RUN`, and fail where
//! everything must run. (The worker's own death: `tests/harness_rig`.)

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod bench;
mod calls;
mod canaries;
mod containment;
mod failures;
mod interrupts;
mod kills;
mod latency;
mod sharing;
mod upstream;
