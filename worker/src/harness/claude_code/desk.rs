//! Where tool calls of the harness wait for results from the log.
//!
//! The harness asks over MCP as soon as its model wants a tool; the turn loop runs the tool from the log and brings the
//! results with the next `think`. Here the two meet by the model's id of the call. Tools that change something are asked for
//! one after the other, so a result may well be here before its question.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use perennial_router::mcp::{McpCall, McpCalls};
use perennial_schema::tool::Outcome;
use tokio::sync::watch;

use crate::harness::held::Answers;

/// One process's desk.
#[derive(Debug)]
pub(super) struct Desk {
    answers: watch::Sender<Arc<Answers>>,
    /// Calls that got their answer here.
    served: Mutex<HashSet<String>>,
}

impl Desk {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            answers: watch::Sender::new(Arc::default()),
            served: Mutex::default(),
        })
    }

    /// Puts one step's results on the desk, in place of the step before's.
    pub(super) fn post(&self, answers: Answers) {
        self.served().clear();
        self.answers.send_replace(Arc::new(answers));
    }

    /// Whether this call got its answer here. If not, the harness made one up, and its conversation is not our log any more.
    pub(super) fn has_served(&self, tool_use_id: &str) -> bool {
        self.served().contains(tool_use_id)
    }

    fn served(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl McpCalls for Desk {
    async fn call(&self, call: McpCall) -> Outcome {
        let mut answers = self.answers.subscribe();
        let found = answers
            .wait_for(|answers| answers.contains_key(&call.tool_use_id))
            .await;
        let outcome = found.ok().and_then(|answers| answers.get(&call.tool_use_id).cloned());
        self.served().insert(call.tool_use_id);
        // The sender lives as long as we do: an answer there is.
        outcome.unwrap_or_else(|| Outcome::text("the call was abandoned", true))
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

    fn answers(ids: &[&str]) -> Answers {
        ids.iter()
            .map(|id| ((*id).to_owned(), Outcome::text(*id, false)))
            .collect()
    }

    #[tokio::test]
    async fn questions_and_results_meet_in_any_order() {
        let desk = Desk::new();
        let early = tokio::spawn({
            let desk = desk.clone();
            async move { desk.call(call("a")).await }
        });
        tokio::task::yield_now().await;
        assert!(!desk.has_served("a"));
        desk.post(answers(&["a", "b"]));
        assert_eq!(early.await.unwrap(), Outcome::text("a", false));
        assert_eq!(desk.call(call("b")).await, Outcome::text("b", false));
        assert!(desk.has_served("a") && desk.has_served("b"));
        desk.post(answers(&["c"]));
        assert!(!desk.has_served("a"), "the next step starts afresh");
    }
}
