//! The API against the in-memory log and an in-memory accounts database; sockets only where the listener itself is tested.

mod agents;
mod auth;
mod bad_input;
mod documents;
mod environments;
mod events;
mod faults;
mod fork;
mod idempotency;
mod listener;
mod pages;
mod rig;
mod sessions;
mod stream;
