//! Sessions leave one server and go on at another; transcripts of other programs become sessions.

use std::io::{Read as _, Write as _};

use axum::body::Body as HttpBody;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use perennial_engine::ports::{Blobs as _, Sessions as _};
use perennial_schema::SessionId;
use perennial_schema::event::{Body, Empty, Permission, Raw, ToolResult, ToolUse};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::rig::{Hands, Rig, id};

/// A session that is in the middle of things, with a folder, a blob and an open call.
async fn busy(rig: &Rig) -> String {
    let session = rig.session().await;
    rig.say(&session, "look, an \u{00fc}mlaut").await;
    let claimed = rig.claim().await;
    let call = |command: &str| {
        Body::AgentToolUse(ToolUse {
            name: "bash".into(),
            input: Raw::of(&json!({"command": command})),
            evaluated_permission: Some(Permission::Allow),
        })
    };
    let calls = rig
        .hold(
            &claimed,
            vec![Body::SessionStatusRunning(Empty {}), call("make"), call("sleep 99")],
            false,
        )
        .await;
    let sha256 = rig.blobs.put(rig.workspace, "long output".into()).await.unwrap();
    let result = Body::AgentToolResult(ToolResult {
        tool_use_id: calls[1],
        content: Some(Raw::of(&json!([
            {"type": "text", "text": format!("[whole: GET /v1/sessions/{session}/blobs/{sha256}]")}
        ]))),
        is_error: Some(false),
    });
    rig.hold(&claimed, vec![result], false).await;
    let key: SessionId = session.parse().unwrap();
    let folder: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    rig.hands.folders.lock().unwrap().insert(key, folder);
    session
}

async fn export(rig: &Rig, session: &str, query: &str) -> (Vec<u8>, String) {
    let path = format!("/v1/sessions/{session}/export{query}");
    let request = rig.request("GET", &path).body(HttpBody::empty()).unwrap();
    let response = rig.api.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let hash = response.headers()["perennial-head-hash"].to_str().unwrap().to_owned();
    (response.into_body().collect().await.unwrap().to_bytes().to_vec(), hash)
}

fn entries(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let read = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    read.collect()
}

