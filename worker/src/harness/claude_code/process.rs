//! One `claude` process: started from an empty environment in an empty home, killed with its whole group, gone with us.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};
use perennial_schema::text::sanitize;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::events::{Event, LineError, Lines};
use super::install::Install;
use super::{Settings, sandbox};

/// What is kept of stderr, for the message of a process that died.
const STDERR_BYTES: usize = 4 * 1024;
/// How long a killed group may hold on to its pipes before its home is removed all the same.
const DYING: Duration = Duration::from_secs(5);
/// Longest time one MCP call may take; the turn loop has its own limits.
const CALL_MILLIS: &str = "86400000";
/// Results larger than this many tokens would be cut by the harness; ours are cut already.
const RESULT_TOKENS: &str = "1000000";

/// What a process is started with.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) session: Uuid,
    pub(super) transcript: &'a str,
    pub(super) model: &'a str,
    pub(super) effort: Option<&'a str>,
    pub(super) system: Option<&'a str>,
    pub(super) mcp_url: &'a str,
    pub(super) mcp_token: &'a str,
    pub(super) api_key: &'a str,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    body: Option<Body>,
    lines: Lines<BufReader<ChildStdout>>,
    /// Held open: at its end the harness would finish the turn and leave.
    _stdin: ChildStdin,
    stderr: Arc<Mutex<Vec<u8>>>,
}

/// What must outlive the last breath: a home that is removed under a living process comes back.
#[derive(Debug)]
struct Body {
    child: Child,
    /// Ends when nobody holds stderr any more, so when the whole group is gone.
    breath: TaskTracker,
    _folder: TempDir,
}

impl Body {
    fn kill(&self) {
        // None once it was waited for: then the number may be somebody else's.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    async fn gone(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await;
        let _ = timeout(DYING, self.breath.wait()).await;
        status
    }
}

impl Process {
    /// Writes its files and starts it.
    pub(super) fn start(settings: &Settings, install: &Install, start: &Start<'_>) -> std::io::Result<Self> {
        let folder = home(settings)?;
        let seen = match &install.bubblewrap {
            Some(_) => PathBuf::from(sandbox::INSIDE),
            None => folder.path().canonicalize()?,
        };
        write_files(folder.path(), &seen, start)?;
        let mut command = command(settings, install, folder.path(), &seen);
        arguments(&mut command, &seen, start);
        environment(&mut command, settings, install, &seen, start);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        die_with_us(&mut command);
        let mut child = command.spawn()?;
        let missing = || std::io::Error::other("a pipe of the process is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (breath, kept) = (TaskTracker::new(), Arc::<Mutex<Vec<u8>>>::default());
        breath.spawn(keep_tail(stderr, kept.clone()));
        breath.close();
        Ok(Self {
            body: Some(Body {
                child,
                breath,
                _folder: folder,
            }),
            lines: Lines::new(BufReader::with_capacity(64 * 1024, stdout)),
            _stdin: stdin,
            stderr: kept,
        })
    }

    /// Its next event; none when it closed its output.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, LineError> {
        self.lines.next().await
    }

    /// Kills it and everything it started; does not wait.
    pub(super) fn kill(&self) {
        if let Some(body) = &self.body {
            body.kill();
        }
    }

    /// Kills it and waits until it is gone.
    pub(super) async fn end(mut self) {
        self.kill();
        if let Some(body) = &mut self.body {
            let _ = body.gone().await;
            self.body = None;
        }
    }

    /// After its output ended: what became of it, and its last words.
    pub(super) async fn epitaph(&mut self) -> String {
        self.kill();
        let status = match &mut self.body {
            Some(body) => body
                .gone()
                .await
                .map_or_else(|error| error.to_string(), |status| status.to_string()),
            None => String::new(),
        };
        let said = sanitize(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner));
        format!("{status}; {}", said.trim())
    }

    /// Its process id.
    pub(super) fn id(&self) -> Option<u32> {
        self.body.as_ref()?.child.id()
    }
}

