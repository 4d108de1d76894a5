//! `env key` and `webhook` verbs: what programs elsewhere are given, and told.

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;

#[tokio::test]
async fn keys_of_workers_are_made_listed_and_revoked() -> Result<()> {
    let bench = Bench::open().await?;
    let made = bench
        .run(&["--json", "env", "create", "ours", "--type", "self-hosted"])
        .await?
        .with(0)?;
    let made = made.json()?.pop().context("an environment")?;
    let environment = made["id"].as_str().context("an id")?;
    let secret = bench.run(&["env", "key", "create", environment, "ci"]).await?.with(0)?;
    ensure!(
        secret.out.starts_with("pe_") && secret.out.lines().count() == 1,
        "{}",
        secret.out
    );
    let listed = bench
        .run(&["--json", "env", "key", "list", environment])
        .await?
        .with(0)?;
    let key = listed.json()?.pop().context("a key")?;
    ensure!(key["name"] == "ci" && key["secret"].is_null(), "{key}");
    let id = key["id"].as_str().context("an id")?;
    let table = bench.run(&["env", "key", "list", environment]).await?.with(0)?;
    ensure!(table.out.contains(id), "{}", table.out);
    bench.run(&["env", "key", "revoke", environment, id]).await?.with(0)?;
    bench.run(&["env", "key", "revoke", environment, id]).await?.with(1)?;
    let cloud = bench.run(&["--json", "env", "create", "theirs"]).await?.with(0)?;
    let cloud = cloud.json()?.pop().context("an environment")?;
    let cloud = cloud["id"].as_str().context("an id")?;
    let refused = bench.run(&["env", "key", "create", cloud]).await?.with(1)?;
    ensure!(refused.err.contains("self_hosted"), "{}", refused.err);
    Ok(())
}

#[tokio::test]
async fn receivers_are_made_listed_turned_off_and_deleted() -> Result<()> {
    let bench = Bench::open().await?;
    let url = "https://receiver.invalid/hook";
    let secret = bench
        .run(&["webhook", "create", url, "--event", "session.status_idled"])
        .await?
        .with(0)?;
    ensure!(secret.out.starts_with("whsec_"), "{}", secret.out);
    let listed = bench.run(&["--json", "webhook", "list"]).await?.with(0)?;
    let webhook = listed.json()?.pop().context("a webhook")?;
    ensure!(
        webhook["status"] == "enabled" && webhook["secret"].is_null(),
        "{webhook}"
    );
    let id = webhook["id"].as_str().context("an id")?;
    bench.run(&["run", "/say hi"]).await?.with(0)?;
    let delivery = loop {
        let waits = bench
            .run(&["--json", "webhook", "deliveries", id, "--status", "pending"])
            .await?
            .with(0)?;
        let mut found = waits.json()?.into_iter();
        if let Some(delivery) = found.find(|delivery| delivery["outcome"].is_string()) {
            break delivery;
        }
    };
    ensure!(delivery["event_type"] == "session.status_idled", "{delivery}");
    let table = bench.run(&["webhook", "deliveries", id]).await?.with(0)?;
    ensure!(table.out.contains("not sent"), "{}", table.out);
    let which = delivery["id"].as_str().context("an id")?;
    bench.run(&["webhook", "replay", id, which]).await?.with(0)?;
    bench.run(&["webhook", "disable", id]).await?.with(0)?;
    let table = bench.run(&["webhook", "list"]).await?.with(0)?;
    ensure!(
        table.out.contains("turned off") && table.out.contains(url),
        "{}",
        table.out
    );
    bench.run(&["webhook", "enable", id]).await?.with(0)?;
    bench.run(&["webhook", "delete", id]).await?.with(0)?;
    bench.run(&["webhook", "delete", id]).await?.with(1)?;
    let refused = bench
        .run(&["webhook", "create", "http://169.254.169.254/"])
        .await?
        .with(1)?;
    ensure!(refused.err.contains("url"), "{}", refused.err);
    Ok(())
}
