//! Child processes: they are started from one thread that lives as long as the executor, and they die with it.
//!
//! A child asks the kernel to be killed when the *thread* that forked it ends, so a thread pool that lets threads go would
//! kill children at random. What the kernel does not cover (grandchildren outside a sandbox) is found by a marker in the
//! environment: `/proc/<pid>/environ` shows what a process was started with. A process that clears its environment and leaves
//! its group escapes that; inside the sandbox nothing escapes, the process namespace ends with its first process.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getppid, setsid};
use pty_process::Pts;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::limits::{KILL_LOOK, KILL_TIME};

/// What a program that cannot say how it ended is said to have ended with.
pub(crate) const UNKNOWN_STATUS: i32 = -1;
/// Environment variable that names the journal on whose behalf a process runs.
pub(crate) const JOURNAL_MARKER: &str = "PERENNIAL_JOURNAL";
/// Environment variable that names the shell a process descends from.
pub(crate) const SHELL_MARKER: &str = "PERENNIAL_SHELL";

struct Order {
    start: Box<dyn FnOnce() -> io::Result<Child> + Send>,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// The thread that forks.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: std::sync::mpsc::Sender<Order>,
}

impl Spawner {
    /// Starts the thread; it ends, and its children with it, when the spawner is dropped.
    pub(crate) fn start(runtime: Handle) -> io::Result<Self> {
        let (orders, rx) = std::sync::mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("perennial-spawn".into())
            .spawn(move || {
                // Children are watched by the runtime's signal driver.
                let _entered = runtime.enter();
                while let Ok(order) = rx.recv() {
                    // A caller that went away drops the child, which kills it.
                    let _ = order.reply.send((order.start)());
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts a command as leader of its own session and group, bound to our life.
    pub(crate) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let mut bind = bound_to_parent();
        let lead = move || {
            setsid()?;
            bind()
        };
        #[expect(
            unsafe_code,
            reason = "runs between fork and exec: three system calls, no allocation, no lock"
        )]
        unsafe {
            command.pre_exec(lead);
        }
        command.kill_on_drop(true);
        self.start_child(move || command.spawn()).await
    }

    /// The same with a terminal of its own.
    pub(crate) async fn spawn_on(&self, command: pty_process::Command, terminal: Pts) -> io::Result<Child> {
        // The library makes it a leader first.
        #[expect(
            unsafe_code,
            reason = "runs between fork and exec: two system calls, no allocation, no lock"
        )]
        let command = unsafe { command.pre_exec(bound_to_parent()) };
        let command = command.kill_on_drop(true);
        self.start_child(move || command.spawn(terminal).map_err(io::Error::other))
            .await
    }

    async fn start_child(&self, start: impl FnOnce() -> io::Result<Child> + Send + 'static) -> io::Result<Child> {
        let start = Box::new(start);
        let (reply, child) = oneshot::channel();
        let gone = || io::Error::other("the spawning thread is gone");
        self.orders.send(Order { start, reply }).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

/// What a child does before it becomes what it is to be.
fn bound_to_parent() -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    let parent = Pid::from_raw(std::process::id().cast_signed());
    move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the request was in force.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    }
}

/// How a program ended, as shells tell it.
pub(crate) fn shell_status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(UNKNOWN_STATUS)
}

/// When a process started, in clock ticks since boot; `None` when there is none (a zombie counts as none).
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(start)
}

/// Processes of our user whose environment began with `name=value`, except our own.
pub(crate) fn marked(name: &str, value: &str) -> Vec<i32> {
    let marker = format!("{name}={value}");
    let own = std::process::id().cast_signed();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own && is_ours(*pid) && carries(*pid, marker.as_bytes()))
        .collect()
}

fn is_ours(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let us = nix::unistd::geteuid().as_raw();
    std::fs::metadata(Path::new("/proc").join(pid.to_string())).is_ok_and(|meta| meta.uid() == us)
}

fn carries(pid: i32, marker: &[u8]) -> bool {
    // A zombie has no environment left: it reads as empty.
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| env.split(|b| *b == 0).any(|entry| entry == marker))
}

/// Kills a process group and everything that carries the marker, and waits until nothing of it is alive. Blocks.
///
/// # Errors
/// When something is still alive after [`KILL_TIME`] (a process stuck in the kernel).
pub(crate) fn kill_tree(group: Option<i32>, name: &str, value: &str) -> Result<usize, StillAlive> {
    let deadline = Instant::now() + KILL_TIME;
    if let Some(group) = group {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let mut killed = 0;
    loop {
        let alive = marked(name, value);
        if alive.is_empty() {
            return Ok(killed);
        }
        if Instant::now() > deadline {
            return Err(StillAlive(alive));
        }
        for pid in alive {
            killed += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
        std::thread::sleep(KILL_LOOK);
    }
}

/// Kills the group that an earlier process journalled, if that very process still leads it. Blocks.
pub(crate) fn kill_leftover(group: i32, started: u64) -> Result<(), StillAlive> {
    let deadline = Instant::now() + KILL_TIME;
    // Another start time is another process under a reused number.
    while start_time(group) == Some(started) {
        if Instant::now() > deadline {
            return Err(StillAlive(vec![group]));
        }
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        std::thread::sleep(KILL_LOOK);
    }
    Ok(())
}

/// Processes that a kill did not end.
#[derive(Debug, thiserror::Error)]
#[error("processes {0:?} of an earlier command are still alive")]
pub struct StillAlive(pub Vec<i32>);
