//! Where tool calls of the agent wait for results from the log, under ids of ours.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use perennial_router::mcp::{McpCall, McpCalls};
use perennial_schema::tool::Outcome;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::step::Heard;

/// Results by our id of the call.
pub(super) type Answers = HashMap<String, Outcome>;

/// One process's desk.
#[derive(Debug)]
pub(super) struct Desk {
    answers: watch::Sender<Arc<Answers>>,
    heard: mpsc::Sender<Heard>,
}

impl Desk {
    pub(super) fn new(heard: mpsc::Sender<Heard>) -> Arc<Self> {
        Arc::new(Self {
            answers: watch::Sender::new(Arc::default()),
            heard,
        })
    }

    /// Puts one step's results on the desk, beside those of the steps before: a call may be slow to fetch its own.
    pub(super) fn post(&self, more: Answers) {
        self.answers.send_modify(|answers| Arc::make_mut(answers).extend(more));
    }
}

/// Says that nobody waits for a call any more, unless it was answered.
struct Waiting {
    id: Option<String>,
    heard: mpsc::Sender<Heard>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // A full queue is one nobody reads; then the process is on its way out.
            self.heard.try_send(Heard::GaveUp(id)).ok();
        }
    }
}

#[async_trait]
impl McpCalls for Desk {
    async fn call(&self, call: McpCall) -> Outcome {
        let id = call.tool_use_id.clone();
        let mut answers = self.answers.subscribe();
        let mut waiting = Waiting {
            id: Some(id.clone()),
            heard: self.heard.clone(),
        };
        if self.heard.send(Heard::Call(call)).await.is_err() {
            return Outcome::text("the call was abandoned", true);
        }
        let found = answers.wait_for(|answers| answers.contains_key(&id)).await;
        let outcome = found.ok().and_then(|answers| answers.get(&id).cloned());
        waiting.id = None;
        // The sender lives as long as we do: an answer there is.
        outcome.unwrap_or_else(|| Outcome::text("the call was abandoned", true))
    }

    fn name(&self) -> Option<String> {
        Some(format!("acp_{}", Uuid::now_v7().simple()))
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::event::Raw;
    use serde_json::json;

    use super::*;

    fn call(id: &str) -> McpCall {
        McpCall {
            tool: "bash".into(),
            arguments: Raw::of(&json!({})),
            tool_use_id: id.into(),
        }
    }

    #[tokio::test]
    async fn a_call_is_heard_and_waits_for_its_result() {
        let (tx, mut heard) = mpsc::channel(8);
        let desk = Desk::new(tx);
        let asked = tokio::spawn({
            let desk = desk.clone();
            async move { desk.call(call("a")).await }
        });
        assert!(matches!(heard.recv().await, Some(Heard::Call(call)) if call.tool_use_id == "a"));
        desk.post([("b".into(), Outcome::text("b", false))].into());
        desk.post([("a".into(), Outcome::text("a", false))].into());
        assert_eq!(asked.await.unwrap(), Outcome::text("a", false));
        assert!(heard.try_recv().is_err(), "answered, not given up");
    }

    #[tokio::test]
    async fn who_stops_waiting_is_noticed() {
        let (tx, mut heard) = mpsc::channel(8);
        let desk = Desk::new(tx);
        let asked = tokio::spawn({
            let desk = desk.clone();
            async move { desk.call(call("a")).await }
        });
        assert!(matches!(heard.recv().await, Some(Heard::Call(_))));
        asked.abort();
        assert!(matches!(heard.recv().await, Some(Heard::GaveUp(id)) if id == "a"));
    }
}
