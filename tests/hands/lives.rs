//! Processes that die: the executor in the middle of a call, the server under its executors.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

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

/// A server that was killed has all its executors again within two seconds of its return.
#[tokio::test]
async fn executors_are_back_soon_after_the_server_is() -> Result<()> {
    let mut stand = Stand::start().await?;
    let mut devices = Vec::new();
    for n in 0..5 {
        devices.push(stand.device(&format!("machine-{n}"), None).await?);
    }
    for _ in 0..2 {
        stand.kill().await?;
        // Long enough for their pauses to be as long as they get.
        tokio::time::sleep(Duration::from_secs(2)).await;
        stand.start_again().await?;
        let began = Instant::now();
        for device in &devices {
            // Not what the registry says, which believes the dead server's word for a while: a call gets through.
            let call = json!({"tool": "bash", "input": {"command": "pwd"}});
            let path = format!("/v1/executors/{}/calls", device.id);
            let said = stand.client().post(&path, &call).await?.ok()?;
            assert_eq!(said["content"][0]["text"], format!("{}\n", device.work.display()));
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        println!(
            "{} executors were back, and had answered, after {took:?}",
            devices.len()
        );
    }
    for device in &mut devices {
        // Told to stop, it ends well, and the server knows.
        let ended = device.process()?.stop(PATIENCE).await?;
        assert_eq!(ended.code(), Some(0), "{}", device.program.log());
        stand.until(&device.id, "offline").await.context("after its goodbye")?;
    }
    Ok(())
}