fn file(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, path, &content[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

async fn log(rig: &Rig, session: &str) -> Vec<Value> {
    let page = rig.get(&format!("/v1/sessions/{session}/log?limit=1000")).await.ok();
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_session_goes_on_at_another_server() {
    let (here, there) = (Rig::new().await, Rig::new().await);
    let session = busy(&here).await;
    let (bytes, hash) = export(&here, &session, "").await;
    let found = entries(&bytes);
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths[..3], ["manifest.json", "session.json", "events.ndjson"]);
    assert!(
        paths[3].starts_with("blobs/") && paths[4] == "workspace.tar",
        "{paths:?}"
    );
    let manifest: Value = serde_json::from_slice(&found[0].1).unwrap();
    assert_eq!(
        (&manifest["head_hash"], &manifest["session_id"]),
        (&json!(hash), &json!(session))
    );

    // Another server, which has an environment like that one.
    there.environment(json!({"type": "local"})).await;
    let made = there.text("/v1/sessions/import", bytes.clone()).await.ok();
    let copy = id(&made);
    assert_ne!(copy, session);
    assert_eq!(
        made["imported"],
        json!({"format": "perennial", "from_session": session, "events": manifest["events"], "head_hash": hash,
            "workspace": "unpacked"})
    );
    assert_eq!(
        (&made["status"], &made["usage"]["input_tokens"]),
        (&json!("idle"), &json!(0))
    );
    let (old, new) = (log(&here, &session).await, log(&there, &copy).await);
    for (old, new) in old.iter().zip(&new) {
        for member in ["seq", "id", "type", "turn", "actor", "created_at", "payload"] {
            assert_eq!(old[member], new[member]);
        }
    }
    // The open call is closed, never settled, and it rests.
    let kinds: Vec<&str> = new[old.len()..]
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["session.imported", "agent.tool_result", "session.status_idle"]);
    assert!(new[old.len() + 1]["payload"].to_string().contains("imported"));
    // What is beside the log came too.
    let folder = |rig: &Rig, session: &str| rig.hands.folders.lock().unwrap()[&session.parse().unwrap()].clone();
    assert_eq!(folder(&here, &session), folder(&there, &copy));
    assert!(here.hands.packs.lock().unwrap().is_empty() && there.hands.packs.lock().unwrap().is_empty());
    let row = there.store.get(there.session_key(&copy)).await.unwrap().unwrap();
    assert_eq!(row.place, Some(Hands::AT));
    let blob = found[3].0.strip_prefix("blobs/").unwrap();
    let read = there.get(&format!("/v1/sessions/{copy}/blobs/{blob}")).await;
    assert_eq!(read.json, json!("long output"));

    // The same events have the same hashes there.
    let (again, _) = export(&there, &copy, "?workspace=false").await;
    let again = entries(&again);
    let lines = |content: &[u8]| String::from_utf8(content.to_vec()).unwrap();
    assert!(lines(&again[2].1).starts_with(&lines(&found[2].1)));
    assert_eq!(again.last().unwrap().0, found[3].0, "without the folder");
    // It goes on.
    there.say(&copy, "and now?").await;
    assert_eq!(
        there.get(&format!("/v1/sessions/{copy}")).await.ok()["status"],
        "running"
    );
}

#[tokio::test]
async fn a_repeated_import_is_one_session() {
    let rig = Rig::new().await;
    let session = busy(&rig).await;
    let (bytes, _) = export(&rig, &session, "").await;
    let import = async |path: &str, bytes: &[u8]| {
        let request = rig.request("POST", path).header("idempotency-key", "once");
        rig.send(request.body(HttpBody::from(bytes.to_vec())).unwrap()).await
    };
    let first = import("/v1/sessions/import", &bytes).await.ok();
    let again = import("/v1/sessions/import", &bytes).await.ok();
    assert_eq!((&first["id"], &first["imported"]), (&again["id"], &again["imported"]));
    for (path, bytes) in [
        ("/v1/sessions/import?title=other", &bytes),
        ("/v1/sessions/import", &file(&entries(&bytes))),
    ] {
        import(path, bytes).await.refused(422, "invalid_request_error");
    }
}

#[tokio::test]
async fn what_it_runs_by_may_be_another() {
    let rig = Rig::new().await;
    let session = busy(&rig).await;
    let (bytes, _) = export(&rig, &session, "?workspace=false").await;
    let elsewhere = rig.environment(json!({"type": "local", "dir": "/tmp"})).await;
    let path = format!("/v1/sessions/import?environment_id={elsewhere}&model=gpt-x&harness=codex&title=moved");
    let made = rig.text(&path, bytes).await.ok();
    assert_eq!(
        (&made["agent"]["model"]["id"], &made["agent"]["harness"], &made["title"]),
        (&json!("gpt-x"), &json!("codex"), &json!("moved"))
    );
    assert_eq!(
        (&made["imported"]["workspace"], &made["environment_id"]),
        (&json!("empty"), &json!(elsewhere))
    );
    // A folder of the user's own is not written into.
    let (bytes, _) = export(&rig, &session, "").await;
    let made = rig.text(&path, bytes).await.ok();
    assert_eq!(made["imported"]["workspace"], "left_out");
}

#[tokio::test]
async fn files_that_are_not_what_they_say_leave_nothing() {
    let rig = Rig::new().await;
    let session = busy(&rig).await;
    let (bytes, _) = export(&rig, &session, "").await;
    let good = entries(&bytes);
    let count = async || {
        rig.get("/v1/sessions?limit=100").await.ok()["data"]
            .as_array()
            .unwrap()
            .len()
    };
    let before = count().await;
    let changed = |at: usize, change: &dyn Fn(&str) -> String| {
        let mut entries = good.clone();
        let text = String::from_utf8(entries[at].1.clone()).unwrap();
        entries[at].1 = change(&text).into_bytes();
        file(&entries)
    };
    let without = |at: usize| {
        let mut entries = good.clone();
        entries.remove(at);
        file(&entries)
    };
    let swapped = |a: usize, b: usize| {
        let mut entries = good.clone();
        entries.swap(a, b);
        file(&entries)
    };
    let renamed = |at: usize, path: &str| {
        let mut entries = good.clone();
        entries[at].0 = path.to_owned();
        file(&entries)
    };
    let hostile = {
        let mut entries = good.clone();
        entries[4].1[..7].copy_from_slice(b"hostile");
        file(&entries)
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            changed(2, &|text| text.replacen("make", "fake", 1)),
            "event 3: the hash does not fit",
        ),
        (
            changed(2, &|text| {
                text.lines().skip(1).map(|line| format!("{line}\n")).collect()
            }),
            "event 1: the hash",
        ),
        (
            changed(2, &|text| {
                text.lines().take(2).map(|line| format!("{line}\n")).collect()
            }),
            "and has 2 up to",
        ),
        (changed(2, &|text| text.trim_end().to_owned()), "is cut or too long"),
        (changed(2, &|_| "{}\n".into()), "event 1: the line has no hash"),
        (
            changed(2, &|_| format!("{}\n", "[".repeat(200))),
            "event 1: the body is nested deeper",
        ),
        (
            changed(0, &|text| text.replace("\"version\": 1", "\"version\": 9")),
            "of the form \"perennial-session\" 9",
        ),
        (
            changed(0, &|text| text.replace("\"head_hash\": \"", "\"head_hash\": \"0")),
            "it says that it has",
        ),
        (changed(0, &|_| "{".into()), "manifest.json: EOF"),
        (changed(0, &|_| " ".repeat(5 << 20)), "manifest.json is larger than"),
        (
            changed(1, &|text| text.replace("\"model\"", "\"mood\"")),
            "session.json: missing field",
        ),
        (
            changed(3, &|text| text.replace("long", "lone")),
            "is not what its name says",
        ),
        (without(0), "manifest.json is not where it must be"),
        (without(4), "workspace.tar is missing"),
        (swapped(3, 4), "does not belong into it"),
        (renamed(4, "etc/passwd"), "does not belong into it"),
        (hostile, "cannot be unpacked: hostile"),
        (bytes[..bytes.len() / 2].to_vec(), "cannot be imported"),
        (vec![0x1f, 0x8b, 1, 2, 3], "cannot be imported"),
        (
            b"hello\nworld\n".to_vec(),
            "neither an exported session nor a transcript",
        ),
        (Vec::new(), "neither an exported session nor a transcript"),
    ];
    for (n, (bytes, said)) in cases.into_iter().enumerate() {
        let answer = rig.text("/v1/sessions/import", bytes).await;
        let message = answer.refused(400, "invalid_request_error");
        assert!(message.contains(said), "case {n}: {message}");
    }
    assert_eq!(count().await, before);
    assert!(rig.hands.packs.lock().unwrap().is_empty(), "no folder waits");
}

