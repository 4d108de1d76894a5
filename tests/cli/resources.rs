//! `agent`, `env` and `session` verbs.

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;

#[tokio::test]
async fn agents_are_made_changed_and_put_away() -> Result<()> {
    let bench = Bench::open().await?;
    let made = bench
        .run(&["--json", "agent", "create", "helper", "--system", "Be brief."])
        .await?
        .with(0)?;
    let agent = made.json()?.pop().context("an agent")?;
    let id = agent["id"].as_str().context("an id")?;
    ensure!(
        agent["model"]["id"] == "rehearsal-1",
        "the server's default model: {agent}"
    );
    bench
        .run(&["agent", "update", id, "--system", "Be long.", "--if-version", "1"])
        .await?
        .with(0)?;
    bench
        .run(&["agent", "update", id, "--name", "late", "--if-version", "1"])
        .await?
        .with(1)?;
    let first = bench.run(&["agent", "show", id, "--at", "1"]).await?.with(0)?;
    ensure!(first.out.contains("Be brief."), "{}", first.out);
    bench
        .run(&["run", "--agent", id, "--model", "rehearsal-1", "/say hi"])
        .await?
        .with(0)?;
    bench.run(&["agent", "archive", id]).await?.with(0)?;
    let listed = bench.run(&["agent", "list"]).await?.with(0)?;
    ensure!(!listed.out.contains(id), "{}", listed.out);
    let all = bench.run(&["agent", "list", "--all"]).await?.with(0)?;
    ensure!(all.out.contains(id), "{}", all.out);
    Ok(())
}

#[tokio::test]
async fn runs_share_one_agent_and_one_environment() -> Result<()> {
    let bench = Bench::open().await?;
    for _ in 0..3 {
        bench.run(&["run", "/say hi"]).await?.with(0)?;
    }
    bench
        .run(&["run", "--model", "rehearsal-1", "/say hi"])
        .await?
        .with(0)?;
    let agents = bench.run(&["--json", "agent", "list"]).await?.with(0)?.json()?;
    ensure!(
        agents.len() == 1 && agents.iter().all(|agent| agent["version"] == 1),
        "{agents:?}"
    );
    let environments = bench.run(&["--json", "env", "list"]).await?.with(0)?.json()?;
    ensure!(environments.len() == 1, "{environments:?}");
    Ok(())
}

#[tokio::test]
async fn environments_are_made_and_put_away() -> Result<()> {
    let bench = Bench::open().await?;
    let made = bench
        .run(&["--json", "env", "create", "box", "--type", "cloud"])
        .await?
        .with(0)?;
    let environment = made.json()?.pop().context("an environment")?;
    let id = environment["id"].as_str().context("an id")?;
    bench.run(&["env", "create", "box"]).await?.with(1)?;
    bench.run(&["run", "--env", id, "/say hi"]).await?.with(0)?;
    bench.run(&["env", "archive", id]).await?.with(0)?;
    bench.run(&["run", "--env", id, "/say hi"]).await?.with(1)?;
    Ok(())
}

#[tokio::test]
async fn sessions_are_shown_forked_and_deleted() -> Result<()> {
    let bench = Bench::open().await?;
    let ran = bench.run(&["run", "--title", "a title", "/say first"]).await?.with(0)?;
    let session = ran.last_line();
    let shown = bench.run(&["session", "show", session]).await?.with(0)?;
    ensure!(
        shown.out.contains("a title") && shown.out.contains("idle"),
        "{}",
        shown.out
    );
    let fork = bench.run(&["session", "fork", session]).await?.with(0)?;
    let copy = fork.out.trim();
    bench.run(&["send", copy, "/say second", "--follow"]).await?.with(0)?;
    let events = bench.run(&["session", "events", copy]).await?.with(0)?;
    ensure!(
        events.out.contains("first") && events.out.contains("second"),
        "{}",
        events.out
    );
    let messages = [
        "--json",
        "session",
        "events",
        copy,
        "--type",
        "agent.message",
        "--desc",
        "-n",
        "1",
    ];
    let newest = bench.run(&messages).await?.with(0)?.json()?;
    ensure!(
        newest.len() == 1 && newest.iter().all(|event| event["type"] == "agent.message"),
        "{newest:?}"
    );
    bench.run(&["session", "retry", session]).await?.with(1)?;
    bench.run(&["session", "delete", session]).await?.with(0)?;
    let gone = bench.run(&["session", "show", session]).await?.with(1)?;
    ensure!(gone.err.contains("not_found_error"), "{}", gone.err);
    let left = bench.run(&["session", "list"]).await?.with(0)?;
    ensure!(left.out.contains(copy) && !left.out.contains(session), "{}", left.out);
    Ok(())
}

#[tokio::test]
async fn doctor_finds_the_server() -> Result<()> {
    let bench = Bench::open().await?;
    let report = bench
        .run(&["--json", "doctor"])
        .await?
        .with(0)?
        .json()?
        .pop()
        .context("a report")?;
    let checks = report["checks"].as_array().context("checks")?;
    let server = checks
        .iter()
        .find(|check| check["check"] == "server")
        .context("a server check")?;
    ensure!(report["healthy"] == true && server["verdict"] == "ok", "{report}");
    Ok(())
}
