//! `perennial prove` as a user runs it: a sound install passes, and each protection that is taken away is missed, by name.

use std::process::Stdio;

use anyhow::{Context, Result};
use perennial_tests::child::bind_to_us;
use perennial_tests::server::binary;
use serde_json::Value;
use tokio::process::Command;

use crate::place::{Place, say, seed};

/// Runs it; answers its exit code and its verdict.
async fn prove(args: &[&str]) -> Result<(Option<i32>, Value)> {
    let mut command = Command::new(binary()?);
    command.args(["prove", "--json"]).args(args).stderr(Stdio::null());
    bind_to_us(&mut command);
    let output = command.output().await?;
    let verdict = serde_json::from_slice(&output.stdout).context("no verdict")?;
    Ok((output.status.code(), verdict))
}

/// A sabotage is found by chance, if with good odds: what one run misses, another finds.
async fn is_caught(name: &str) -> Result<()> {
    for (run, seed) in (1..=8).zip(seed(name)..) {
        let (code, verdict) = prove(&["--minutes", "0.2", "--seed", &seed.to_string(), "--sabotage", name]).await?;
        if verdict["sabotage"]["caught"] == true {
            assert_eq!(
                (code, &verdict["sabotage"]["name"]),
                (Some(1), &name.into()),
                "{verdict:#}"
            );
            let found = verdict["violations"].as_array().map_or(0, Vec::len);
            say(format_args!(
                "sabotage: {name} was caught in run {run}, {found} violations"
            ));
            return Ok(());
        }
    }
    anyhow::bail!("{name} was never caught")
}

#[tokio::test]
async fn no_fence_is_caught() -> Result<()> {
    is_caught("no-fence").await
}

#[tokio::test]
async fn no_journal_is_caught() -> Result<()> {
    is_caught("no-journal").await
}

#[tokio::test]
async fn no_conditional_release_is_caught() -> Result<()> {
    is_caught("no-conditional-release").await
}

#[tokio::test]
async fn no_dedupe_is_caught() -> Result<()> {
    is_caught("no-dedupe").await
}

#[tokio::test]
async fn a_sound_install_is_proven() -> Result<()> {
    let (code, verdict) = prove(&["--minutes", "0.2", "--seed", &seed("embedded").to_string()]).await?;
    say(format_args!("prove, embedded: {}", verdict["faults"]));
    assert_eq!(
        (code, &verdict["violations"]),
        (Some(0), &Value::Array(Vec::new())),
        "{verdict:#}"
    );
    assert!(verdict["counters"]["calls"].as_u64() > Some(0), "{verdict:#}");
    Ok(())
}

#[tokio::test]
async fn a_sound_cluster_is_proven_on_servers_of_others() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let (database, bus) = place.urls();
    let seed = seed("cluster").to_string();
    let on = [
        "--minutes",
        "0.2",
        "--seed",
        &seed,
        "--database-url",
        database,
        "--nats-url",
        bus,
    ];
    let (code, verdict) = prove(&on).await?;
    say(format_args!("prove, cluster: {}", verdict["faults"]));
    assert_eq!(
        (code, &verdict["violations"]),
        (Some(0), &Value::Array(Vec::new())),
        "{verdict:#}"
    );
    assert!(verdict["counters"]["calls"].as_u64() > Some(0), "{verdict:#}");
    Ok(())
}
