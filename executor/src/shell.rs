//! One live bash: a task that owns the process and runs one command after the other.
//!
//! Framing. bash reads its script from a pipe. Each command arrives as one single-quoted word for `eval`, so unbalanced quotes
//! and open here-documents end with it; its end is told on a second pipe, which commands do not inherit, under a random number
//! that stands in the script behind the command. So output cannot imitate the end, background jobs that hold the output
//! open cannot delay it, and a shell that goes away (`exit`, `exec`, a kill) is noticed as the death of the process.
//! A command that takes the shell's own descriptors apart only ends its own call, by the timeout.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use indexmap::IndexMap;
use perennial_schema::tool::Whole;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blot::Blot;
use crate::capture::Capture;
use crate::journal::Process;
use crate::limits::{CONTROL_BYTES, DRAIN_BYTES, LEFTOVER_BYTES};
use crate::process::{SHELL_MARKER, Spawner, kill_tree, start_time};
use crate::progress::Progress;
use crate::sandbox::{Env, Sandbox};

/// The descriptors 98 and 99 are closed for every command; bash keeps its copies where children do not inherit them.
const PROLOGUE: &str = "exec 98>&1 99>&2 2>&1\n";

/// A command for a shell.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) command: String,
    pub(crate) timeout: Duration,
    pub(crate) cancel: CancellationToken,
    /// Takes what it prints.
    pub(crate) output: Capture,
    /// And hears of it as it comes.
    pub(crate) progress: Option<Progress>,
    pub(crate) done: oneshot::Sender<Finished>,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What background jobs of earlier commands printed before this one began.
    pub(crate) earlier: String,
    /// Standard output and error, as they came.
    pub(crate) output: String,
    /// There is more of it in a file.
    pub(crate) whole: Option<Whole>,
    pub(crate) end: End,
}

/// How a command ended. All but the first are the end of the shell too.
#[derive(Debug)]
pub(crate) enum End {
    Exited(i32),
    ShellExited(ExitStatus),
    TimedOut,
    Cancelled,
    /// The shell cannot be spoken to.
    Broken(String),
}

/// What a shell is started with.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) bash: PathBuf,
    pub(crate) sandbox: Option<&'a Sandbox>,
    pub(crate) folder: PathBuf,
    pub(crate) env: Env,
    /// Variables that the session's environment names.
    pub(crate) variables: IndexMap<String, String>,
}

/// A live shell.
#[derive(Debug)]
pub(crate) struct Shell {
    jobs: mpsc::Sender<Job>,
    quit: CancellationToken,
    gone: CancellationToken,
    pub(crate) process: Process,
    pub(crate) folder: PathBuf,
}

