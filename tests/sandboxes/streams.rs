//! Files and terminals of a sandbox: a stream wakes it, and keeps it running as long as it is open.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::rig::{PATIENCE, Stand};

/// Several times as long as it may be idle.
const HELD: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_keeps_a_sandbox_running() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({"idle_timeout": 1})).await?;
    stand.bash(&made.session, "echo kept > file").await?;
    let list = stand.client().get("/v1/executors").await?.ok()?;
    let executor = list["data"][0]["id"].as_str().context("an executor")?.to_owned();
    stand.until(&made.session, "exited").await?;
    // A file wakes it.
    let path = format!("/v1/executors/{executor}/files?path=file");
    ensure!(stand.client().get(&path).await?.body == "kept\n", "{}", stand.up.log());
    stand.until(&made.session, "exited").await?;
    // So does a terminal, which holds it.
    let url = format!(
        "{}/v1/executors/{executor}/terminals/main",
        stand.url()?.replacen("http", "ws", 1)
    );
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("x-api-key", stand.client().key().parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    socket.send(Message::Binary("cat fi*; id -u\r".into())).await?;
    let mut shown = String::new();
    while !shown.contains("65532") {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await?
            .context("it hung up")??;
        if let Message::Binary(bytes) = message {
            shown.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    ensure!(shown.contains("kept"), "{shown}");
    let began = Instant::now();
    while began.elapsed() < HELD {
        let container = stand.container(&made.session)?;
        ensure!(container["State"]["Status"] == "running", "{}", container["State"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(socket);
    stand.until(&made.session, "exited").await?;
    Ok(())
}
