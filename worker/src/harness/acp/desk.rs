//! Where tool calls of the agent wait for results from the log, under ids of ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_router::mcp::{McpCall, McpCalls};
use perennial_schema::tool::Outcome;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::step::Heard;
use crate::harness::held::Answers;
use crate::limits;

/// One process's desk.
#[derive(Debug)]
pub(super) struct Desk {
    waiting: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    heard: mpsc::Sender<Heard>,
}

impl Desk {
    pub(super) fn new(heard: mpsc::Sender<Heard>) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            heard,
        })
    }

    /// Gives each waiting call its result.
    pub(super) fn post(&self, answers: Answers) {
        let mut waiting = self.waiting();
        for (id, outcome) in answers {
            if let Some(call) = waiting.remove(&id) {
                // Nobody there: then it was given up, which is heard.
                call.send(outcome).ok();
            }
        }
    }

    /// A place for one more call; none when too many wait.
    fn wait(&self, id: &str) -> Option<oneshot::Receiver<Outcome>> {
        let mut waiting = self.waiting();
        if waiting.len() >= limits::ACP_CALLS {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        waiting.insert(id.to_owned(), answer);
        Some(answered)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that nobody waits for a call any more, unless it was answered.
struct Waiting<'a> {
    id: String,
    desk: &'a Desk,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.desk.waiting().remove(&self.id).is_some() {
            // A full queue is one nobody reads; then the process is on its way out.
            self.desk.heard.try_send(Heard::GaveUp).ok();
        }
    }
}

#[async_trait]
impl McpCalls for Desk {
    /// Whatever id the agent gave it: two calls of one id could not be told apart.
    async fn call(&self, mut call: McpCall) -> Outcome {
        let id = fresh();
        call.tool_use_id.clone_from(&id);
        let Some(answered) = self.wait(&id) else {
            return Outcome::text("too many calls wait for their results already", true);
        };
        let _waiting = Waiting { id, desk: self };
        if self.heard.send(Heard::Call(call)).await.is_err() {
            return Outcome::text("the call was abandoned", true);
        }
        // The sender lives until there is an answer: an error cannot be.
        let outcome = answered.await;
        outcome.unwrap_or_else(|_| Outcome::text("the call was abandoned", true))
    }

    fn name(&self) -> Option<String> {
        Some(fresh())
    }
}

fn fresh() -> String {
    format!("acp_{}", Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use perennial_schema::event::Raw;
    use serde_json::json;

    use super::*;

    fn call() -> McpCall {
        McpCall {
            tool: "bash".into(),
            arguments: Raw::of(&json!({})),
            tool_use_id: "theirs".into(),
        }
    }

    fn asked(desk: &Arc<Desk>) -> tokio::task::JoinHandle<Outcome> {
        let desk = desk.clone();
        tokio::spawn(async move { desk.call(call()).await })
    }

    async fn named(heard: &mut mpsc::Receiver<Heard>) -> String {
        match heard.recv().await {
            Some(Heard::Call(call)) => call.tool_use_id,
            other => panic!("no call: {other:?}"),
        }
    }

    #[tokio::test]
    async fn calls_of_one_id_are_two_and_each_gets_its_own_result() {
        let (tx, mut heard) = mpsc::channel(8);
        let desk = Desk::new(tx);
        let first = asked(&desk);
        let one = named(&mut heard).await;
        let second = asked(&desk);
        let two = named(&mut heard).await;
        assert!(one != two && one.starts_with("acp_"), "{one} {two}");
        desk.post([(two, Outcome::text("two", false))].into());
        assert_eq!(second.await.unwrap(), Outcome::text("two", false));
        desk.post([(one, Outcome::text("one", false))].into());
        assert_eq!(first.await.unwrap(), Outcome::text("one", false));
        assert!(heard.try_recv().is_err(), "answered, not given up");
    }

    #[tokio::test]
    async fn who_stops_waiting_is_noticed() {
        let (tx, mut heard) = mpsc::channel(8);
        let desk = Desk::new(tx);
        let asked = asked(&desk);
        named(&mut heard).await;
        asked.abort();
        assert!(matches!(heard.recv().await, Some(Heard::GaveUp)));
    }

    #[tokio::test]
    async fn more_calls_than_anybody_makes_are_refused() {
        let (tx, mut heard) = mpsc::channel(limits::ACP_CALLS);
        let desk = Desk::new(tx);
        let waiting: Vec<_> = (0..limits::ACP_CALLS).map(|_| asked(&desk)).collect();
        for _ in &waiting {
            named(&mut heard).await;
        }
        assert!(desk.call(call()).await.is_error);
        waiting[0].abort();
        assert!(matches!(heard.recv().await, Some(Heard::GaveUp)));
        let _again = asked(&desk);
        named(&mut heard).await;
    }
}
