//! A data directory that turns read-only under a live server. A file system cannot be remounted under open files, so this is
//! the other way: every folder of it loses its write permission, and the server is no super-user.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::client::Client;
use perennial_tests::server::Up;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

const PATIENCE: Duration = Duration::from_secs(60);
/// `nobody`, everywhere we run.
const NOBODY: u32 = 65534;

/// Sets the mode of every folder below and including this one.
fn folders(path: &Path, mode: u32) -> Result<()> {
    // Writable first, so that the way down is open.
    std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            folders(&entry.path(), mode)?;
        }
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Into::into)
}

async fn session(client: &Client) -> Result<String> {
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    client.session(&agent, &environment).await
}

async fn result_of(client: &Client, session: &str, script: &str) -> Result<Value> {
    let head = client.log(session).await?.len() as u64;
    client.say(session, script).await?;
    let (events, _) = client.until_idle(session, head, PATIENCE).await?;
    let mut results = events.into_iter().filter(|event| event["type"] == "agent.tool_result");
    results.next().context("no result")
}

#[tokio::test]
async fn a_data_directory_that_turns_read_only_under_a_live_server() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let up = Up::on(&data);
    let mut command = up.command()?;
    if nix::unistd::geteuid().is_root() {
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        chown(&data, Some(NOBODY), Some(NOBODY))?;
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return perennial_tests::not_run(&format!("a server as nobody: {error}")),
    };
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let url = lines.next_line().await?.with_context(|| up.log())?;
    let key = std::fs::read_to_string(data.join("key"))?;
    let client = Client::new(url.trim(), key.trim())?;
    let old = session(&client).await?;
    let write = |file: &str| format!("/tool write {{\"file_path\":\"{file}\",\"content\":\"x\"}}");
    assert_eq!(result_of(&client, &old, &write("a")).await?["is_error"], false);

    folders(&data, 0o500)?;
    // The log is open: what is said is stored and answered. A folder that cannot be made is the tool's error.
    let new = session(&client).await?;
    let refused = result_of(&client, &new, &write("a")).await?;
    assert_eq!(refused["is_error"], true, "{refused}");
    assert!(
        refused.to_string().to_lowercase().contains("permission denied"),
        "{refused}"
    );
    assert_eq!(client.get("/healthz").await?.status, 200);
    assert!(child.try_wait()?.is_none(), "{}", up.log());

    folders(&data, 0o700)?;
    assert_eq!(result_of(&client, &new, &write("a")).await?["is_error"], false);
    assert_eq!(result_of(&client, &old, &write("b")).await?["is_error"], false);
    for session in [old, new] {
        let log = client.log(&session).await?;
        assert!(log.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "{log:?}");
    }
    child.kill().await.map_err(Into::into)
}
