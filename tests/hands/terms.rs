//! S16: the terms of a machine's owner, which hold whatever the server asks.

use anyhow::{Context, Result};
use perennial_tests::terminal::Terminal;
use serde_json::{Value, json};

use crate::rig::{Device, PATIENCE, Stand, results};

async fn call(stand: &Stand, device: &Device, tool: &str, input: Value) -> Result<(bool, String)> {
    let path = format!("/v1/executors/{}/calls", device.id);
    let said = stand
        .client()
        .post(&path, &json!({"tool": tool, "input": input}))
        .await?
        .ok()?;
    let text = said["content"][0]["text"].as_str().context("text")?;
    Ok((said["is_error"] == true, text.to_owned()))
}

/// The next life of a device, with these flags beside its folder.
async fn again(stand: &Stand, device: &mut Device, flags: &[&str]) -> Result<()> {
    if let Some(mut process) = device.process.take() {
        process.stop(PATIENCE).await?;
        stand.until(&device.id, "offline").await?;
    }
    device.program.args.truncate(2);
    device.program.args.extend(flags.iter().map(|flag| (*flag).to_owned()));
    device.start()?;
    stand.online(&device.id).await?;
    Ok(())
}

async fn tools(stand: &Stand, device: &Device) -> Result<Value> {
    Ok(stand.online(&device.id).await?["card"]["tools"].clone())
}

#[tokio::test]
async fn what_is_offered_is_decided_on_the_machine_and_remembered() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let write = json!({"file_path": "made", "content": "x"});
    // No such tool: found before anything happens.
    device.process()?.stop(PATIENCE).await?;
    device.program.args.extend(["--tools".to_owned(), "bash,rm".to_owned()]);
    device.start()?;
    assert_eq!(device.process()?.ended(PATIENCE).await?.code(), Some(2));
    device.process = None;
    again(&stand, &mut device, &["--read-only"]).await?;
    // And `connect` alone keeps to it.
    for flags in [&["--read-only"][..], &[]] {
        again(&stand, &mut device, flags).await?;
        assert_eq!(tools(&stand, &device).await?, json!(["read", "glob", "grep"]));
        let (refused, why) = call(&stand, &device, "write", write.clone()).await?;
        assert!(refused && why.contains("does not offer write"), "{why}");
        let (refused, _) = call(&stand, &device, "bash", json!({"command": "touch made"})).await?;
        assert!(refused && !device.work.join("made").exists());
        let (refused, text) = call(&stand, &device, "read", json!({"file_path": "there"})).await?;
        assert!(!refused && text.contains("there"), "{text}");
    }
    // A model is not even offered the others.
    let session = stand.session_on(&device).await?;
    let events = stand.turn(&session, r#"/tool bash {"command":"touch made"}"#).await?;
    assert!(!device.work.join("made").exists(), "{:?}", results(&events));
    again(&stand, &mut device, &["--tools", "write,read"]).await?;
    assert_eq!(tools(&stand, &device).await?, json!(["read", "write"]));
    assert!(!call(&stand, &device, "write", write).await?.0);
    assert!(call(&stand, &device, "bash", json!({"command": "ls"})).await?.0);
    again(&stand, &mut device, &["--unrestricted"]).await?;
    assert!(!call(&stand, &device, "bash", json!({"command": "ls"})).await?.0);
    Ok(())
}

#[tokio::test]
async fn its_owner_is_asked_on_the_terminal() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    device.process()?.stop(PATIENCE).await?;
    stand.until(&device.id, "offline").await?;
    // Without a terminal nobody could answer.
    device.program.args.push("--ask".to_owned());
    device.start()?;
    assert_eq!(device.process()?.ended(PATIENCE).await?.code(), Some(2));
    assert!(
        device.program.log().contains("confirmed on the terminal"),
        "{}",
        device.program.log()
    );
    let mut terminal = Terminal::start(device.program.command()?)?;
    terminal.until("connected").await?;
    let ledger = |word: &str| json!({"command": format!("echo {word} >> ledger")});
    let no = call(&stand, &device, "bash", ledger("no"));
    let answer = async {
        terminal.until("echo no >> ledger").await?;
        terminal.until("allow it? [y/N]").await?;
        terminal.types("")
    };
    let ((refused, why), ()) = tokio::try_join!(no, answer)?;
    assert!(refused && why.contains("refused this call"), "{why}");
    // What was typed ahead answers nothing.
    terminal.types("y")?;
    let yes = call(&stand, &device, "bash", ledger("yes"));
    let answer = async {
        terminal.until("echo yes >> ledger").await?;
        terminal.until("allow it? [y/N]").await?;
        assert_eq!(device.ledger(), Vec::<String>::new());
        terminal.types("y")
    };
    let ((refused, _), ()) = tokio::try_join!(yes, answer)?;
    assert!(!refused);
    assert_eq!(device.ledger(), ["yes"]);
    Ok(())
}

/// A machine says what it is like now whenever it is back.
#[tokio::test]
async fn a_card_is_fresh_after_a_reconnect() -> Result<()> {
    let mut stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let git = async |args: &[&str]| -> Result<()> {
        let done = tokio::process::Command::new("git")
            .arg("-C")
            .arg(&device.work)
            .args(args)
            .output()
            .await?;
        anyhow::ensure!(done.status.success(), "{done:?}");
        Ok(())
    };
    assert_eq!(stand.online(&device.id).await?["card"]["git_remote"], Value::Null);
    git(&["init", "-q"]).await?;
    git(&["remote", "add", "origin", "https://example.com/a.git"]).await?;
    stand.kill().await?;
    stand.start_again().await?;
    let began = std::time::Instant::now();
    loop {
        let card = stand.online(&device.id).await?["card"].clone();
        if card["git_remote"] == "https://example.com/a.git" {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{card}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
