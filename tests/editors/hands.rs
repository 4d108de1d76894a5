//! The editor's folder as an executor of its sessions: what it has open is what is read, and what is written appears there.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::{Bench, Editor};

const READ: &str = "fs/read_text_file";
const WRITE: &str = "fs/write_text_file";

fn able() -> Value {
    json!({"fs": {"readTextFile": true, "writeTextFile": true}})
}

/// The result of a call, as text.
fn said(editor: &Editor, tool: &str) -> Result<String> {
    let call = editor.call(tool).context("a call")?;
    let text = call["content"][0]["content"]["text"].as_str();
    Ok(text.with_context(|| call.to_string())?.to_owned())
}

#[tokio::test]
async fn files_are_those_the_editor_has_open() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    for name in ["open", "closed"] {
        std::fs::write(project.join(name), "saved\n")?;
    }
    std::fs::write(
        project.join("picture"),
        [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A],
    )?;
    let mut editor = bench.able_editor(&[], able()).await?;
    let session = editor.session(&project).await?;
    let script = "/tool read {\"file_path\":\"open\"}\n/then\n/tool edit {\"file_path\":\"open\",\"old_string\":\"typed\",\"new_string\":\"edited\"}\n\
                  /then\n/tool write {\"file_path\":\"in/new\",\"content\":\"made\"}\n/then\n/tool bash {\"command\":\"cat open closed\"}\n/then\n/say done";
    let prompt = editor.prompt(&session, script).await?;
    let path = json!(project.join("open"));
    let asked = editor.asked(READ).await?;
    assert_eq!(
        (&asked["params"]["path"], &asked["params"]["sessionId"]),
        (&path, &json!(session))
    );
    editor.reply(&asked, json!({"content": "typed\n"})).await?;
    let asked = editor.asked(READ).await?;
    editor.reply(&asked, json!({"content": "typed\n"})).await?;
    let asked = editor.asked(WRITE).await?;
    assert_eq!(
        (&asked["params"]["path"], &asked["params"]["content"]),
        (&path, &json!("edited\n"))
    );
    editor.reply(&asked, json!({})).await?;
    let asked = editor.asked(WRITE).await?;
    assert_eq!(asked["params"]["path"], json!(project.join("in/new")));
    // What it does not take is written to disk.
    editor.refuse(&asked).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    assert_eq!(said(&editor, "read")?, "typed\n");
    assert_eq!(
        said(&editor, "bash")?,
        "saved\nsaved\n",
        "the editor keeps what it was given"
    );
    assert_eq!(std::fs::read_to_string(project.join("in/new"))?, "made");

    // What is no text or leads out of the folder is none of the editor's.
    std::os::unix::fs::symlink("/etc/hostname", project.join("out"))?;
    let script = "/tool read {\"file_path\":\"picture\"}\n/tool read {\"file_path\":\"out\"}\n\
                  /tool read {\"file_path\":\"../data/key\"}\n/tool write {\"file_path\":\"../x\",\"content\":\"\"}\n/then\n/say over";
    let questions = editor.heard.iter().filter(|line| line["asked"].is_u64()).count();
    let prompt = editor.prompt(&session, script).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    assert_eq!(
        editor.heard.iter().filter(|line| line["asked"].is_u64()).count(),
        questions
    );
    ensure!(!project.join("../x").exists());
    // It has no terminals.
    let asked = editor.heard.iter().filter_map(|line| line["method"].as_str());
    ensure!(asked.into_iter().all(|method| !method.starts_with("terminal/")));

    let executors = bench.server.client.get("/v1/executors").await?.ok()?;
    assert_eq!(executors["data"].as_array().map(Vec::len), Some(1), "{executors}");
    Ok(())
}

#[tokio::test]
async fn a_call_in_the_editors_folder_outlives_the_server() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut editor = bench.able_editor(&[], able()).await?;
    let session = editor.session(&project).await?;
    let script = "/tool bash {\"command\":\"echo once >> ledger; sleep 1\"}\n/then\n/say after";
    let prompt = editor.prompt(&session, script).await?;
    while !project.join("ledger").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let bench = bench.restart().await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    editor.hears("after").await?;
    assert_eq!(std::fs::read_to_string(project.join("ledger"))?, "once\n");
    assert_eq!(editor.call("bash").context("a call")?["status"], "completed");
    drop(bench);
    Ok(())
}

#[tokio::test]
async fn the_next_editor_is_the_same_hand() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut first = bench.able_editor(&[], able()).await?;
    let session = first.session(&project).await?;
    let prompt = first.prompt(&session, "/tool bash {\"command\":\"echo one\"}").await?;
    assert_eq!(first.stop_reason(prompt).await?, "end_turn");
    first.close().await?;
    let mut second = bench.able_editor(&[], able()).await?;
    let load = json!({"sessionId": session, "cwd": project, "mcpServers": []});
    second.request("session/load", load).await?;
    let prompt = second.prompt(&session, "/tool bash {\"command\":\"echo two\"}").await?;
    assert_eq!(second.stop_reason(prompt).await?, "end_turn");
    ensure!(said(&second, "bash")?.ends_with("]\ntwo\n"), "in a fresh shell");
    let executors = bench.server.client.get("/v1/executors").await?.ok()?;
    assert_eq!(executors["data"].as_array().map(Vec::len), Some(1), "{executors}");

    // Two at once are two.
    let mut third = bench.able_editor(&[], able()).await?;
    let other = third.session(&project).await?;
    let prompt = third.prompt(&other, "/tool bash {\"command\":\"echo three\"}").await?;
    assert_eq!(third.stop_reason(prompt).await?, "end_turn");
    assert_eq!(said(&third, "bash")?, "three\n");
    Ok(())
}
