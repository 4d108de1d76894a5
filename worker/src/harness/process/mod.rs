//! What any harness process needs: an empty home, a wall around it, an own process group, and an end.
//!
//! ```text
//! Kind ── probe ──▶ Install ── command(Home) ──▶ Command ── Process::spawn ──▶ lines in, lines out ──▶ end
//! ```
//!
//! A process starts from an empty environment in an empty folder, is killed with its whole group, and never outlives us: not
//! a dropped future, not a crash of this process. Its folder goes after its last breath.

mod home;
mod install;
mod lines;
mod memory;
pub(super) mod sandbox;

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};
use perennial_schema::text::sanitize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub(super) use self::home::Home;
pub(super) use self::install::{Failed, Install, Kind, Settings, Version, told};
pub(super) use self::lines::{LineError, Lines};
pub(super) use self::memory::resident_bytes;

/// What is kept of stderr, for the message of a process that died.
const STDERR_BYTES: usize = 4 * 1024;
/// How long a killed group may hold on to its pipes before its home is removed all the same.
const DYING: Duration = Duration::from_secs(5);
/// How long a process may take to read a line that is written to it.
const WRITING: Duration = Duration::from_secs(30);

/// A running process that speaks in lines.
#[derive(Debug)]
pub(super) struct Process {
    body: Option<Body>,
    lines: Lines<BufReader<ChildStdout>>,
    /// Held open: harnesses take its end for the end of their work.
    stdin: ChildStdin,
    stderr: Arc<Mutex<Vec<u8>>>,
}

/// What must outlive the last breath: a home that is removed under a living process comes back.
#[derive(Debug)]
struct Body {
    child: Child,
    /// Ends when nobody holds stderr any more, so when the whole group is gone.
    breath: TaskTracker,
    _home: Home,
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
    /// Starts a command, as [`Install::command`] made it, in its home.
    pub(super) fn spawn(mut command: Command, home: Home) -> std::io::Result<Self> {
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
                _home: home,
            }),
            lines: Lines::new(BufReader::with_capacity(64 * 1024, stdout)),
            stdin,
            stderr: kept,
        })
    }

    /// Its next line; none when it closed its output. A future that is dropped half way loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        self.lines.next().await
    }

    /// Writes one line to it. If this future is dropped half way, the process is of no use any more.
    pub(super) async fn say(&mut self, line: &str) -> std::io::Result<()> {
        debug_assert!(!line.contains('\n'), "one line");
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        timeout(WRITING, self.stdin.write_all(&bytes)).await??;
        self.stdin.flush().await
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

    /// Its process id; none once it was waited for.
    pub(super) fn id(&self) -> Option<u32> {
        self.body.as_ref()?.child.id()
    }

    /// Memory it and everything it started have in use.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.id().map_or(0, resident_bytes)
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

async fn keep_tail(mut from: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..excess);
    }
}

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
