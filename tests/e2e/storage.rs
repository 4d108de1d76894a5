//! Storage that fails: a second server, a read-only folder, a corrupt row, a full disk.

use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::oracle::{Counters, Evidence, Post, check};
use perennial_tests::server::{Server, Up};
use serde_json::json;
use sqlx::Connection;

const PATIENCE: Duration = Duration::from_secs(60);

async fn start(dir: &tempfile::TempDir) -> Result<Server> {
    Up::on(&dir.path().join("data")).start().await
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = start(&dir).await?;
    let second = Up::on(&dir.path().join("data"));
    let error = second.start().await.err().context("a second server started")?;
    let expected = format!("is held by process {}", first.pid);
    assert!(error.to_string().contains(&expected), "{error:#}");
    // The first is unharmed.
    assert_eq!(first.client.get("/readyz").await?.status, 200);
    first.kill().await
}

/// Refused at the start, with the path; fine again when it is writable.
#[tokio::test]
async fn a_read_only_data_directory() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mount = dir.path().join("data");
    std::fs::create_dir(&mount)?;
    let Some(tmpfs) = Tmpfs::mount(&mount, "16m") else {
        return perennial_tests::not_run("a read-only data directory: mounting a tmpfs needs privileges");
    };
    tmpfs.remount("ro")?;
    let error = Up::on(&mount)
        .start()
        .await
        .err()
        .context("started on a read-only directory")?
        .to_string();
    assert!(
        error.contains("cannot be written") && error.contains(&mount.display().to_string()),
        "{error}"
    );
    tmpfs.remount("rw")?;
    let server = Up::on(&mount).start().await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let session = server.client.session(&agent, &environment).await?;
    server.client.say(&session, "/say one").await?;
    server.client.until_idle(&session, 0, PATIENCE).await?;
    server.kill().await
}

#[tokio::test]
async fn a_corrupt_row_sets_one_session_aside_and_no_other() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = start(&dir).await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let broken = server.client.session(&agent, &environment).await?;
    let healthy = server.client.session(&agent, &environment).await?;
    server.client.say(&broken, "/say one").await?;
    server.client.until_idle(&broken, 0, PATIENCE).await?;
    server.kill().await?;
    damage(&dir).await?;
    let server = start(&dir).await?;
    server.client.say(&broken, "/say two").await?;
    server.client.say(&healthy, "/say fine").await?;
    let (events, _) = server.client.until_idle(&healthy, 0, PATIENCE).await?;
    assert!(events.iter().any(|event| event["type"] == "agent.message"));
    // The broken one is visible as such: idle with retries_exhausted, and an error that names the place.
    let started = std::time::Instant::now();
    loop {
        let row = server
            .client
            .get(&format!("/v1/sessions/{broken}?include=extensions"))
            .await?
            .ok()?;
        if row["perennial"]["quarantined"] == json!(true) {
            break;
        }
        anyhow::ensure!(started.elapsed() < PATIENCE, "never quarantined: {row}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.client.get("/readyz").await?.status, 200);
    server.kill().await
}

/// Makes the last stored commit unreadable, as a bad disk might.
async fn damage(dir: &tempfile::TempDir) -> Result<()> {
    let url = format!("sqlite://{}", dir.path().join("data/perennial.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await?;
    sqlx::query("DROP TRIGGER commits_never_change")
        .execute(&mut connection)
        .await?;
    let garbage =
        "UPDATE commits SET events = CAST('garbage' AS BLOB) WHERE position = (SELECT max(position) FROM commits)";
    let changed = sqlx::query(garbage).execute(&mut connection).await?.rows_affected();
    anyhow::ensure!(changed == 1, "nothing to damage");
    connection.close().await?;
    Ok(())
}

/// On a small tmpfs: when the disk is full, sends are refused with 503 and `retry-after`, reads work, nothing acknowledged is
/// lost, and work resumes when there is room again.
#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mount = dir.path().join("data");
    std::fs::create_dir(&mount)?;
    let Some(_guard) = Tmpfs::mount(&mount, "12m") else {
        return perennial_tests::not_run("a full disk: mounting a tmpfs needs privileges");
    };
    let server = Up::on(&mount).start().await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let session = server.client.session(&agent, &environment).await?;
    let mut acknowledged = vec![server.client.say(&session, "/say one").await?];
    server.client.until_idle(&session, 0, PATIENCE).await?;
    let ballast = mount.join("ballast");
    fill(&ballast)?;
    let refused = loop {
        let body = perennial_tests::client::message(&format!("/say {}", "x".repeat(100_000)));
        let answer = server
            .client
            .post(&format!("/v1/sessions/{session}/events"), &body)
            .await?;
        if answer.status != 200 {
            break answer;
        }
        acknowledged.push(perennial_tests::client::id(&answer.body["data"][0])?);
        anyhow::ensure!(acknowledged.len() < 500, "the disk never fills");
    };
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(server.client.get(&format!("/v1/sessions/{session}")).await?.status, 200);
    std::fs::remove_file(&ballast)?;
    let last = server.client.say(&session, "/say room again").await?;
    acknowledged.push(last);
    server.client.until_idle(&session, 0, Duration::from_secs(60)).await?;
    let log = server.client.log(&session).await?;
    let told = Post {
        key: "all".to_owned(),
        ids: acknowledged,
    };
    let evidence = Evidence {
        log,
        posts: vec![told],
        at_rest: true,
        ..Evidence::default()
    };
    assert_eq!(check(&evidence, &mut Counters::default()), []);
    server.kill().await
}

fn fill(path: &std::path::Path) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let block = vec![0u8; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    Ok(())
}

struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(at: &std::path::Path, size: &str) -> Option<Self> {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .stderr(std::process::Stdio::null())
            .status()
            .ok()?;
        status.success().then(|| Self(at.to_owned()))
    }
}

impl Tmpfs {
    fn remount(&self, how: &str) -> Result<()> {
        let status = std::process::Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0)
            .status()?;
        anyhow::ensure!(status.success(), "could not remount {how}");
        Ok(())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status()
            .ok();
    }
}
