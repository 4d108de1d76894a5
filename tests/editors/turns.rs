//! Prompts: streamed, cancelled, refused, and finished by another server.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::rig::Bench;

#[tokio::test]
async fn a_prompt_is_answered_as_it_happens() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let mut editor = bench.editor(&[]).await?;
    let hello = editor.answer(1).await?;
    let able = &hello["agentCapabilities"];
    ensure!(
        able["loadSession"] == true && hello["agentInfo"]["name"] == "perennial",
        "{hello}"
    );
    for verb in ["list", "resume", "fork", "close"] {
        ensure!(able["sessionCapabilities"][verb].is_object(), "{verb}: {hello}");
    }

    let project = bench.project();
    let session = editor.session(&project).await?;
    let script = "/think hm\n/say I look\n/tool bash {\"command\":\"echo seen | tee made\"}\n/then\n\
                  /tool write {\"file_path\":\"new.txt\",\"content\":\"fresh\\n\"}\n/then\n/say and am done";
    let prompt = editor.prompt(&session, script).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    assert_eq!(std::fs::read_to_string(project.join("made"))?, "seen\n");
    assert_eq!(
        editor.words("agent_message_chunk"),
        "rehearsal-1: I lookrehearsal-1: and am done"
    );
    assert_eq!(editor.words("user_message_chunk"), "", "the editor shows its own words");
    ensure!(!editor.words("agent_thought_chunk").is_empty());

    let bash = editor.call("bash").context("a call")?;
    assert_eq!(
        (&bash["kind"], &bash["status"]),
        (&json!("execute"), &json!("completed"))
    );
    assert_eq!(bash["content"][0]["content"]["text"], "seen\n");
    let write = editor.call("write").context("a call")?;
    let path = json!(project.join("new.txt"));
    assert_eq!(
        write["content"],
        json!([{"type": "diff", "path": path, "newText": "fresh\n"}])
    );
    assert_eq!(write["locations"], json!([{"path": path}]));
    Ok(())
}

#[tokio::test]
async fn a_turn_is_cancelled_in_a_call_and_in_mid_sentence() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let mut editor = bench.editor(&[]).await?;
    let session = editor.session(&bench.project()).await?;
    let cancel = json!({"sessionId": session});
    let prompt = editor
        .prompt(&session, "/tool bash {\"command\":\"sleep 1000\"}\n/then\n/say never")
        .await?;
    editor.update(|update| update["status"] == "in_progress").await?;
    editor.notify("session/cancel", cancel.clone()).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "cancelled");
    assert_eq!(editor.call("bash").context("a call")?["status"], "failed");
    let prompt = editor.prompt(&session, "/say still here").await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    editor.hears("still here").await?;
    let prompt = editor.prompt(&session, "/tokens 100000 20").await?;
    editor.hears(" 3").await?;
    editor.notify("session/cancel", cancel).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "cancelled");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_done_is_said() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let mut editor = bench.editor(&[]).await?;
    let prompt = editor.prompt("sesn_019a0000000070008000000000000000", "hi").await?;
    let refused = editor.stop_reason(prompt).await.unwrap_err().to_string();
    ensure!(refused.contains("is not open"), "{refused}");
    let nowhere = json!({"cwd": "/nowhere", "mcpServers": []});
    let refused = editor.request("session/new", nowhere).await.unwrap_err().to_string();
    ensure!(refused.contains("/nowhere"), "{refused}");
    let session = editor.session(&bench.project()).await?;
    let prompt = editor.prompt(&session, "/fail 400").await?;
    let refused = editor.stop_reason(prompt).await.unwrap_err().to_string();
    ensure!(refused.contains("without an answer: "), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_killed_in_a_call_goes_on_for_the_editor() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let mut editor = bench.editor(&[]).await?;
    let project = bench.project();
    let session = editor.session(&project).await?;
    let script = "/say before\n/tool bash {\"command\":\"echo once >> ledger; sleep 1\"}\n/then\n/say after";
    let prompt = editor.prompt(&session, script).await?;
    editor.update(|update| update["status"] == "in_progress").await?;
    while !project.join("ledger").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let bench = bench.restart().await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    assert_eq!(
        editor.words("agent_message_chunk"),
        "rehearsal-1: beforerehearsal-1: after",
        "told once each"
    );
    assert_eq!(std::fs::read_to_string(project.join("ledger"))?, "once\n");
    let log = bench.server.client.log(&session).await?;
    assert_eq!(log.iter().filter(|event| event["type"] == "agent.tool_use").count(), 1);
    Ok(())
}
