//! The executor as its peers see it: frames in, frames out, real bash, with and without bubblewrap.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod calls;
mod corpus;
mod crash;
mod files;
mod panes;
mod policy;
mod repositories;
mod rig;
mod sandbox;
mod servers;
mod shell;
mod storage;
