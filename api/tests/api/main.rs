//! The API against the in-memory log and an in-memory accounts database; sockets only where the listener itself is tested.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod accounts;
mod agents;
mod attached;
mod auth;
mod bad_input;
mod budgets;
mod client;
mod console;
mod documents;
mod environments;
mod events;
mod exchange;
mod executors;
mod faults;
mod feed;
mod fork;
mod gateway_keys;
mod idempotency;
mod keda;
mod listener;
mod mail;
mod pages;
mod rig;
mod sessions;
mod stream;
mod usage;
mod workers;
