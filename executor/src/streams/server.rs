//! A program that a server speaks to over its standard input and output: started in the folder of a session, as commands there are,
//! and gone with its stream.
//!
//! Nobody reads its command line but the program itself. What it is told beside that is in no command line and on no disk; what of
//! it looks like a secret is blotted out of what it prints.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indexmap::IndexMap;
use perennial_schema::Secret;
use perennial_schema::environment::names_secret;
use perennial_schema::mcp::is_variable;
use perennial_schema::stream::{ServerStart, Unopened};
use perennial_schema::text::sanitize;
use perennial_tunnel::Lane;
use perennial_tunnel::limits::{SERVER_ERRORS_BYTES, SERVER_PIECE_BYTES};
use perennial_tunnel::server::{Said, write};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{Refused, open, refuse};
use crate::blot::Blot;
use crate::limits::{SECRET_BYTES, SERVER_GRACE, SERVER_LAST, SERVER_STALL};
use crate::process::{SHELL_MARKER, UNKNOWN_STATUS, kill_tree, shell_status};
use crate::serve::House;

/// Where everything contained is, the variables come in through the pipe before the program's own input: a command line can be read
/// by others, and what contains must not be told what to load. Pairs end with a NUL byte, and all of them with an empty one.
const INSIDE: &str = r#"while IFS= read -r -d "" pair && [ -n "$pair" ]; do export "$pair"; done; exec -- "$@""#;

/// How often a text may be written within another one, and still be known.
const QUOTED: usize = 2;

/// A program that runs.
struct Server {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
    marker: String,
    blot: Blot,
}

/// Starts it; its end, and that of the stream, are waited for elsewhere, so that nothing cuts them short.
pub(super) async fn server(house: &Arc<House>, start: ServerStart, mut lane: Lane) {
    let Ok(place) = Arc::clone(&house.servers).try_acquire_owned() else {
        let message = "too many MCP servers run on this executor";
        return refuse(&mut lane, Refused::new(Unopened::Busy, message)).await;
    };
    let server = match Server::start(house, start).await {
        Ok(server) => server,
        Err(refused) => {
            // Before it is told: who asks again at once finds the place free.
            drop(place);
            return refuse(&mut lane, refused).await;
        }
    };
    let house = Arc::clone(house);
    let tasks = house.tasks.clone();
    tasks.spawn(async move {
        // Whoever asked may be gone: that is noticed below.
        let _ = open(&mut lane, None).await;
        server.run(&house, lane).await;
        drop(place);
    });
}

