//! What a running call prints is heard while it runs, and is in no log.

use anyhow::{Context, Result, ensure};
use perennial_proof::rig::process::Program;
use perennial_tests::client::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster_rig::Cluster;
use crate::rig::{Device, PATIENCE, Stand, results, session_on, wait_until};

/// Prints a line, waits for a file, and prints another one.
const GATED: &str = "echo before; while ! [ -e go ]; do sleep 0.02; done; echo after";

/// Follows a session until a call's first line is heard, lets the call go on, and follows it to its end.
async fn heard(client: &Client, session: &str, device: &Device) -> Result<()> {
    let mut stream = client
        .stream(session, "?after=0&event_deltas[]=agent.tool_result", None)
        .await?;
    let script = json!({"command": GATED}).to_string();
    client.say(session, &format!("/tool bash {script}")).await?;
    let (mut said, mut id, mut used) = (String::new(), None, None);
    let following = async {
        while let Some(frame) = stream.next().await? {
            match frame.event.as_str() {
                "agent.tool_use" => used = frame.data["id"].as_str().map(str::to_owned),
                "event_start" => {
                    let event = &frame.data["event"];
                    ensure!(event["type"] == "agent.tool_result", "{event}");
                    ensure!(event["tool_use_id"].as_str() == used.as_deref(), "{event}");
                    id = event["id"].as_str().map(str::to_owned);
                }
                "event_delta" => {
                    ensure!(frame.data["event_id"].as_str() == id.as_deref(), "{}", frame.data);
                    said.push_str(frame.data["delta"]["content"]["text"].as_str().context("text")?);
                    if said == "before\n" {
                        std::fs::write(device.work.join("go"), "")?;
                    }
                }
                "session.status_idle" => return Ok(()),
                _ => {}
            }
        }
        anyhow::bail!("the stream ended")
    };
    timeout(PATIENCE, following).await.context("nothing was heard")??;
    // What it prints last may be told by its result alone.
    ensure!(said == "before\n" || said == "before\nafter\n", "{said:?}");
    // The log has the result, and nothing of what was said before.
    let log = client.log(session).await?;
    let payloads: Vec<Value> = log.iter().map(|event| event["payload"].clone()).collect();
    ensure!(results(&payloads) == ["before\nafter\n"], "{payloads:?}");
    ensure!(log.iter().all(|event| event["type"] != "event_delta"), "{log:?}");
    ensure!(
        !log.iter().any(|event| event["id"].as_str() == id.as_deref()),
        "{log:?}"
    );
    std::fs::remove_file(device.work.join("go"))?;
    Ok(())
}

#[tokio::test]
async fn what_a_call_prints_is_heard_while_it_runs() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let session = stand.session_on(&device).await?;
    heard(stand.client(), &session, &device).await?;
    // More than anybody needs to hear at once: bounded on its way, whole in the end.
    let script = json!({"command": "seq 1 2000000 | head -c 10000000; echo; echo last"}).to_string();
    let events = stand.turn(&session, &format!("/tool bash {script}")).await?;
    let shown = results(&events).concat();
    ensure!(shown.contains("last"), "{}", shown.len());
    Ok(())
}

/// A worker has the call, its machine dialled a node, and who listens is on another one.
#[tokio::test]
async fn it_is_heard_on_every_process() -> Result<()> {
    let Some(cluster) = Cluster::start(2, 1, true).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    for node in [1, 0] {
        let session = session_on(cluster.client(1), &device).await?;
        let heard = heard(cluster.client(node), &session, &device).await;
        heard.with_context(|| cluster.logs())?;
    }
    Ok(())
}

#[tokio::test]
async fn run_shows_it() -> Result<()> {
    let stand = Stand::start().await?;
    let work = stand.dir.path().join("work");
    std::fs::create_dir_all(&work)?;
    let script = json!({"command": GATED}).to_string();
    let program = Program {
        verb: "run",
        data_dir: stand.dir.path().join("data"),
        log_file: stand.dir.path().join("run.log"),
        env: vec![("PERENNIAL_KEY".into(), stand.client().key().to_owned())],
        args: [
            "--url",
            &stand.url,
            "--dir",
            &work.display().to_string(),
            &format!("/tool bash {script}"),
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    let shown = stand.dir.path().join("shown");
    let mut command = program.command()?;
    command.stdout(std::fs::File::create(&shown)?);
    let mut child = command.spawn()?;
    let text = || std::fs::read_to_string(&shown).unwrap_or_default();
    wait_until(|| Ok(text().contains("│ before")))
        .await
        .with_context(text)?;
    std::fs::write(work.join("go"), "")?;
    let ended = timeout(PATIENCE, child.wait()).await??;
    ensure!(ended.success(), "{}", text());
    ensure!(
        text().matches("│ before").count() == 1 && text().matches("│ after").count() == 1,
        "{}",
        text()
    );
    Ok(())
}
