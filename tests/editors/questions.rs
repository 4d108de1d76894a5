//! Approvals: asked at the editor, answered there or elsewhere.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::Bench;

const ASK: &str = "session/request_permission";
const SCRIPT: &str = "/tool bash {\"command\":\"echo done > made\"}\n/then\n/say over";

fn chosen(option: &str) -> Value {
    json!({"outcome": {"outcome": "selected", "optionId": option}})
}

#[tokio::test]
async fn the_person_at_the_editor_decides() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let agent = bench.asking_agent().await?;
    for (option, kind, status) in [
        ("allow", "allow_once", "completed"),
        ("reject", "reject_once", "failed"),
    ] {
        let mut editor = bench.editor(&["--agent", &agent]).await?;
        let session = editor.session(&bench.project()).await?;
        let made = bench.project().join("made");
        let prompt = editor.prompt(&session, SCRIPT).await?;
        let asked = editor.asked(ASK).await?;
        let params = &asked["params"];
        ensure!(params["toolCall"]["title"] == "bash echo done > made", "{params}");
        let options = params["options"].as_array().context("options")?;
        ensure!(
            options
                .iter()
                .any(|one| one["optionId"] == option && one["kind"] == kind),
            "{params}"
        );
        ensure!(!made.exists(), "it did not wait");
        editor.reply(&asked, chosen(option)).await?;
        assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
        assert_eq!(editor.call("bash").context("a call")?["status"], status);
        assert_eq!(made.exists(), option == "allow");
        if made.exists() {
            std::fs::remove_file(made)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_question_answered_elsewhere_is_withdrawn() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let agent = bench.asking_agent().await?;
    let mut editor = bench.editor(&["--agent", &agent]).await?;
    let session = editor.session(&bench.project()).await?;
    let prompt = editor.prompt(&session, SCRIPT).await?;
    let asked = editor.asked(ASK).await?;
    let uses = &asked["params"]["toolCall"]["toolCallId"];
    let yes = json!({"type": "user.tool_confirmation", "tool_use_id": uses, "result": "allow"});
    let path = format!("/v1/sessions/{session}/events");
    bench.server.client.post(&path, &json!({"events": [yes]})).await?.ok()?;
    editor.until(|line| line["withdrawn"] == asked["asked"]).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    ensure!(bench.project().join("made").exists());
    Ok(())
}

#[tokio::test]
async fn a_cancelled_turn_asks_no_more() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let agent = bench.asking_agent().await?;
    let mut editor = bench.editor(&["--agent", &agent]).await?;
    let session = editor.session(&bench.project()).await?;
    let prompt = editor.prompt(&session, SCRIPT).await?;
    let asked = editor.asked(ASK).await?;
    editor.notify("session/cancel", json!({"sessionId": session})).await?;
    editor
        .reply(&asked, json!({"outcome": {"outcome": "cancelled"}}))
        .await?;
    assert_eq!(editor.stop_reason(prompt).await?, "cancelled");
    ensure!(!bench.project().join("made").exists());
    Ok(())
}

#[tokio::test]
async fn a_question_outlives_the_editor_and_its_server() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let agent = bench.asking_agent().await?;
    let mut first = bench.editor(&["--agent", &agent]).await?;
    let session = first.session(&bench.project()).await?;
    first.prompt(&session, SCRIPT).await?;
    first.asked(ASK).await?;
    first.kill().await?;
    let bench = bench.restart().await?;

    let mut second = bench.editor(&[]).await?;
    let load = json!({"sessionId": session, "cwd": bench.project(), "mcpServers": []});
    second.request("session/load", load).await?;
    assert_eq!(second.words("user_message_chunk"), SCRIPT);
    let asked = second.asked(ASK).await?;
    second.reply(&asked, chosen("allow")).await?;
    second.hears("over").await?;
    ensure!(bench.project().join("made").exists());
    Ok(())
}
