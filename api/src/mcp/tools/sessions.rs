//! Sessions: begin, list, say, read, interrupt.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, agents};
use crate::mcp::caller::{Caller, part};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    agent: String,
    environment_id: Option<String>,
    prompt: Option<String>,
    title: Option<String>,
}

pub(super) async fn create(caller: &Caller, input: Create) -> Result<Done, String> {
    let agent = agents::id(caller, &input.agent).await?;
    let environment = match input.environment_id {
        Some(id) => id,
        None => newest_environment(caller).await?,
    };
    let mut body = json!({"agent": agent, "environment_id": environment, "title": input.title});
    if let (Some(prompt), Some(body)) = (input.prompt, body.as_object_mut()) {
        body.insert("initial_events".into(), json!([message(&prompt)]));
    }
    let made = caller.post("/v1/sessions", &body).await?;
    Ok(json!({"session_id": made["id"], "status": made["status"], "after": 0}))
}

async fn newest_environment(caller: &Caller) -> Result<String, String> {
    let environments = caller.get("/v1/environments?limit=1").await?;
    let id = environments["data"][0]["id"].as_str();
    id.map(str::to_owned)
        .ok_or_else(|| "there is no environment yet: make one with `perennial env create`".into())
}

fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    status: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(caller: &Caller, input: List) -> Result<Done, String> {
    let mut path = format!("/v1/sessions?limit={}", input.limit.unwrap_or(20));
    if let Some(status) = &input.status {
        path.push_str(&format!("&statuses[]={}", part(status)?));
    }
    let sessions = caller.get(&path).await?;
    let shown = |session: &Value| {
        json!({"session_id": session["id"], "title": session["title"], "status": session["status"],
            "agent": session["agent"]["name"], "created_at": session["created_at"]})
    };
    let shown: Vec<Value> = sessions["data"].as_array().into_iter().flatten().map(shown).collect();
    Ok(json!({"sessions": shown}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    session_id: String,
    text: String,
}

pub(super) async fn send(caller: &Caller, input: Send) -> Result<Done, String> {
    let row = caller.app.session(&caller.principal, &input.session_id).await;
    let before = row.map_err(|error| error.message)?.head;
    let events = json!({"events": [message(&input.text)]});
    let path = format!("/v1/sessions/{}/events", part(&input.session_id)?);
    let sent = caller.post(&path, &events).await?;
    Ok(json!({"session_id": input.session_id, "event_id": sent["data"][0]["id"], "after": before}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    session_id: String,
    after: Option<u64>,
    limit: Option<u32>,
}

pub(super) async fn read(caller: &Caller, input: Read) -> Result<Done, String> {
    let (id, after) = (part(&input.session_id)?, input.after.unwrap_or(0));
    let limit = input.limit.unwrap_or(100);
    let log = caller
        .get(&format!("/v1/sessions/{id}/log?after={after}&limit={limit}"))
        .await?;
    let shown = |event: &Value| json!({"seq": event["seq"], "event": event["payload"]});
    let shown: Vec<Value> = log["data"].as_array().into_iter().flatten().map(shown).collect();
    Ok(json!({"events": shown, "next_after": log["next_after"]}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interrupt {
    session_id: String,
}

pub(super) async fn interrupt(caller: &Caller, input: Interrupt) -> Result<Done, String> {
    let path = format!("/v1/sessions/{}/events", part(&input.session_id)?);
    let events = json!({"events": [{"type": "user.interrupt"}]});
    caller.post(&path, &events).await?;
    Ok(json!({"session_id": input.session_id, "interrupted": true}))
}
