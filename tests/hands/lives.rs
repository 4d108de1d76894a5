//! Processes that die: the executor in the middle of a call, the server under its executors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use perennial_executor::tunnel::{Ended, Home, keep};
use perennial_executor::{Config, Executor, Sandbox};
use perennial_schema::frame::Card;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::rig::{PATIENCE, Stand, results};

/// F22: what was started and is lost is told as such, and is not run again.
#[tokio::test]
async fn an_executor_that_is_killed_in_a_call_leaves_a_doubt() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let session = stand.session_on(&device).await?;
    let input = json!({"command": "echo begun >> ledger; sleep 60; echo ended >> ledger"});
    stand.client().say(&session, &format!("/tool bash {input}")).await?;
    device.ledger_has("begun").await?;
    device.process()?.kill().await?;
    device.start()?;
    let (events, _) = stand.client().until_idle(&session, 0, PATIENCE).await?;
    let told = results(&events);
    assert!(
        told.len() == 1 && told[0].contains("outcome of this call is unknown"),
        "{told:?}"
    );
    assert_eq!(device.ledger(), ["begun"]);
    // And the next call finds the machine as it was left.
    let events = stand.turn(&session, r#"/tool bash {"command":"cat ledger"}"#).await?;
    let told = results(&events);
    assert!(told.len() == 1 && told[0].ends_with("\nbegun\n"), "{told:?}");
    Ok(())
}

/// A call goes on without a server, and its result waits for the next one.
#[tokio::test]
async fn a_call_outlives_the_server() -> Result<()> {
    let mut stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let session = stand.session_on(&device).await?;
    let input = json!({"command": "echo begun >> ledger; while ! [ -e go ]; do sleep 0.05; done; echo ended >> ledger; echo done"});
    stand.client().say(&session, &format!("/tool bash {input}")).await?;
    device.ledger_has("begun").await?;
    stand.kill().await?;
    std::fs::write(device.work.join("go"), "")?;
    device.ledger_has("ended").await?;
    stand.start_again().await?;
    let (events, _) = stand.client().until_idle(&session, 0, PATIENCE).await?;
    assert_eq!(results(&events), ["done\n"]);
    assert_eq!(device.ledger(), ["begun", "ended"]);
    Ok(())
}

/// A server that was killed has all its executors again within two seconds of its return. Five are processes, the others run in
/// this one: the same loop that dials, the same journal, and their own way to the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_executors_are_back_soon_after_the_server_is() -> Result<()> {
    let mut stand = Stand::start().await?;
    let (mut devices, mut crowd) = (Vec::new(), Crowd::default());
    for n in 0..5 {
        devices.push(stand.device(&format!("machine-{n}"), None).await?);
    }
    for n in 0..45 {
        crowd.join(&stand, n).await?;
    }
    let ids: Vec<String> = devices
        .iter()
        .map(|device| device.id.clone())
        .chain(crowd.ids.clone())
        .collect();
    answered(&stand, &ids).await?;
    let mut times = Vec::new();
    for _ in 0..2 {
        stand.kill().await?;
        // Long enough for their pauses to be as long as they get.
        tokio::time::sleep(Duration::from_secs(2)).await;
        stand.start_again().await?;
        let began = Instant::now();
        // Not what the registry says, which believes the dead server's word for a while: a call gets through.
        answered(&stand, &ids).await?;
        times.push(began.elapsed());
    }
    println!("{} executors were back, and had answered, after {times:?}", ids.len());
    // Of a machine that is busy with other things at some moment, the others tell.
    let best = times.iter().min().context("several were measured")?;
    assert!(*best < Duration::from_secs(2), "{times:?}");
    crowd.leave().await?;
    for device in &mut devices {
        // Told to stop, it ends well, and the server knows.
        let ended = device.process()?.stop(PATIENCE).await?;
        assert_eq!(ended.code(), Some(0), "{}", device.program.log());
        stand.until(&device.id, "offline").await.context("after its goodbye")?;
    }
    Ok(())
}

/// Each of them did a call.
async fn answered(stand: &Stand, ids: &[String]) -> Result<()> {
    let calls = ids.iter().map(|id| async move {
        let call = json!({"tool": "read", "input": {"file_path": "there"}});
        let said = stand
            .client()
            .post(&format!("/v1/executors/{id}/calls"), &call)
            .await?
            .ok()?;
        let text = said["content"][0]["text"].as_str().unwrap_or_default();
        anyhow::ensure!(text.contains("there"), "{said}");
        Ok(())
    });
    futures_util::future::try_join_all(calls).await.map(drop)
}

/// Executors in this process.
#[derive(Default)]
struct Crowd {
    ids: Vec<String>,
    stop: CancellationToken,
    kept: JoinSet<Ended>,
}

impl Crowd {
    async fn join(&mut self, stand: &Stand, n: usize) -> Result<()> {
        let made = stand.client().post("/v1/executors/codes", &json!({})).await?.ok()?;
        let secret = format!("{n:064x}");
        let body = json!({"code": made["secret"], "name": format!("crowd-{n}"), "secret": secret});
        let registered = stand.client().post("/v1/executors/register", &body).await?.ok()?;
        let (id, token) = (perennial_tests::client::id(&registered)?, &registered["token"]);
        let (work, home) = (
            stand.dir.path().join(format!("crowd-{n}")),
            stand.dir.path().join(format!("crowd-{n}-home")),
        );
        std::fs::create_dir_all(&work)?;
        std::fs::write(work.join("there"), "there\n")?;
        let config = Config {
            sandbox: Sandbox::Off,
            roots: vec![work.clone()],
            executor_id: Some(id.parse()?),
            ..Config::new(home)
        };
        let executor = Arc::new(Executor::open(config).await?);
        executor.describe(Card {
            cwd: Some(work.display().to_string()),
            ..Card::default()
        });
        let (home, stop) = (
            Home::new(&stand.url, token.as_str().context("a token")?)?,
            self.stop.clone(),
        );
        self.kept
            .spawn(async move { keep(&executor, &home, &stop, |_| {}).await });
        stand.online(&id).await?;
        self.ids.push(id);
        Ok(())
    }

    async fn leave(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.kept.join_next().await {
            anyhow::ensure!(ended? == Ended::Stopped, "an executor gave up before it was told to");
        }
        Ok(())
    }
}