impl Server {
    async fn start(house: &House, start: ServerStart) -> Result<Self, Refused> {
        if let Some(bad) = start.env.keys().find(|name| !is_variable(name)) {
            return Err(Refused::new(
                Unopened::Unusable,
                format!("{bad:?} is not the name of a variable"),
            ));
        }
        let failed = |why: String| Refused::new(Unopened::Failed, why);
        let workspaces = house.workspaces.clone();
        let (session, workspace) = (start.session, start.workspace);
        let folder = tokio::task::spawn_blocking(move || workspaces.folder(session, &workspace)).await;
        let folder = folder.map_err(|error| failed(error.to_string()))?;
        let folder = folder.map_err(|why| Refused::new(Unopened::NotFound, why))?.path;
        let marker = format!("{:032x}", rand::random::<u128>());
        let mut env = house.environment(&folder);
        env.push((SHELL_MARKER, marker.clone().into()));
        let mut prologue = Vec::new();
        let mut command = match &house.sandbox {
            Some(sandbox) => {
                let bash = house.bash().ok_or_else(|| failed("bash is not installed".into()))?;
                let mut command = sandbox.command(&folder, &env);
                command.arg(bash).args(["--noprofile", "--norc", "-c", INSIDE, "bash"]);
                command.arg(&start.command);
                prologue = pairs(&start.env);
                // Also on bubblewrap itself: its inner half is found by the marker.
                command.envs(env);
                command
            }
            None => {
                let mut command = Command::new(&start.command);
                command.env_clear().envs(env);
                command.envs(start.env.iter().map(|(name, value)| (name, value.expose())));
                command.env(SHELL_MARKER, &marker);
                command
            }
        };
        command
            .args(&start.args)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = house.spawner.spawn(command).await;
        let mut child = child.map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => Unopened::NotFound,
                _ => Unopened::Failed,
            };
            Refused::new(
                reason,
                format!("the program {:?} cannot be started there: {error}", start.command),
            )
        })?;
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(output), Some(errors)) = ends else {
            return Err(failed("the program has no input and output".into()));
        };
        // A pipe has room for it; a program that is gone already is noticed by its end.
        let _ = input.write_all(&prologue).await;
        Ok(Self {
            child,
            input,
            output,
            errors,
            marker,
            blot: secrets(&start.env),
        })
    }

    /// Until it exits, nobody wants it any more, or everything ends; then nothing of it is alive.
    async fn run(self, house: &House, lane: Lane) {
        let Self {
            mut child,
            input,
            mut output,
            errors,
            marker,
            mut blot,
        } = self;
        let group = child.id().map(u32::cast_signed);
        let (heard, mut said) = split(lane);
        let (mut tail, whole) = (Vec::new(), AtomicBool::new(true));
        let ended = {
            let mut collecting = std::pin::pin!(collect(errors, &mut tail));
            let mut telling = std::pin::pin!(tell(&mut output, (&mut blot, &whole), &mut said));
            let over = async {
                tokio::select! {
                    ended = child.wait() => {
                        // What it said last; something it left running may hold its output.
                        let _ = timeout(SERVER_LAST, &mut telling).await;
                        Some(ended)
                    }
                    told = &mut telling => match told {
                        Ok(()) => timeout(SERVER_LAST, child.wait()).await.ok(),
                        Err(_) => None,
                    },
                    // Its input is over, which asks it to end.
                    () = listen(heard, input) => {
                        let rest = async { tokio::join!(child.wait(), &mut telling).0 };
                        timeout(SERVER_GRACE, rest).await.ok()
                    }
                    () = house.closing.cancelled() => None,
                    () = house.stop.cancelled() => None,
                }
            };
            let (mut over, mut collected) = (std::pin::pin!(over), false);
            let ended = loop {
                tokio::select! {
                    ended = &mut over => break ended,
                    () = &mut collecting, if !collected => collected = true,
                }
            };
            let killed = tokio::task::spawn_blocking(move || kill_tree(group, SHELL_MARKER, &marker)).await;
            if let Ok(Err(error)) = killed {
                tracing::error!(%error, "an MCP server cannot be ended");
            }
            if !collected {
                let _ = timeout(SERVER_LAST, &mut collecting).await;
            }
            ended
        };
        let _ = child.start_kill();
        let ended = match ended {
            Some(ended) => ended,
            None => child.wait().await,
        };
        // Half a piece has no end.
        if whole.load(Ordering::Relaxed) {
            let ended = Said::Ended {
                status: ended
                    .as_ref()
                    .map_or(UNKNOWN_STATUS, |ended: &ExitStatus| shell_status(*ended)),
                errors: last_words(&blot, &tail),
            };
            let goodbye = async {
                write(&mut said, &ended).await?;
                said.shutdown().await
            };
            // Whoever listened may be gone.
            let _ = timeout(SERVER_LAST, goodbye).await;
        }
    }
}

/// What a shell takes for variables.
fn pairs(env: &IndexMap<String, Secret>) -> Vec<u8> {
    let mut pairs = Vec::new();
    for (name, value) in env {
        // What comes after one would be read as the next pair.
        let value = value.expose().split('\0').next().unwrap_or_default();
        pairs.extend_from_slice(format!("{name}={value}\0").as_bytes());
    }
    pairs.push(0);
    pairs
}