#[tokio::test]
async fn a_bomb_is_told_by_what_it_claims() {
    let rig = Rig::new().await;
    let session = busy(&rig).await;
    let (bytes, _) = export(&rig, &session, "").await;
    let good = entries(&bytes);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    for (path, content) in &good[..2] {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        gzip.write_all(header.as_bytes()).unwrap();
        gzip.write_all(content).unwrap();
        let padding = content.len().next_multiple_of(512) - content.len();
        gzip.write_all(&vec![0; padding]).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_path("events.ndjson").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    gzip.write_all(header.as_bytes()).unwrap();
    gzip.write_all(&vec![b'x'; 50 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let refused = rig.text("/v1/sessions/import", bomb).await;
    let message = refused.refused(400, "invalid_request_error");
    assert!(message.contains("its events take more than"), "{message}");
}

#[tokio::test]
async fn transcripts_become_sessions() {
    let rig = Rig::new().await;
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let transcript = [
        json!({"type": "user", "uuid": "1", "parentUuid": null, "sessionId": "their-id", "timestamp": "2026-01-02T03:04:05Z",
            "message": {"role": "user", "content": "hello"}}),
        json!({"type": "assistant", "uuid": "2", "parentUuid": "1", "sessionId": "their-id", "timestamp": "2026-01-02T03:04:06Z",
            "message": {"id": "m", "model": "claude-x", "content": [{"type": "text", "text": "hi there"}]}}),
        json!({"type": "tomorrow", "sessionId": "their-id"}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    let path = format!("/v1/sessions/import?agent_id={agent}&environment_id={environment}");
    let made = rig.text(&path, transcript.clone()).await.ok();
    assert_eq!(
        made["imported"],
        json!({"format": "claude-code", "from_session": "their-id", "events": 7, "workspace": "empty", "unread": 1})
    );
    let log = log(&rig, &id(&made)).await;
    let kinds: Vec<&str> = log.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "user.message",
            "session.status_running",
            "span.model_request_start",
            "input.processed",
            "agent.message",
            "span.model_request_end",
            "session.status_idle",
            "session.imported",
        ]
    );
    assert_eq!(log[0]["created_at"], "2026-01-02T03:04:05.000000Z");
    let events = rig.get(&format!("/v1/sessions/{}/events", id(&made))).await.ok();
    assert_eq!(events["data"][0]["processed_at"], "2026-01-02T03:04:06.000000Z");

    // What is not said is asked for by name.
    for (query, said) in [
        ("", "agent_id: a transcript names no agent"),
        ("?agent_id=agent_1", "agent.id: "),
        (
            &format!("?agent_id={agent}"),
            "environment_id: a transcript names no environment",
        ),
        ("?from=emacs", "from: "),
        ("?harness=emacs", "harness: "),
    ] {
        let refused = rig
            .text(&format!("/v1/sessions/import{query}"), transcript.clone())
            .await;
        let message = refused.refused(400, "invalid_request_error");
        assert!(message.contains(said), "{query}: {message}");
    }
    let empty = rig.text(&format!("{path}&from=codex"), "nothing\nof\nuse").await;
    let message = empty.refused(400, "invalid_request_error");
    assert!(
        message.contains("3 lines or blocks of it were not understood"),
        "{message}"
    );
}