impl Shell {
    /// Starts a shell. It does nothing until it gets a job.
    pub(crate) async fn start(
        plan: Plan<'_>,
        spawner: &Spawner,
        tasks: &TaskTracker,
        quit: CancellationToken,
    ) -> std::io::Result<Self> {
        let marker = format!("{:032x}", rand::random::<u128>());
        let mut env = plan.env;
        env.push((SHELL_MARKER, marker.clone().into()));
        let mut command = match plan.sandbox {
            Some(sandbox) => {
                let mut command = sandbox.command(&plan.folder, &env);
                command.arg(&plan.bash);
                command
            }
            None => {
                let mut command = tokio::process::Command::new(&plan.bash);
                command.env_clear().current_dir(&plan.folder);
                command
            }
        };
        // Also on bubblewrap itself: its inner half is found by the marker, and its end is the end of everything inside.
        command.envs(env.iter().map(|(name, value)| (*name, value)));
        command.args(["--noprofile", "--norc"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawner.spawn(command).await?;
        let no_pipe = || std::io::Error::other("the shell has no pipes");
        let pgid = child.id().ok_or_else(no_pipe)?.cast_signed();
        let live = Live {
            input: child.stdin.take().ok_or_else(no_pipe)?,
            output: child.stdout.take().ok_or_else(no_pipe)?,
            control: child.stderr.take().ok_or_else(no_pipe)?,
            child,
            pgid,
            marker,
            said: Vec::new(),
            prologue: prologue(&plan.variables),
            blot: Blot::of(&plan.variables),
        };
        let (jobs, rx) = mpsc::channel(1);
        let gone = CancellationToken::new();
        tasks.spawn(run(live, rx, quit.clone(), gone.clone().drop_guard()));
        Ok(Self {
            jobs,
            quit,
            gone,
            process: Process {
                pgid,
                start_time: start_time(pgid).unwrap_or_default(),
            },
            folder: plan.folder,
        })
    }

    /// Hands a job over; gives it back when the shell is gone.
    pub(crate) async fn submit(&self, job: Job) -> Result<(), Job> {
        self.jobs.send(job).await.map_err(|refused| refused.0)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Kills the shell and all it started; returns when nothing of it is alive.
    pub(crate) async fn end(self) {
        self.quit.cancel();
        self.gone.cancelled().await;
    }
}

struct Live {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    control: ChildStderr,
    pgid: i32,
    marker: String,
    /// Unfinished text on the control pipe.
    said: Vec<u8>,
    /// What bash is told first.
    prologue: String,
    /// What is kept out of what it prints.
    blot: Blot,
}

async fn run(
    mut live: Live,
    mut jobs: mpsc::Receiver<Job>,
    quit: CancellationToken,
    _gone: tokio_util::sync::DropGuard,
) {
    let mut earlier = Capture::new(LEFTOVER_BYTES).without(live.blot.clone());
    let mut buffer = vec![0; 64 * 1024];
    let mut ready = live.input.write_all(live.prologue.as_bytes()).await.is_ok();
    loop {
        tokio::select! {
            biased;
            () = quit.cancelled() => break,
            _ = live.child.wait() => break,
            // Background jobs must be able to print between commands, or they would stand still on a full pipe.
            read = live.output.read(&mut buffer), if ready => match read {
                Ok(0) | Err(_) => ready = false,
                Ok(read) => earlier.push(&buffer[..read]),
            },
            job = jobs.recv() => {
                let Some(mut job) = job else { break };
                drain(live.output.as_fd(), &mut earlier);
                let mut output = std::mem::replace(&mut job.output, Capture::new(0)).without(live.blot.clone());
                let end = live.execute(&job, &quit, &mut output, &mut buffer).await;
                let alive = matches!(end, End::Exited(_));
                if !alive {
                    live.kill().await;
                }
                let text = output.take();
                let _ = job.done.send(Finished { earlier: earlier.take(), output: text, whole: output.whole(), end });
                if !alive {
                    return;
                }
            }
        }
    }
    live.kill().await;
}

impl Live {
    async fn execute(&mut self, job: &Job, quit: &CancellationToken, capture: &mut Capture, buffer: &mut [u8]) -> End {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let script = script(&job.command, &nonce);
        let end = self.follow(&script, &nonce, job, quit, capture, buffer).await;
        // What the command wrote before its end was told is in the pipe by now.
        drain(self.output.as_fd(), capture);
        if matches!(end, End::ShellExited(_)) {
            // Nothing of the shell's writes there but bubblewrap itself, when it cannot start.
            capture.push(&std::mem::take(&mut self.said));
            drain(self.control.as_fd(), capture);
        }
        end
    }

    async fn follow(
        &mut self,
        script: &[u8],
        nonce: &str,
        job: &Job,
        quit: &CancellationToken,
        capture: &mut Capture,
        buffer: &mut [u8],
    ) -> End {
        let mut unsent = script;
        let (mut open, mut listening) = (true, true);
        let timeout = tokio::time::sleep(job.timeout);
        tokio::pin!(timeout);
        let mut control = [0; 512];
        loop {
            tokio::select! {
                biased;
                () = job.cancel.cancelled() => return End::Cancelled,
                () = quit.cancelled() => return End::Cancelled,
                () = &mut timeout => return End::TimedOut,
                read = self.control.read(&mut control), if listening => match read {
                    // Closed: the shell is gone or became another program (`exec`); the process tells when that ends.
                    Ok(0) | Err(_) => listening = false,
                    Ok(read) => if let Some(code) = hear(&mut self.said, &control[..read], nonce) {
                        return End::Exited(code);
                    },
                },
                read = self.output.read(buffer), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(read) => {
                        capture.push(&buffer[..read]);
                        if let Some(progress) = &job.progress {
                            progress.push(&buffer[..read]);
                        }
                    }
                },
                status = self.child.wait() => return exited(status),
                written = self.input.write(unsent), if !unsent.is_empty() => match written {
                    Ok(written) => unsent = &unsent[written..],
                    Err(_) => unsent = &[],
                },
            }
        }
    }

    /// Ends the shell and everything it started; returns when it is reaped and nothing of it is alive.
    async fn kill(&mut self) {
        let (group, marker) = (self.child.id().map(|_| self.pgid), self.marker.clone());
        let killed = tokio::task::spawn_blocking(move || kill_tree(group, SHELL_MARKER, &marker)).await;
        if let Ok(Err(error)) = killed {
            tracing::error!(process.pgid = self.pgid, %error, "a shell cannot be ended");
        }
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }
}

/// Takes what is in a pipe now, at most about one pipe's worth: a background job may be printing without end.
fn drain(pipe: std::os::fd::BorrowedFd<'_>, capture: &mut Capture) {
    let mut buffer = [0; 16 * 1024];
    let mut room = DRAIN_BYTES;
    // The descriptor is asked itself: the runtime's idea of readiness may be older than the last write.
    while let Ok(read) = nix::unistd::read(pipe, &mut buffer) {
        if read == 0 || room == 0 {
            break;
        }
        capture.push(&buffer[..read]);
        room = room.saturating_sub(read);
    }
}

fn exited(status: std::io::Result<ExitStatus>) -> End {
    status.map_or_else(|error| End::Broken(error.to_string()), End::ShellExited)
}

/// The variables go in through the pipe: a command line can be read by others, and an environment is also the sandbox's own.
pub(crate) fn prologue(variables: &IndexMap<String, String>) -> String {
    let exports = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quoted(value)));
    exports.chain([PROLOGUE.to_owned()]).collect()
}

