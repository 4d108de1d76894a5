//! How a `claude` process is started: its files, its arguments, its environment.

use std::path::Path;

use secrecy::ExposeSecret;
use tokio::process::Command;
use uuid::Uuid;

use super::Settings;
use crate::harness::Access;
use crate::harness::process::{Home, Install, Process};

/// Longest time the harness may take to find our tools; unless told otherwise, it begins without them after 5 s.
const CONNECT_MILLIS: &str = "60000";
/// Longest time one MCP call may take; the turn loop has its own limits.
const CALL_MILLIS: &str = "86400000";
/// Results larger than this many tokens would be cut by the harness; ours are cut already.
const RESULT_TOKENS: &str = "1000000";

/// What a process is started with.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) session: Uuid,
    pub(super) transcript: &'a str,
    pub(super) effort: Option<&'a str>,
    pub(super) system: Option<&'a str>,
    pub(super) mcp_url: &'a str,
    pub(super) mcp_token: &'a str,
    pub(super) access: &'a Access,
}

/// Writes its files and starts it.
pub(super) fn spawn(settings: &Settings, install: &Install, start: &Start<'_>) -> std::io::Result<Process> {
    let home = Home::make(install, "claude-", settings.scratch.as_deref())?;
    write_files(&home, start)?;
    let mut command = install.command(&home);
    arguments(&mut command, home.seen(), start);
    environment(&mut command, install, &home, start.access);
    Process::spawn(command, home)
}

/// The session file, the way to our tools, the system prompt (a file: it may be longer than an argument can be).
fn write_files(home: &Home, start: &Start<'_>) -> std::io::Result<()> {
    let folder = home.path();
    let project = folder.join("projects").join(slug(&home.work()));
    std::fs::create_dir_all(&project)?;
    std::fs::write(project.join(format!("{}.jsonl", start.session)), start.transcript)?;
    let router = serde_json::json!({
        "type": "http",
        "url": start.mcp_url,
        "headers": {"Authorization": format!("Bearer {}", start.mcp_token)},
    });
    let servers = serde_json::json!({"mcpServers": {super::SERVER: router}});
    std::fs::write(folder.join("mcp.json"), servers.to_string())?;
    if let Some(system) = start.system {
        std::fs::write(folder.join("system.txt"), system)?;
    }
    Ok(())
}

/// The folder name the harness derives from its working directory.
fn slug(path: &Path) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    path.to_string_lossy().chars().map(keep).collect()
}

fn arguments(command: &mut Command, seen: &Path, start: &Start<'_>) {
    command.args(["-p", "--input-format", "stream-json", "--output-format", "stream-json"]);
    command.args(["--verbose", "--include-partial-messages", "--bare", "--tools", ""]);
    command.args(["--resume", &start.session.to_string(), "--model", &start.access.model]);
    command
        .arg("--mcp-config")
        .arg(seen.join("mcp.json"))
        .arg("--strict-mcp-config");
    command.arg("--allowedTools").arg(format!("mcp__{}", super::SERVER));
    if let Some(effort) = start.effort {
        command.args(["--effort", effort]);
    }
    if start.system.is_some() {
        command.arg("--system-prompt-file").arg(seen.join("system.txt"));
    }
}

fn environment(command: &mut Command, install: &Install, home: &Home, access: &Access) {
    command
        .env("CLAUDE_CONFIG_DIR", home.seen())
        .env("CLAUDE_CODE_TMPDIR", home.seen());
    command
        .env("ANTHROPIC_BASE_URL", &access.base_url)
        .env("ANTHROPIC_API_KEY", access.key.expose_secret());
    if let Some(certificates) = install.ca_certs() {
        command.env("NODE_EXTRA_CA_CERTS", certificates);
    }
    if !access.base_url.starts_with("https:") {
        // Reading the system's takes tens of milliseconds, and nobody is there to show one.
        command.env("CLAUDE_CODE_CERT_STORE", "bundled");
    }
    command.envs(FIXED);
}

/// Measured with 2.1.197 unless it says otherwise.
const FIXED: [(&str, &str); 17] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    // Goes on by itself when the transcript ends with the user's side …
    ("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1"),
    // … without a prompt of its own: one space is accepted and filtered out, an empty value is not.
    ("CLAUDE_CODE_RESUME_PROMPT", " "),
    // A turn without our tools would go on all the same, so it waits for them, also on a machine that is busy.
    ("MCP_CONNECT_TIMEOUT_MS", CONNECT_MILLIS),
    ("MCP_TIMEOUT", CONNECT_MILLIS),
    // What a prompt mentions (`@file`) is not looked up: off with `--bare` already.
    ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
    // A tool may be silent for long.
    ("CLAUDE_CODE_MCP_TOOL_IDLE_TIMEOUT", "0"),
    ("MCP_TOOL_TIMEOUT", CALL_MILLIS),
    ("MAX_MCP_OUTPUT_TOKENS", RESULT_TOKENS),
    // All tools are in the request, always.
    ("ENABLE_TOOL_SEARCH", "false"),
    ("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"),
    // The log is the conversation: nothing may be summarised or dropped behind its back.
    ("DISABLE_COMPACT", "1"),
    ("DISABLE_AUTO_COMPACT", "1"),
    // The turn loop retries, and logs that it does; a second try of another kind would not be streamed.
    ("CLAUDE_CODE_MAX_RETRIES", "0"),
    ("CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1"),
    // A refusal is the answer, not a reason to ask another model.
    ("CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK", "1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slug_is_the_one_the_harness_derives() {
        assert_eq!(slug(Path::new("/a/b_c.d e")), "-a-b-c-d-e");
        assert_eq!(slug(Path::new("/session/work")), "-session-work");
    }
}