/// Those of its variables that look like secrets, as they are, as they are written within JSON, and within JSON that is a text in it.
fn secrets(env: &IndexMap<String, Secret>) -> Blot {
    let mut values = Vec::new();
    let secret = env
        .iter()
        .filter(|(name, value)| names_secret(name) && value.expose().len() >= SECRET_BYTES);
    for (_, value) in secret {
        let mut value = value.expose().to_owned();
        for _ in 0..=QUOTED {
            let quoted = serde_json::Value::from(&*value).to_string();
            let within = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let within = within.unwrap_or_default().to_owned();
            values.push(value.into_bytes());
            value = within;
        }
    }
    values.sort_unstable();
    values.dedup();
    Blot::values(values)
}

/// The end of what it said of errors.
fn last_words(blot: &Blot, tail: &[u8]) -> String {
    let mut blot = blot.anew();
    let mut passed = blot.push(tail);
    passed.extend(blot.finish());
    let said = sanitize(&passed);
    perennial_schema::text::tail(said.trim(), SERVER_ERRORS_BYTES).to_owned()
}

/// Hands on what comes for it, until nobody speaks to it any more. A program that takes nothing for long is not waited for.
async fn listen(mut heard: ReadHalf<Lane>, mut input: ChildStdin) {
    let mut piece = vec![0; SERVER_PIECE_BYTES];
    while let Ok(read @ 1..) = heard.read(&mut piece).await {
        let written = async {
            input.write_all(&piece[..read]).await?;
            input.flush().await
        };
        match timeout(SERVER_STALL, written).await {
            Ok(Ok(())) => {}
            // It takes no more, and may have something to say, or end.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// Tells what it prints, until it prints no more. `whole` is false while a piece is half said.
async fn tell(
    output: &mut ChildStdout,
    (blot, whole): (&mut Blot, &AtomicBool),
    to: &mut WriteHalf<Lane>,
) -> io::Result<()> {
    let mut piece = vec![0; SERVER_PIECE_BYTES];
    loop {
        let read = output.read(&mut piece).await?;
        let passed = match read {
            0 => blot.finish(),
            _ => blot.push(&piece[..read]),
        };
        if !passed.is_empty() {
            whole.store(false, Ordering::Relaxed);
            write(to, &Said::Bytes(passed.into())).await?;
            whole.store(true, Ordering::Relaxed);
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// Keeps the end of what it says of errors. A program must not stand still because nobody reads them.
async fn collect(mut errors: ChildStderr, tail: &mut Vec<u8>) {
    let mut piece = vec![0; SERVER_ERRORS_BYTES];
    while let Ok(read @ 1..) = errors.read(&mut piece).await {
        tail.extend_from_slice(&piece[..read]);
        let more = tail.len().saturating_sub(SERVER_ERRORS_BYTES * 2);
        tail.drain(..more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> IndexMap<String, Secret> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
        pairs.collect()
    }

    #[test]
    fn variables_are_pairs_and_an_end() {
        let env = env(&[("A", "x y"), ("B", ""), ("C", "1\0D=2")]);
        assert_eq!(pairs(&env), b"A=x y\0B=\0C=1\0\0");
        assert_eq!(pairs(&IndexMap::new()), b"\0");
    }

    #[test]
    fn secrets_are_blotted_out_of_last_words_and_of_json() {
        let blot = secrets(&env(&[("API_TOKEN", "tttt\"tttt"), ("MODE", "mmmmmmmm")]));
        let said = last_words(
            &blot,
            br#"tttt"tttt mmmmmmmm {"a":"tttt\"tttt"} {"a":"{\"b\":\"tttt\\\"tttt\"}"}"#,
        );
        assert_eq!(
            said,
            r#"[secret] mmmmmmmm {"a":"[secret]"} {"a":"{\"b\":\"[secret]\"}"}"#
        );
        let long = "e".repeat(3 * SERVER_ERRORS_BYTES);
        assert_eq!(last_words(&Blot::default(), long.as_bytes()).len(), SERVER_ERRORS_BYTES);
    }
}