impl Drop for Process {
    /// The step was given up in the middle: killed at once, buried in the background.
    fn drop(&mut self) {
        self.kill();
        if let (Some(mut body), Ok(runtime)) = (self.body.take(), Handle::try_current()) {
            runtime.spawn(async move { body.gone().await });
        }
    }
}

/// An empty folder, for its owner's eyes only.
fn home(settings: &Settings) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("claude-");
    match &settings.scratch {
        Some(scratch) => builder.tempdir_in(scratch),
        None => builder.tempdir(),
    }
}

async fn keep_tail(mut from: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..excess);
    }
}

fn command(settings: &Settings, install: &Install, folder: &Path, seen: &Path) -> Command {
    match &install.bubblewrap {
        Some(bubblewrap) => sandbox::wrapped(bubblewrap, &install.binary, folder, settings.ca_certs.as_deref()),
        None => {
            let mut command = Command::new(&install.binary);
            command
                .env_clear()
                .env("HOME", seen)
                .env("PATH", sandbox::PATH)
                .current_dir(seen.join(sandbox::WORK));
            command
        }
    }
}

/// The session file, the way to our tools, the system prompt (a file: it may be longer than an argument can be).
fn write_files(folder: &Path, seen: &Path, start: &Start<'_>) -> std::io::Result<()> {
    std::fs::create_dir(folder.join(sandbox::WORK))?;
    let project = folder.join("projects").join(slug(&seen.join(sandbox::WORK)));
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
    command.args(["--resume", &start.session.to_string(), "--model", start.model]);
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

fn environment(command: &mut Command, settings: &Settings, install: &Install, seen: &Path, start: &Start<'_>) {
    command.env("CLAUDE_CONFIG_DIR", seen).env("TERM", "dumb");
    command.env("TMPDIR", seen).env("CLAUDE_CODE_TMPDIR", seen);
    command
        .env("ANTHROPIC_BASE_URL", &settings.base_url)
        .env("ANTHROPIC_API_KEY", start.api_key);
    if let Some(certificates) = &settings.ca_certs {
        let inside = match install.bubblewrap {
            Some(_) => Path::new(sandbox::certificates_inside()),
            None => certificates,
        };
        command.env("NODE_EXTRA_CA_CERTS", inside);
    }
    command.envs(FIXED);
}

/// Measured with 2.1.197 unless it says otherwise.
const FIXED: [(&str, &str); 14] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    // Goes on by itself when the transcript ends with the user's side …
    ("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1"),
    // … without a prompt of its own: one space is accepted and filtered out, an empty value is not.
    ("CLAUDE_CODE_RESUME_PROMPT", " "),
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

/// Asks the kernel to kill the child when the thread that forked it ends. Should a runtime thread ever end early, the turn
/// starts the harness again from the log: an early kill costs time, a survivor would cost money.
fn die_with_us(command: &mut Command) {
    let parent = Pid::from_raw(std::process::id().cast_signed());
    let bind = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // We may have died before the request was in force.
        if getppid() == parent {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    #[expect(
        unsafe_code,
        reason = "runs between fork and exec: two system calls, no allocation, no lock"
    )]
    unsafe {
        command.pre_exec(bind);
    }
}

/// The key, or what to do about it.
pub(super) fn api_key(settings: &Settings) -> Result<&str, perennial_engine::ports::ModelError> {
    let key = settings.api_key.as_ref().map(ExposeSecret::expose_secret);
    key.filter(|key| !key.is_empty())
        .ok_or_else(|| super::fault::setup("the claude-code harness needs a key: set ANTHROPIC_API_KEY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slug_is_the_one_the_harness_derives() {
        assert_eq!(slug(Path::new("/a/b_c.d e")), "-a-b-c-d-e");
        assert_eq!(slug(&Path::new(sandbox::INSIDE).join(sandbox::WORK)), "-session-work");
    }
}
