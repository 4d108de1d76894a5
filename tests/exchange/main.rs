//! One conversation across brains, hosts and programs: harness and model change between its turns, it is forked into others, it
//! leaves as a file and goes on at another server, and it begins with what Claude Code and Codex left behind.

mod brains;
mod files;
mod house;
mod transcripts;
