//! `wait`: until a session rests behind a point in its log, or behind a task in it. Nothing hangs on it: whoever breaks off waits again
//! from where they were.

use std::time::Duration;

use perennial_engine::ports::{ReadFrom, SessionKey, WakeUps};
use perennial_router::mcp::McpAsked;
use perennial_schema::session::Status;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{Done, input, send_message};
use crate::limits::{MCP_LOOK_AGAIN, MCP_PAGE, MCP_WAIT, MCP_WAIT_MOST};
use crate::mcp::caller::{Caller, part};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    session_id: Option<String>,
    to: Option<String>,
    message_id: Option<String>,
    after: Option<u64>,
    timeout: Option<u64>,
}

pub(super) async fn run(caller: &Caller, asked: McpAsked) -> Result<Done, String> {
    let what: Input = input(asked.arguments.clone())?;
    let seconds = what.timeout.unwrap_or(MCP_WAIT.as_secs());
    if !(1..=MCP_WAIT_MOST.as_secs()).contains(&seconds) {
        return Err(format!("timeout: must be 1 to {} seconds", MCP_WAIT_MOST.as_secs()));
    }
    // Before anything is looked at: what happens meanwhile is heard.
    let changes = caller.app.ports.bus.changes(caller.principal.workspace);
    let mut wait = Wait {
        caller,
        asked: &asked,
        changes,
        until: Instant::now() + Duration::from_secs(seconds),
    };
    let (session, after) = match (&what.session_id, &what.to, &what.message_id) {
        (Some(session), None, None) => (session.clone(), what.after.unwrap_or(0)),
        (None, Some(to), Some(message)) => match wait.delivered(to, message).await? {
            Some((session, at)) => (session, what.after.unwrap_or(0).max(at)),
            None => return Ok(json!({"to": to, "message_id": message, "state": "not begun", "after": 0})),
        },
        _ => return Err("give the session_id of a session, or the to and message_id of a task".into()),
    };
    wait.rested(&session, after).await
}

struct Wait<'a> {
    caller: &'a Caller,
    asked: &'a McpAsked,
    changes: Box<dyn WakeUps>,
    until: Instant,
}

impl Wait<'_> {
    /// False when the time is over, or nobody wants to know any more.
    async fn again(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        tokio::select! {
            () = self.asked.cancelled.cancelled() => false,
            // Hints may be lost.
            _ = timeout(left.min(MCP_LOOK_AGAIN), self.changes.next()) => true,
        }
    }

    /// The session that has a task, and where in its log.
    async fn delivered(&mut self, to: &str, message: &str) -> Result<Option<(String, u64)>, String> {
        let path = format!("{}/{}", send_message::path(to)?, part(message)?);
        loop {
            let mail = self.caller.get(&path).await?;
            match (mail["state"].as_str(), mail["session_id"].as_str()) {
                (Some("dead" | "cancelled"), _) => return Err(format!("the task was not begun: {}", mail["reason"])),
                (Some("delivered"), Some(session)) => {
                    let at = Logs(self.caller).received(session, message).await?;
                    return Ok(Some((session.to_owned(), at)));
                }
                _ if !self.again().await => return Ok(None),
                _ => {}
            }
        }
    }

    async fn rested(&mut self, session: &str, mut after: u64) -> Result<Done, String> {
        let (mut said, mut rest) = (Vec::new(), None);
        let logs = Logs(self.caller);
        loop {
            let (key, status) = logs.key(session).await?;
            loop {
                let events = logs.read(key, after).await?;
                if events.is_empty() {
                    break;
                }
                for (seq, kind, payload) in events {
                    after = seq;
                    match kind.as_str() {
                        "agent.message" => said.extend(text(&payload)),
                        "session.status_idle" => rest = Some(payload["stop_reason"].clone()),
                        "user.message" | "mail.received" | "session.status_running" => rest = None,
                        _ => {}
                    }
                    self.asked.progress.tell(kind).await;
                }
            }
            let over = match (&rest, status) {
                (Some(reason), Status::Idle | Status::Terminated) => Some(("idle", reason.clone())),
                (_, Status::Terminated) => Some(("terminated", Value::Null)),
                _ if !self.again().await => Some(("running", Value::Null)),
                _ => None,
            };
            if let Some((status, reason)) = over {
                return Ok(
                    json!({"session_id": session, "status": status, "stop_reason": reason, "messages": said,
                    "after": after}),
                );
            }
        }
    }
}

/// The logs that a caller may read.
struct Logs<'a>(&'a Caller);

impl Logs<'_> {
    /// Where a message is in a log; delivered, it is there.
    async fn received(&self, session: &str, message: &str) -> Result<u64, String> {
        let key = self.key(session).await?.0;
        let mut after = 0;
        loop {
            let records = self.read(key, after).await?;
            let Some(last) = records.last() else { return Ok(after) };
            after = last.0;
            let is_it = |(_, kind, payload): &&Event| kind == "mail.received" && payload["message_id"] == message;
            if let Some((at, ..)) = records.iter().find(is_it) {
                return Ok(*at);
            }
        }
    }

    async fn key(&self, session: &str) -> Result<(SessionKey, Status), String> {
        let row = self.0.app.session(&self.0.principal, session).await;
        let row = row.map_err(|error| error.message)?;
        Ok((row.key, row.status))
    }

    async fn read(&self, key: SessionKey, after: u64) -> Result<Vec<Event>, String> {
        let limit = MCP_PAGE;
        let records = self.0.app.ports.log.read(key, ReadFrom { after, limit }).await;
        let records = records.map_err(|error| error.to_string())?;
        let event = |record: perennial_schema::event::Record| {
            let payload = serde_json::from_str(&record.payload).unwrap_or_default();
            (record.seq, record.kind, payload)
        };
        Ok(records.into_iter().map(event).collect())
    }
}

/// Number, type and payload.
type Event = (u64, String, Value);

fn text(message: &Value) -> Vec<String> {
    let blocks = message["content"].as_array().into_iter().flatten();
    blocks
        .filter_map(|block| block["text"].as_str().map(str::to_owned))
        .collect()
}
