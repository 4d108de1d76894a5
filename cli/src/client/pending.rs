//! What a session is at, and what it waits for when it rests.

use serde::Deserialize;
use serde_json::Value;

use super::pages::typed;
use super::resources::Session;
use super::{Client, limits};
use crate::error::Error;

/// A session at rest.
#[derive(Debug)]
pub struct Rest {
    /// Number of its last event as of this look.
    pub head: u64,
    /// `type` of its stop reason.
    pub stop: String,
    /// Event ids of the tool uses it waits for, answered or not.
    event_ids: Vec<String>,
}

/// A tool use that waits.
#[derive(Clone, Debug, Deserialize)]
pub struct PendingUse {
    /// Event id.
    pub id: String,
    /// Event type: `agent.tool_use`, `agent.mcp_tool_use`, `agent.custom_tool_use`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Tool name.
    pub name: String,
    /// Its input.
    #[serde(default)]
    pub input: Value,
    /// `ask` when it waits for a confirmation.
    pub evaluated_permission: Option<String>,
}

impl PendingUse {
    /// Whether a yes or no is what it waits for (else it wants a result from a program).
    pub fn wants_confirmation(&self) -> bool {
        self.evaluated_permission.as_deref() == Some("ask")
    }

    /// The event a program answers it with, and the member that names this use. Tools of self-hosted environments are run
    /// by a worker that is not ours.
    pub fn result_event(&self) -> (&'static str, &'static str) {
        if self.kind == "agent.custom_tool_use" {
            ("user.custom_tool_result", "custom_tool_use_id")
        } else {
            ("user.tool_result", "tool_use_id")
        }
    }
}

#[derive(Debug, Deserialize)]
struct AnswerEvent {
    #[serde(alias = "custom_tool_use_id", alias = "mcp_tool_use_id")]
    tool_use_id: String,
}

impl Client {
    /// The session with the extension members this client lives on.
    pub async fn session(&self, session: &str) -> Result<Session, Error> {
        let query = [("include", "extensions".to_owned())];
        self.get(&format!("/v1/sessions/{session}"), &query).await?.parse()
    }

    /// The session's rest, or none while it works (or has never worked).
    pub async fn rest(&self, session: &str) -> Result<Option<Rest>, Error> {
        let found = self.session(session).await?;
        let at_rest = found.status == "idle";
        let rest = found.perennial.and_then(|extension| {
            let stop = extension.stop_reason?;
            Some(Rest {
                head: extension.head,
                stop: stop.kind,
                event_ids: stop.event_ids,
            })
        });
        Ok(rest.filter(|_| at_rest))
    }

    /// The tool uses it waits for that nobody has answered, in the order of the stop reason.
    pub async fn unanswered(&self, session: &str, rest: &Rest) -> Result<Vec<PendingUse>, Error> {
        const USES: [&str; 3] = ["agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"];
        const ANSWERS: [&str; 3] = ["user.tool_confirmation", "user.custom_tool_result", "user.tool_result"];
        let ids = &rest.event_ids;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // What is pending belongs to the last model step, so it is among the newest tool uses.
        let limit = limits::PAGE.max(ids.len());
        let uses: Vec<PendingUse> = self.newest(session, &USES, limit).await?;
        let answers: Vec<AnswerEvent> = self.newest(session, &ANSWERS, limit).await?;
        let open = |id: &&String| !answers.iter().any(|answer| answer.tool_use_id == **id);
        let find = |id: &String| uses.iter().find(|used| used.id == *id).cloned();
        Ok(ids.iter().filter(open).filter_map(find).collect())
    }

    async fn newest<T: serde::de::DeserializeOwned>(
        &self,
        session: &str,
        types: &[&str],
        limit: usize,
    ) -> Result<Vec<T>, Error> {
        let mut query = vec![("order", "desc".to_owned())];
        query.extend(types.iter().map(|kind| ("types[]", (*kind).to_owned())));
        typed(
            &self
                .list(&format!("/v1/sessions/{session}/events"), &query, limit)
                .await?,
        )
    }
}
