//! Folders of a worker's host, looked at from a server that has none.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cluster_rig::Cluster;
use crate::rig::{PATIENCE, results, turn};

/// What a session changed there is told by every server, also when it is more than an answer over the bus may be.
#[tokio::test]
async fn a_diff_of_a_folder_elsewhere_is_told_by_a_server() -> Result<()> {
    let Some(mut cluster) = Cluster::start(2, 1, true).await? else {
        return Ok(());
    };
    let client = cluster.client(1).clone();
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    let session = client.session(&agent, &environment).await?;
    let path = format!("/v1/sessions/{session}/diff");
    let asked = async |query: &str| client.get(&format!("{path}{query}")).await;
    let before = asked("").await?;
    assert_eq!(
        (before.status, &before.body["error"]["details"]["error_code"]),
        (409, &json!("no_workspace"))
    );
    let command = "git init -q r && cd r && echo one > kept && git add . && \
                   git -c user.name=a -c user.email=a@b commit -qm first && echo two >> kept && seq 200000 > large && git status --short";
    let events = turn(
        &client,
        &session,
        &format!("/tool bash {}", json!({"command": command})),
    )
    .await?;
    assert_eq!(results(&events), [" M kept\n?? large\n"], "{}", cluster.logs());
    let (began, diff) = (Instant::now(), asked("?path=r").await?.ok()?);
    println!("a diff of {} bytes took {:?}", diff.to_string().len(), began.elapsed());
    let names = |diff: &Value| -> Vec<String> {
        let files = diff["files"].as_array().into_iter().flatten();
        files
            .map(|file| file["path"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(names(&diff), ["kept", "large"]);
    let patch = diff["patch"].as_str().context("a patch")?;
    let numbers = patch
        .lines()
        .filter(|line| line.starts_with('+') && !line.starts_with("+++"));
    let expected = std::iter::once("+two".to_owned()).chain((1..=200_000).map(|n| format!("+{n}")));
    assert!(
        numbers.map(str::to_owned).eq(expected),
        "{} bytes of patch",
        patch.len()
    );
    assert_eq!(names(&asked("?path=r&untracked=false").await?.ok()?), ["kept"]);
    // What is no repository is said as it is, and what is not reached in a bounded time.
    let none = asked("").await?;
    assert_eq!(
        (none.status, &none.body["error"]["details"]["error_code"]),
        (409, &json!("no_diff")),
        "{:?}",
        none.body
    );
    cluster.workers[0].process.stop(PATIENCE).await?;
    let began = Instant::now();
    let away = asked("?path=r").await?;
    assert_eq!(
        (away.status, &away.body["error"]["details"]["error_code"]),
        (409, &json!("executor_offline"))
    );
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    Ok(())
}
