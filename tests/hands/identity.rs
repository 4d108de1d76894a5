//! F24 and S16: one executor is one connection; a token that was taken back opens nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use perennial_proof::rig::process::Program;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Stand};

fn copied(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let state = ".local/state/perennial";
    std::fs::create_dir_all(to.join(state))?;
    std::fs::copy(
        from.join(state).join("registry.json"),
        to.join(state).join("registry.json"),
    )?;
    Ok(())
}

/// How many executors a machine believes to be.
fn entries(home: &std::path::Path) -> Result<usize> {
    let text = std::fs::read_to_string(home.join(".local/state/perennial/registry.json"))?;
    let registry: serde_json::Value = serde_json::from_str(&text)?;
    Ok(registry["connections"].as_array().context("connections")?.len())
}

#[tokio::test]
async fn of_two_with_one_identity_the_newest_counts() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let first = stand.online(&device.id).await?;
    // Somebody took the registry file along.
    let thief = stand.dir.path().join("thief");
    copied(&device.home, &thief)?;
    let program = Program {
        data_dir: thief.clone(),
        log_file: stand.dir.path().join("thief.log"),
        ..device.program.clone()
    };
    let mut second = program.start()?;
    let ended = device.process()?.ended(PATIENCE).await?;
    assert_eq!(ended.code(), Some(1));
    assert!(
        device.program.log().contains("another process connected"),
        "{}",
        device.program.log()
    );
    assert!(!second.is_gone(), "{}", program.log());
    assert_eq!(stand.online(&device.id).await?["id"], first["id"]);
    let call = json!({"tool": "bash", "input": {"command": "echo one >> ledger"}});
    let path = format!("/v1/executors/{}/calls", device.id);
    stand.client().post(&path, &call).await?.ok()?;
    assert_eq!(device.ledger(), ["one"]);
    second.kill().await
}

#[tokio::test]
async fn a_removed_executor_is_cut_within_five_seconds() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let began = Instant::now();
    let path = format!("/v1/executors/{}", device.id);
    stand
        .client()
        .send(stand.client().request("DELETE", &path))
        .await?
        .ok()?;
    let ended = device.process()?.ended(PATIENCE).await?;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(ended.code(), Some(1));
    assert!(
        device.program.log().contains("was removed from"),
        "{}",
        device.program.log()
    );
    // Its entry is gone from the machine too: there is nothing left to connect as.
    assert_eq!(entries(&device.home)?, 0);
    device.start()?;
    assert_eq!(device.process()?.ended(PATIENCE).await?.code(), Some(2));
    assert!(
        device.program.log().contains("is not registered yet"),
        "{}",
        device.program.log()
    );
    assert_eq!(stand.client().get(&path).await?.status, 404);
    Ok(())
}

/// Removed while it was away, a machine hears of it when it dials; what stands before a server and refuses is not believed.
#[tokio::test]
async fn only_the_server_makes_a_machine_forget() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    device.process()?.stop(PATIENCE).await?;
    // Somebody else at that address, who knows no executors and lets nobody in.
    let registry = device.home.join(".local/state/perennial/registry.json");
    let text = std::fs::read_to_string(&registry)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    std::fs::write(
        &registry,
        text.replace(&stand.url, &format!("http://{}", listener.local_addr()?)),
    )?;
    device.start()?;
    let (mut stranger, _) = timeout(PATIENCE, listener.accept()).await??;
    let mut heard = [0; 4096];
    let _request = stranger.read(&mut heard).await?;
    stranger
        .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\nwho are u")
        .await?;
    assert_eq!(device.process()?.ended(PATIENCE).await?.code(), Some(1));
    assert_eq!(entries(&device.home)?, 1, "{}", device.program.log());
    // The server itself.
    std::fs::write(&registry, &text)?;
    let path = format!("/v1/executors/{}", device.id);
    stand
        .client()
        .send(stand.client().request("DELETE", &path))
        .await?
        .ok()?;
    device.start()?;
    assert_eq!(device.process()?.ended(PATIENCE).await?.code(), Some(1));
    assert!(
        device.program.log().contains("was removed from"),
        "{}",
        device.program.log()
    );
    assert_eq!(entries(&device.home)?, 0);
    Ok(())
}

/// A journal is one process's: the second `connect` of a folder says so.
#[tokio::test]
async fn a_folder_is_connected_once() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let mut second = device.program.start()?;
    assert_eq!(second.ended(PATIENCE).await?.code(), Some(1));
    let log = device.program.log();
    assert!(log.contains("another process uses this journal"), "{log}");
    stand.online(&device.id).await.context("the first goes on")?;
    Ok(())
}
