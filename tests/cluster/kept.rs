//! A server keeps worker processes: none while there is nothing to do, as many as it takes otherwise, and others for those that die.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_proof::rig::process::{Process, Program};
use perennial_tests::client::Client;
use perennial_tests::processes::{descendants, end_executor, name};
use serde_json::Value;

use crate::place::{Place, say};

const PATIENCE: Duration = Duration::from_secs(60);
/// Of each worker.
const SLOTS: usize = 2;

struct Server {
    program: Program,
    process: Process,
    door: Client,
}

impl Server {
    async fn start(place: &Place) -> Result<Self> {
        let (database, nats) = place.urls();
        let flags = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
        let shared = ["--database-url", database, "--database-schema", "kept"];
        let data_dir = place.dir.path().join("kept");
        let mut program = Program {
            verb: "migrate",
            log_file: place.dir.path().join("kept.log"),
            data_dir,
            env: Vec::new(),
            args: flags(&shared),
        };
        let migrated = program.start()?.ended(PATIENCE).await?;
        ensure!(migrated.success(), "{}", program.log());
        program.verb = "serve";
        program.args = flags(&shared);
        program.args.extend(flags(&[
            "--listen",
            "127.0.0.1:0",
            "--nats-url",
            nats,
            "--nats-prefix",
            "kept",
            "--max",
            "2",
            "--slots",
            "2",
        ]));
        let env = [
            ("PERENNIAL_POOL_IDLE_MS", "1000"),
            ("PERENNIAL_LEASE_TTL_MS", "1000"),
            ("PERENNIAL_RENEW_MS", "300"),
            ("PERENNIAL_SWEEP_MS", "200"),
            ("PERENNIAL_ALLOW_LOCAL", "true"),
        ];
        program.env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let (process, url) = program.start_listening().await?;
        let key = std::fs::read_to_string(program.data_dir.join("key"))?;
        let door = Client::new(&url, key.trim())?;
        Ok(Self { program, process, door })
    }

    /// The worker processes it has.
    fn workers(&self) -> Vec<u32> {
        let below = descendants(self.process.pid);
        below.into_iter().filter(|pid| is_worker(*pid)).collect()
    }

    async fn until(&self, what: &str, done: impl Fn(&[u32]) -> bool) -> Result<Vec<u32>> {
        let begun = Instant::now();
        loop {
            let workers = self.workers();
            if done(&workers) {
                return Ok(workers);
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "{what}: {workers:?}\n{}",
                self.program.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A turn, from the message to the first that is heard of it, and its session.
    async fn turn(&self, agent: &str, environment: &str, prompt: &str) -> Result<(Duration, String)> {
        let session = self.door.session(agent, environment).await?;
        let mut stream = self.door.stream(&session, "", Some(0)).await?;
        let begun = Instant::now();
        self.door.say(&session, prompt).await?;
        while stream.next().await?.context("the stream ended")?.event != "span.model_request_start" {}
        Ok((begun.elapsed(), session))
    }
}

fn is_worker(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"worker")
}

async fn answers(door: &Client, session: &str) -> Result<usize> {
    let log: Vec<Value> = door.until_idle(session, 0, PATIENCE).await?.0;
    let last = log.last().context("an empty log")?;
    ensure!(last["stop_reason"]["type"] == "end_turn", "{session} ended with {last}");
    Ok(log.iter().filter(|event| event["type"] == "agent.message").count())
}

#[tokio::test]
async fn workers_follow_the_work_from_zero_and_back() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let mut server = Server::start(&place).await?;
    let (agent, environment) = server.door.agent_and_environment("rehearsal-1").await?;
    ensure!(server.workers().is_empty(), "nobody wants anything");
    let (first, session) = server.turn(&agent, &environment, "/say hello").await?;
    ensure!(answers(&server.door, &session).await? > 0);
    server.until("back to zero", <[u32]>::is_empty).await?;
    let (again, session) = server.turn(&agent, &environment, "/tokens 20 5\n/say done").await?;
    let expected = answers(&server.door, &session).await?;
    say(format_args!(
        "from a message to the first model request, with no worker running: {first:?} and {again:?} (n = 1 each)"
    ));

    // More than one can take: a second comes, and when it is killed a third.
    let mut sessions = Vec::new();
    for _ in 0..2 * SLOTS {
        sessions.push(server.turn(&agent, &environment, "/tokens 500 5\n/say done").await?.1);
    }
    let both = server.until("two workers", |workers| workers.len() == 2).await?;
    let killed = both.first().context("two")?;
    kill(Pid::from_raw(i32::try_from(*killed)?), Signal::SIGKILL)?;
    let after = server
        .until("another worker", |workers| {
            workers.len() == 2 && !workers.contains(killed)
        })
        .await?;
    for session in &sessions {
        let said = answers(&server.door, session).await?;
        ensure!(said == expected, "{session} was answered {said} times, not {expected}");
    }
    ensure!(
        after.iter().any(|pid| both.contains(pid)),
        "the other one was left alone"
    );
    server.until("back to zero", <[u32]>::is_empty).await?;
    ensure!(listed(&server.door).await?.is_empty(), "who ended is not in the pool");

    // Nobody keeps them any more: they drain and end.
    let (_, waits) = server.turn(&agent, &environment, "/tokens 4000 5\n/say done").await?;
    let orphans = server.workers();
    ensure!(!orphans.is_empty());
    server.process.kill().await?;
    let begun = Instant::now();
    while orphans.iter().any(|pid| name(*pid) == "perennial") {
        ensure!(begun.elapsed() < PATIENCE, "{orphans:?} go on without their server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(
        server
            .program
            .log()
            .contains("the server that kept this worker is gone"),
        "{waits}"
    );
    end_executor(&server.program.data_dir)?;
    refused(place.dir.path()).await
}

async fn listed(door: &Client) -> Result<Vec<Value>> {
    let page = door.get("/v1/workers").await?.ok()?;
    page["data"].as_array().cloned().context("a page of workers")
}

/// A database that one process alone can open has one worker.
async fn refused(dir: &Path) -> Result<()> {
    let program = Program {
        verb: "up",
        data_dir: dir.join("alone"),
        log_file: dir.join("alone.log"),
        env: Vec::new(),
        args: ["--listen", "127.0.0.1:0", "--max", "2"].map(str::to_owned).to_vec(),
    };
    let ended = program.start()?.ended(PATIENCE).await?;
    let said = program.log();
    ensure!(
        ended.code() == Some(2) && said.contains("--database-url"),
        "{ended}: {said}"
    );
    Ok(())
}
