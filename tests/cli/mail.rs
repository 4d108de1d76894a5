//! `mail` verbs, from a message to the answer of a session that was opened for it.

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncBufReadExt as _;

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

/// Two agents: one writes to the other while it sleeps, and is woken by the answer.
#[tokio::test]
async fn agents_write_to_each_other() -> Result<()> {
    let bench = Bench::open().await?;
    let environment = bench
        .run(&["--json", "env", "create", "mailroom"])
        .await?
        .with(0)?
        .json()?;
    let environment = environment[0]["id"].as_str().context("an environment")?.to_owned();
    let definition = bench.folder().join("correspondent.json");
    std::fs::write(
        &definition,
        r#"{"tools": [{"type": "mail_toolset"}], "description": "answers letters"}"#,
    )?;
    let definition = definition.to_str().context("a path")?;
    let mut writer = String::new();
    for name in ["reviewer", "writer"] {
        let args = [
            "--json",
            "agent",
            "create",
            name,
            "--file",
            definition,
            "--model",
            "rehearsal-1",
            "--mail",
            &environment,
        ];
        let made = bench.run(&args).await?.with(0)?.json()?;
        writer = made[0]["id"].as_str().context("an agent")?.to_owned();
    }
    let ran = bench
        .run(&["run", "--agent", &writer, "--env", &environment, "/tool list_agents {}"])
        .await?
        .with(0)?;
    ensure!(
        ran.out
            .contains("agent/reviewer: answers letters (idle; tools run in: "),
        "{}",
        ran.out
    );
    let session = ran.last_line().to_owned();
    let answer = serde_json::json!({"to": format!("session/{session}"), "content": "/say thank you"});
    let letter = serde_json::json!({"to": "agent/reviewer", "subject": "hello", "content": format!("/tool send_message {answer}")});
    let sent = bench
        .run(&["send", &session, "--follow", &format!("/tool send_message {letter}")])
        .await?
        .with(0)?;
    ensure!(sent.out.contains("Sent to agent/reviewer"), "{}", sent.out);
    // The answer is an input of its own; nothing polls for it.
    let mut log = String::new();
    for _ in 0..100 {
        bench.run(&["attach", &session]).await?.with(0)?;
        log = bench.run(&["session", "events", &session]).await?.with(0)?.out;
        if log.contains("thank you") {
            break;
        }
    }
    ensure!(log.contains("thank you"), "{log}");
    let listed = bench
        .run(&["--json", "mail", "list", &format!("session/{session}")])
        .await?
        .with(0)?
        .json()?;
    ensure!(listed.len() == 1 && listed[0]["hops"] == 1, "{listed:?}");
    let read = bench
        .run(&["send", &session, "--follow", "/tool read_mail {}"])
        .await?
        .with(0)?;
    let heading = format!("Message {} from session/", listed[0]["id"].as_str().context("an id")?);
    ensure!(read.out.contains(&heading), "{}", read.out);
    // What no database keeps is no reason to lose a letter.
    let odd = r#"/tool send_message {"to":"queue/odd","content":"x","subject":"a\u0000b"}"#;
    let sent = bench.run(&["send", &session, "--follow", odd]).await?.with(0)?;
    ensure!(sent.out.contains("Sent to queue/odd"), "{}", sent.out);
    let nowhere = r#"/tool send_message {"to":"agent/nobody","content":"x"}"#;
    let refused = bench.run(&["send", &session, "--follow", nowhere]).await?.with(0)?;
    ensure!(
        refused.out.contains("no agent of this name takes mail"),
        "{}",
        refused.out
    );
    Ok(())
}

#[tokio::test]
async fn a_mailbox_is_followed() -> Result<()> {
    let bench = Bench::open().await?;
    let send = async |text: &str| bench.run(&["mail", "send", "queue/jobs", text]).await?.with(0);
    send("first").await?;
    let mut following = bench
        .command(&["--json", "mail", "list", "queue/jobs", "--follow"])?
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = following.stdout.take().context("its output")?;
    let mut lines = tokio::io::BufReader::new(out).lines();
    let mut next = async || -> Result<serde_json::Value> {
        let line = tokio::time::timeout(std::time::Duration::from_secs(30), lines.next_line()).await??;
        Ok(serde_json::from_str(&line.context("it goes on")?)?)
    };
    let first = next().await?;
    ensure!(
        first["content"][0]["text"] == "first" && first["state"] == "queued",
        "{first}"
    );
    send("second").await?;
    ensure!(next().await?["content"][0]["text"] == "second");
    bench.run(&["mail", "receive", "jobs"]).await?.with(0)?;
    let taken = next().await?;
    ensure!(taken["id"] == first["id"] && taken["state"] == "leased", "{taken}");
    following.kill().await?;
    Ok(())
}
