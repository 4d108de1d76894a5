//! The other end of [`Remote`](crate::Remote): a process that reaches an executor answers what is asked of it over the bus.
//!
//! A copy or a pack may take longer than a question waits. Then the answer names a desk of this process alone, where the same
//! question finds the same work: of several workers on a host, only one does it, once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use perennial_engine::ports::{Bus, Request, Router};
use perennial_schema::frame::{FromExecutor, PackAnswer, PackAsk, ToExecutor};
use perennial_schema::{ExecutorId, PackId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pack::ANYBODY;
use crate::{limits, pack};

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "answers are made one at a time and kept nowhere"
)]
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
    let (mut asked, mut asked_again, mut anybody) = (bus.requests(at), bus.requests(desk), bus.requests(ANYBODY));
    let clerk = Arc::new(Clerk {
        router,
        at,
        desk,
        works: Mutex::default(),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
    });
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            request = asked.next() => request,
            request = asked_again.next() => request,
            request = anybody.next() => request,
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

type Work = watch::Receiver<Option<Option<FromExecutor>>>;

/// By the question, as it was asked.
#[derive(Default)]
struct Works {
    known: HashMap<Bytes, Work>,
    order: VecDeque<Bytes>,
}

struct Clerk {
    router: Arc<dyn Router>,
    at: ExecutorId,
    desk: ExecutorId,
    /// What is under way and was done last: an answer that is lost is asked for again.
    works: Mutex<Works>,
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
            Ok(ToExecutor::CopyWorkspace { from, to }) => {
                let (router, at) = (Arc::clone(&self.router), self.at);
                let copying = async move {
                    let error = router.copy_workspace(from, to, Some(at)).await.err();
                    FromExecutor::WorkspaceCopied { to, error }
                };
                self.work(body, async { Some(copying.await) }).await
            }
            Ok(ToExecutor::Pack { pack, ask }) => {
                let long = pack::is_long(&ask);
                let packing = asked(Arc::clone(&self.router), self.at, pack, ask);
                if long {
                    self.work(body, async { Some(packing.await) }).await
                } else {
                    Answer::Frame(packing.await)
                }
            }
            Ok(ToExecutor::Forget { session }) => {
                self.router.forget(session, Some(self.at)).await;
                Answer::Done
            }
            Ok(question @ ToExecutor::ReadOutput { .. }) => {
                let piece = self.router.hand_on(self.at, question).await;
                piece.map_or(Answer::Refused, Answer::Frame)
            }
            Ok(question @ ToExecutor::Call(_)) => {
                let (router, at) = (Arc::clone(&self.router), self.at);
                let asking = async move { router.hand_on(at, question).await };
                self.work(body, asking).await
            }
            Ok(question @ ToExecutor::DropOutput { .. }) => {
                self.router.hand_on(self.at, question).await;
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

    /// What came of a question, or where to ask again. Of work that was given up nothing is known.
    async fn work(&self, question: Bytes, work: impl Future<Output = Option<FromExecutor>> + Send + 'static) -> Answer {
        let mut work = self.working(question, work);
        let done = timeout(limits::RELAY_PATIENCE, work.wait_for(Option::is_some)).await;
        match done {
            Ok(Ok(done)) => done.clone().flatten().map_or(Answer::Refused, Answer::Frame),
            Ok(Err(_)) => Answer::Refused,
            Err(_) => Answer::Working { at: self.desk },
        }
    }

    /// What is under way or done already, or this.
    fn working(&self, question: Bytes, work: impl Future<Output = Option<FromExecutor>> + Send + 'static) -> Work {
        let mut works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = works.known.get(&question) {
            return known.clone();
        }
        let (done, begun) = watch::channel(None);
        self.spawn(async move {
            done.send_replace(Some(work.await));
        });
        works.known.insert(question.clone(), begun.clone());
        works.order.push_back(question);
        if works.order.len() > limits::RELAYED
            && let Some(oldest) = works.order.pop_front()
        {
            works.known.remove(&oldest);
        }
        begun
    }
}

async fn asked(router: Arc<dyn Router>, at: ExecutorId, pack: PackId, ask: PackAsk) -> FromExecutor {
    let answer = match router.pack(Some(at), pack, ask).await {
        Ok((_, answer)) => answer,
        Err(message) => PackAnswer::Failed { message },
    };
    FromExecutor::Pack { pack, at, answer }
}
