//! git, run by a fixed script of bash in a workspace folder, contained like every command there. What was asked for comes in as
//! arguments of that script, never as a part of it. Of the machine's and the user's own configuration nothing is read.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use perennial_schema::text;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::capture::Capture;
use crate::limits::GIT_OUTPUT_BYTES;
use crate::process::{SHELL_MARKER, kill_tree};
use crate::sandbox::Env;
use crate::serve::House;
use crate::workspace::Folder;

/// Where git runs, and for whom.
pub(crate) struct Git<'a> {
    pub(crate) house: &'a House,
    pub(crate) folder: &'a Folder,
    pub(crate) cancel: &'a CancellationToken,
}

/// What it does.
pub(crate) struct Run<'a> {
    /// Gets git's path and `argv`.
    pub(crate) script: &'static str,
    pub(crate) argv: Vec<OsString>,
    /// Configuration of this run alone.
    pub(crate) settings: &'a [(String, String)],
    /// On its standard input.
    pub(crate) input: &'a str,
    pub(crate) time: Duration,
    /// Takes what it says of errors.
    pub(crate) said: Capture,
    /// Takes what it prints.
    pub(crate) output: &'a mut Capture,
}

impl Git<'_> {
    /// Runs it to its end. An error is what it said.
    pub(crate) async fn run(&self, run: Run<'_>) -> Result<(), String> {
        let marker = format!("{:032x}", rand::random::<u128>());
        let command = self.command(&run, &marker)?;
        let spawned = self.house.spawner.spawn(command).await;
        let mut child = spawned.map_err(|error| format!("git cannot be started: {error}"))?;
        let group = child.id().map(u32::cast_signed);
        let mut said = run.said;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut pipe) = input {
                // It may not read it at all.
                let _ = pipe.write_all(run.input.as_bytes()).await;
            }
        };
        let talk = async {
            tokio::join!(write, read(output, run.output), read(errors, &mut said));
            child.wait().await
        };
        let ended = tokio::select! {
            status = talk => Some(status),
            () = self.cancel.cancelled() => None,
            () = self.house.stop.cancelled() => None,
            () = tokio::time::sleep(run.time) => None,
        };
        match ended {
            Some(status) => told(status, &mut said),
            None => {
                let killed = tokio::task::spawn_blocking(move || kill_tree(group, SHELL_MARKER, &marker)).await;
                let _ = child.wait().await;
                killed
                    .map_err(|error| error.to_string())?
                    .map_err(|error| error.to_string())?;
                Err(match self.cancel.is_cancelled() {
                    true => "it was cancelled".into(),
                    false => format!("it took longer than {} s", run.time.as_secs()),
                })
            }
        }
    }

    fn command(&self, run: &Run<'_>, marker: &str) -> Result<Command, String> {
        let bash = self.house.bash().ok_or("bash is not installed where it would run")?;
        let git = self
            .house
            .program("git")
            .ok_or("git is not installed where it would run")?;
        let mut env = self.house.environment(&self.folder.path);
        env.push((SHELL_MARKER, marker.into()));
        let fixed = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", "http:https"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
        ];
        env.extend(fixed.map(|(name, value)| (name, OsString::from(value))));
        let mut command = match &self.house.sandbox {
            Some(sandbox) => {
                let mut command = sandbox.command(&self.folder.path, &env);
                command.arg(&bash);
                command
            }
            None => {
                let mut command = Command::new(&bash);
                command.env_clear().current_dir(&self.folder.path);
                command
            }
        };
        command.envs(Env::into_iter(env));
        command
            .args(["--noprofile", "--norc", "-c", run.script, "bash"])
            .arg(git);
        for (key, value) in run.settings {
            command.args(["-c", &format!("{key}={value}")]);
        }
        command.arg("--").args(&run.argv);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, into: &mut Capture) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        into.push(&buffer[..read]);
    }
}

fn told(status: std::io::Result<ExitStatus>, said: &mut Capture) -> Result<(), String> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(match said.take().trim() {
            "" => format!("git ended with {status}"),
            said => text::head_and_tail(said, GIT_OUTPUT_BYTES),
        }),
        Err(error) => Err(error.to_string()),
    }
}
