//! What the tests share: the real server as a child process, a plain HTTP client, scripted model servers, and the oracle.

pub mod clock;
pub mod collector;
pub mod docker;
pub mod git;
pub mod harnesses;
pub mod models;
pub mod nats;
pub mod postgres;
pub mod processes;
mod spoke;
pub mod terminal;

pub use perennial_proof::oracle;
pub use perennial_proof::rig::{child, client, server, sse};
pub use spoke::spoke;

/// An MCP server for `bash -c`: its tool `where` says `$MODE`, which life of it answers, as whom it runs and where.
pub const MCP_SERVER: &str = include_str!("mcp_server.sh");

/// Says that a check cannot run here, and fails where everything must (`CI`, `PERENNIAL_REQUIRE_ALL`).
///
/// # Errors
/// Where everything must run.
pub fn not_run(what: &str) -> anyhow::Result<()> {
    println!("NOT RUN: {what}");
    let strict = ["CI", "PERENNIAL_REQUIRE_ALL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    anyhow::ensure!(!strict, "NOT RUN: {what}");
    Ok(())
}