/// One word for bash.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A line that runs a command behind the prologue, in this shell.
pub(crate) fn eval(command: &str) -> String {
    format!("eval -- {} </dev/null >&98 2>&1 98>&- 99>&-\n", quoted(command))
}

/// The command as bash gets it.
fn script(command: &str, nonce: &str) -> Vec<u8> {
    let mut script = eval(command);
    // No braces or other reserved words on the second line: bash does not recognise them right after a syntax error.
    script.push_str(&format!("builtin printf '%s %s\\n' {nonce} \"$?\" >&99 2>/dev/null\n"));
    script.into_bytes()
}

/// Looks for the line that tells the end of the command. Other text on the control pipe is nothing.
fn hear(said: &mut Vec<u8>, bytes: &[u8], nonce: &str) -> Option<i32> {
    said.extend_from_slice(bytes);
    while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = said.drain(..=end).collect();
        let code = std::str::from_utf8(&line)
            .ok()
            .and_then(|line| line.trim_end().strip_prefix(nonce)?.trim().parse().ok());
        if code.is_some() {
            return code;
        }
    }
    let excess = said.len().saturating_sub(CONTROL_BYTES);
    said.drain(..excess);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_heard_in_any_pieces_and_only_under_its_number() {
        let mut said = Vec::new();
        assert_eq!(hear(&mut said, b"noise\nabc 1", "nonce"), None);
        assert_eq!(hear(&mut said, b"2\nnon", "nonce"), None);
        assert_eq!(hear(&mut said, b"ce 7\n", "nonce"), Some(7));
        assert_eq!(hear(&mut said, &[b'x'; 100_000], "nonce"), None);
        assert!(said.len() <= CONTROL_BYTES);
    }

    #[test]
    fn quotes_cannot_end_the_word() {
        let script = String::from_utf8(script("echo 'a'; '", "n")).unwrap();
        assert!(
            script.starts_with(r"eval -- 'echo '\''a'\''; '\''' </dev/null"),
            "{script}"
        );
    }
}
