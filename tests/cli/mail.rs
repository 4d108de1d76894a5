//! `mail` verbs, from a message to the answer of a session that was opened for it.

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;

#[tokio::test]
async fn an_agent_answers_its_mail() -> Result<()> {
    let bench = Bench::open().await?;
    let environment = bench.run(&["--json", "env", "create", "mailroom"]).await?.with(0)?;
    let environment = environment.json()?.pop().context("an environment")?;
    let environment = environment["id"].as_str().context("an id")?;
    bench
        .run(&[
            "agent",
            "create",
            "reviewer",
            "--mail",
            environment,
            "--mail-sessions",
            "single",
        ])
        .await?
        .with(0)?;
    let sent = bench
        .run(&[
            "--json",
            "mail",
            "send",
            "agent/reviewer",
            "/say it is fine",
            "--subject",
            "please look",
        ])
        .await?
        .with(0)?;
    let sent = sent.json()?.pop().context("a message")?;
    let id = sent["id"].as_str().context("an id")?;
    let session = loop {
        let read = bench
            .run(&["--json", "mail", "read", "agent/reviewer", id])
            .await?
            .with(0)?;
        let mail = read.json()?.pop().context("a message")?;
        if mail["state"] == "delivered" {
            break mail["session_id"].as_str().context("a session")?.to_owned();
        }
        ensure!(mail["state"] == "queued", "{mail}");
    };
    bench.run(&["attach", &session]).await?.with(0)?;
    let events = bench.run(&["session", "events", &session]).await?.with(0)?;
    ensure!(events.out.contains("it is fine"), "{}", events.out);
    let listed = bench.run(&["mail", "list"]).await?.with(0)?;
    ensure!(listed.out.contains("agent/reviewer"), "{}", listed.out);
    let listed = bench
        .run(&["mail", "list", "agent/reviewer", "--state", "delivered"])
        .await?
        .with(0)?;
    ensure!(listed.out.contains("please look"), "{}", listed.out);
    let late = bench.run(&["mail", "cancel", "agent/reviewer", id]).await?.with(1)?;
    ensure!(late.err.contains("on its way"), "{}", late.err);
    let nobody = bench.run(&["mail", "send", "agent/nobody", "x"]).await?.with(1)?;
    ensure!(nobody.err.contains("agent/nobody"), "{}", nobody.err);
    bench.run(&["mail", "send", "nowhere", "x"]).await?.with(2)?;
    Ok(())
}

#[tokio::test]
async fn programs_receive_from_a_queue() -> Result<()> {
    let bench = Bench::open().await?;
    bench.run(&["mail", "receive", "work"]).await?.with(1)?;
    for text in ["one", "two"] {
        bench.run(&["mail", "send", "queue/work", text]).await?.with(0)?;
    }
    let received = bench
        .run(&["--json", "mail", "receive", "work"])
        .await?
        .with(0)?
        .json()?;
    let receipt = received[0]["receipt"].as_str().context("a receipt")?;
    bench.run(&["mail", "nack", "work", receipt]).await?.with(0)?;
    bench.run(&["mail", "ack", "work", receipt]).await?.with(1)?;
    let again = bench
        .run(&["--json", "mail", "receive", "queue/work", "--ack"])
        .await?
        .with(0)?
        .json()?;
    ensure!(again[0]["id"] == received[0]["id"], "{again:?}");
    let last = bench
        .run(&["--json", "mail", "receive", "work", "-n", "9"])
        .await?
        .with(0)?
        .json()?;
    ensure!(last.len() == 1 && last[0]["content"][0]["text"] == "two", "{last:?}");
    let receipt = last[0]["receipt"].as_str().context("a receipt")?;
    bench.run(&["mail", "ack", "work", receipt]).await?.with(0)?;
    let listed = bench
        .run(&["--json", "mail", "list", "queue/work"])
        .await?
        .with(0)?
        .json()?;
    ensure!(listed.iter().all(|mail| mail["state"] == "acknowledged"), "{listed:?}");
    Ok(())
}
