//! Sessions from one editor to the next: they go on without one, and are listed, loaded, resumed and forked by another.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::{Bench, Editor};

#[tokio::test]
async fn a_session_goes_on_without_its_editor_and_is_loaded_whole() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut first = bench.editor(&[]).await?;
    let session = first.session(&project).await?;
    let script =
        "/say begun\n/tool bash {\"command\":\"while [ ! -e go ]; do sleep 0.02; done; echo went\"}\n/then\n/say ended";
    first.prompt(&session, script).await?;
    first.update(|update| update["status"] == "in_progress").await?;
    first.kill().await?;

    // In the middle of the turn: the past is told, then the rest as it happens.
    let mut second = bench.editor(&[]).await?;
    load(&mut second, &bench, "session/load", &session).await?;
    assert_eq!(second.words("user_message_chunk"), script);
    assert_eq!(second.words("agent_message_chunk"), "rehearsal-1: begun");
    assert_eq!(second.call("bash").context("a call")?["status"], "in_progress");
    std::fs::write(project.join("go"), "")?;
    second.hears("ended").await?;
    let call = second.call("bash").context("a call")?;
    assert_eq!(
        (&call["status"], &call["content"][0]["content"]["text"]),
        (&json!("completed"), &json!("went\n"))
    );
    second.kill().await?;

    let mut third = bench.editor(&[]).await?;
    load(&mut third, &bench, "session/load", &session).await?;
    assert_eq!(
        third.words("agent_message_chunk"),
        "rehearsal-1: begunrehearsal-1: ended"
    );
    let prompt = third.prompt(&session, "/say more").await?;
    assert_eq!(third.stop_reason(prompt).await?, "end_turn");
    Ok(())
}

#[tokio::test]
async fn sessions_are_listed_resumed_forked_and_closed() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut editor = bench.editor(&[]).await?;
    let session = editor.session(&project).await?;
    let other = bench.project().join("other");
    std::fs::create_dir(&other)?;
    let elsewhere = editor.session(&other).await?;
    let prompt = editor.prompt(&session, "/say one").await?;
    editor.stop_reason(prompt).await?;
    let path = format!("/v1/sessions/{session}");
    bench
        .server
        .client
        .post(&path, &json!({"title": "a name"}))
        .await?
        .ok()?;
    editor
        .update(|update| update["sessionUpdate"] == "session_info_update" && update["title"] == "a name")
        .await?;

    let all = ids(&editor.request("session/list", json!({})).await?);
    ensure!(all.contains(&session) && all.contains(&elsewhere), "{all:?}");
    let listed = editor.request("session/list", json!({"cwd": project})).await?;
    let info = &listed["sessions"][0];
    assert_eq!(ids(&listed), std::slice::from_ref(&session));
    assert_eq!((&info["cwd"], &info["title"]), (&json!(project), &json!("a name")));

    let mut second = bench.editor(&[]).await?;
    load(&mut second, &bench, "session/resume", &session).await?;
    let forked = load(&mut second, &bench, "session/fork", &session).await?;
    let fork = forked["sessionId"].as_str().context("an id")?.to_owned();
    ensure!(fork != session);
    let prompt = second.prompt(&session, "/say two").await?;
    second.stop_reason(prompt).await?;
    let prompt = second.prompt(&fork, "/say another").await?;
    second.stop_reason(prompt).await?;
    assert_eq!(
        second.words("agent_message_chunk"),
        "rehearsal-1: tworehearsal-1: another",
        "no past is told"
    );
    // The first editor sees what is said at the second.
    editor.hears("two").await?;
    assert_eq!(editor.words("user_message_chunk"), "/say two");

    second.request("session/close", json!({"sessionId": fork})).await?;
    let prompt = second.prompt(&fork, "/say x").await?;
    ensure!(second.stop_reason(prompt).await.is_err(), "it is closed");
    let path = format!("/v1/sessions/{fork}");
    assert_eq!(
        bench.server.client.get(&path).await?.ok()?["status"],
        "idle",
        "and still there"
    );
    Ok(())
}

#[tokio::test]
async fn a_named_session_is_what_a_new_one_is() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let mut editor = bench.editor(&[]).await?;
    let session = editor.session(&bench.project()).await?;
    let prompt = editor.prompt(&session, "/say one").await?;
    editor.stop_reason(prompt).await?;
    let mut named = bench.editor(&["--session", &session]).await?;
    assert_eq!(named.session(&bench.project()).await?, session);
    named.hears("one").await?;
    Ok(())
}

async fn load(editor: &mut Editor, bench: &Bench, method: &str, session: &str) -> Result<Value> {
    let params = json!({"sessionId": session, "cwd": bench.project(), "mcpServers": []});
    editor.request(method, params).await
}

fn ids(listed: &Value) -> Vec<String> {
    let sessions = listed["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids = sessions.iter().filter_map(|session| session["sessionId"].as_str());
    ids.map(str::to_owned).collect()
}
