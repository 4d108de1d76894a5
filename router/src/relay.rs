//! The other end of [`Remote`](crate::Remote): a process that reaches an executor answers what is asked of it over the bus.
//!
//! A copy may take longer than a question waits. Then the answer names a desk of this process alone, where the same question
//! finds the same copy: of several workers on a host, only one does it, once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use perennial_engine::ports::{Bus, Request, Router};
use perennial_schema::frame::{FromExecutor, ToExecutor};
use perennial_schema::{ExecutorId, SessionId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits;

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// What the executor said.
    Frame(FromExecutor),
    /// It is under way: ask again here.
    Working {
        /// The desk of the process that does it.
        at: ExecutorId,
    },
    /// It is done, and there is nothing to say.
    Done,
    /// Not something that is asked over the bus.
    Refused,
}

/// Answers questions to the executor `at` through `router`, until `stop`. `desk` is an id that nobody else has.
pub async fn relay(
    router: Arc<dyn Router>,
    bus: Arc<dyn Bus>,
    at: ExecutorId,
    desk: ExecutorId,
    stop: CancellationToken,
) {
    let (mut asked, mut asked_again) = (bus.requests(at), bus.requests(desk));
    let clerk = Arc::new(Clerk {
        router,
        at,
        desk,
        copies: Mutex::default(),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
    });
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            request = asked.next() => request,
            request = asked_again.next() => request,
        };
        let Some(request) = request else { break };
        if clerk.tasks.len() >= limits::RELAYED {
            // Unanswered: it is asked again.
            continue;
        }
        let answering = Arc::clone(&clerk);
        clerk.spawn(async move { answering.answer(request).await });
    }
    clerk.tasks.close();
    clerk.tasks.wait().await;
}

type Copied = watch::Receiver<Option<Result<(), String>>>;

#[derive(Default)]
struct Copies {
    known: HashMap<(SessionId, SessionId), Copied>,
    order: VecDeque<(SessionId, SessionId)>,
}

struct Clerk {
    router: Arc<dyn Router>,
    at: ExecutorId,
    desk: ExecutorId,
    /// Copies under way and the last ones done: an answer that is lost is asked for again.
    copies: Mutex<Copies>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Clerk {
    /// Until done or stopped: who asks a process that ends asks another one.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    async fn answer(&self, Request { body, reply }: Request) {
        let answer = match serde_json::from_slice(&body) {
            Ok(ToExecutor::CopyWorkspace { from, to }) => self.copy(from, to).await,
            Ok(ToExecutor::Forget { session }) => {
                self.router.forget(session, Some(self.at)).await;
                Answer::Done
            }
            Ok(_) => Answer::Refused,
            Err(error) => {
                tracing::warn!(%error, "a question over the bus cannot be read");
                Answer::Refused
            }
        };
        match serde_json::to_vec(&answer) {
            Ok(answer) => reply(Bytes::from(answer)),
            Err(error) => tracing::warn!(%error, "an answer cannot be written"),
        }
    }

    async fn copy(&self, from: SessionId, to: SessionId) -> Answer {
        let mut copied = self.copying(from, to);
        let done = timeout(limits::RELAY_PATIENCE, copied.wait_for(Option::is_some)).await;
        match done {
            Err(_) => Answer::Working { at: self.desk },
            Ok(Ok(done)) => Answer::Frame(FromExecutor::WorkspaceCopied {
                to,
                error: done.clone().and_then(Result::err),
            }),
            Ok(Err(_)) => Answer::Frame(FromExecutor::WorkspaceCopied {
                to,
                error: Some("the copy was given up".into()),
            }),
        }
    }

    /// The copy that is under way or done already, or a new one.
    fn copying(&self, from: SessionId, to: SessionId) -> Copied {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copied) = copies.known.get(&(from, to)) {
            return copied.clone();
        }
        let (done, copied) = watch::channel(None);
        let (router, at) = (Arc::clone(&self.router), self.at);
        self.spawn(async move {
            let result = router.copy_workspace(from, to, Some(at)).await;
            done.send_replace(Some(result));
        });
        copies.known.insert((from, to), copied.clone());
        copies.order.push_back((from, to));
        if copies.order.len() > limits::RELAYED
            && let Some(oldest) = copies.order.pop_front()
        {
            copies.known.remove(&oldest);
        }
        copied
    }
}
