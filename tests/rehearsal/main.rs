//! `perennial rehearsal` through the real binary: its greeting, its record, OpenAI's wires over plain HTTP, and the real
//! Claude Code and Codex, which need nothing but the two variables it prints. (The official SDK is in `tests/sdk`.)

#[cfg(test)]
mod harnesses;
#[cfg(test)]
mod served;
#[cfg(test)]
mod verb;
