//! F38: a server that runs out of file descriptors, because somebody opens connections without end. It sheds what it cannot
//! serve, loses nothing of what it acknowledged, and is well again when they are gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{id, message};
use perennial_tests::oracle::{Counters, Evidence, Post, check};
use perennial_tests::server::Up;
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
/// Descriptors the server may open beyond those it has at rest: enough for a turn with a tool, far too few for the crowd.
const SPARE: usize = 24;
/// Fewer than wait to be accepted at a listener that does not, or connecting takes seconds.
const CROWD: usize = 120;
const REQUESTS: usize = 12;

#[tokio::test]
async fn a_server_without_descriptors_sheds_load_and_recovers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let up = Up::on(&dir.path().join("data"));
    let server = up.start().await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let session = server.client.session(&agent, &environment).await?;
    server.client.say(&session, &tool("before")).await?;
    let (_, seen) = server.client.until_idle(&session, 0, PATIENCE).await?;
    allow(server.pid, open(server.pid)? + SPARE)?;

    let address = server.url.strip_prefix("http://").context("an address")?;
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        crowd.push(TcpStream::connect(address).await?);
    }
    let path = format!("/v1/sessions/{session}/events");
    let (mut posts, mut refused, mut unheard) = (Vec::new(), 0, 0);
    for request in 0..REQUESTS {
        let key = format!("crowded-{request}");
        let said = message(&tool(&key));
        match timeout(Duration::from_millis(300), server.client.post_once(&path, &key, &said)).await {
            Ok(Ok(answer)) if answer.status == 200 => {
                let ids = vec![id(&answer.body["data"][0])?];
                posts.push(Post { key, ids });
            }
            Ok(Ok(answer)) => {
                assert_eq!(answer.status, 503, "{answer:?}");
                refused += 1;
            }
            Ok(Err(_)) | Err(_) => unheard += 1,
        }
    }
    ensure!(
        up.log().contains("cannot accept connections"),
        "descriptors never ran out: the rig is vacuous"
    );
    drop(crowd);

    let last = server.client.say(&session, &tool("after")).await?;
    posts.push(Post {
        key: "after".to_owned(),
        ids: vec![last],
    });
    let (events, _) = server.client.until_idle(&session, seen, PATIENCE).await?;
    let ran = |event: &serde_json::Value| event["type"] == "agent.tool_result" && event["is_error"] != true;
    ensure!(events.iter().any(ran), "no tool runs any more: {events:#?}");
    println!(
        "\nring 2: out of descriptors: {CROWD} connections, {REQUESTS} requests, {} acknowledged, {refused} refused, {unheard} unheard",
        posts.len() - 1
    );
    let workspace = dir.path().join("data/workspaces").join(&session);
    let ledger = std::fs::read_to_string(workspace.join("ledger"))?;
    let evidence = Evidence {
        log: server.client.log(&session).await?,
        posts,
        effects: ledger.lines().map(str::to_owned).collect(),
        at_rest: true,
        ..Evidence::default()
    };
    assert_eq!(check(&evidence, &mut Counters::default()), []);
    server.kill().await
}

fn tool(word: &str) -> String {
    format!("/tool bash {{\"command\":\"echo {word} >> ledger\"}}")
}

/// Descriptors a process has open.
fn open(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Lets a process open so many, from now on.
fn allow(pid: u32, descriptors: usize) -> Result<()> {
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={descriptors}:")])
        .status()
        .context("prlimit")?;
    ensure!(status.success(), "the limit cannot be set");
    Ok(())
}
