//! A call in memory: what it is to do, who waits for it, and how its end is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use perennial_schema::frame::{Call, FromExecutor, Refusal};
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, Secret, SessionId};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::limits::SEARCH_TIME;
use crate::serve::Link;
use crate::tools::Plan;
use crate::workspace::Folder;

/// One of the calls that may run or wait, and the room that its input takes.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// A call that runs or waits for the shell.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) tool: String,
    pub(crate) args_hash: String,
    pub(crate) epoch: u64,
    pub(crate) effect: Effect,
    pub(crate) cancel: CancellationToken,
    /// Who cancelled, for the outcome.
    pub(crate) why: Arc<OnceLock<&'static str>>,
    /// Variables of its shell.
    pub(crate) variables: IndexMap<String, String>,
    /// What a step needs; gone when it is begun.
    pub(crate) secret: Option<Secret>,
    /// What is not begun yet.
    pub(crate) waiting: Option<(Plan, Folder)>,
    /// Who hears what it prints.
    pub(crate) aloud: Option<Link>,
    waiters: Vec<Link>,
    _place: Place,
}

impl Running {
    pub(crate) fn new(call: &Call, effect: Effect, link: Link, place: Place) -> Self {
        Self {
            tool: call.tool.clone(),
            args_hash: call.args_hash.clone(),
            epoch: call.epoch,
            effect,
            cancel: CancellationToken::new(),
            why: Arc::default(),
            variables: call.variables.clone(),
            secret: call.secret.clone(),
            waiting: None,
            aloud: call.progress.then(|| link.clone()),
            waiters: vec![link],
            _place: place,
        }
    }

    /// The result will be told on this link too, once. From now on it is done in the name of the newest lease that asked.
    pub(crate) fn attach(&mut self, link: Link, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        if !self.waiters.contains(&link) {
            self.waiters.push(link);
        }
    }

    pub(crate) fn cancel(&self, why: &'static str) {
        let _ = self.why.set(why);
        self.cancel.cancel();
    }

    pub(crate) async fn tell(self, session: SessionId, call_id: EventId, outcome: Outcome) {
        for link in self.waiters {
            let outcome = outcome.clone();
            link.send(FromExecutor::Result {
                session,
                call_id,
                outcome,
            })
            .await;
        }
    }

    pub(crate) async fn refuse(self, session: SessionId, call_id: EventId, reason: Refusal) {
        for link in self.waiters {
            link.refuse(session, call_id, reason.clone()).await;
        }
    }
}

/// Tells work on a blocking thread to stop: it was cancelled, or has had its time.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    cancelled: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self::within(SEARCH_TIME)
    }

    pub(crate) fn within(time: Duration) -> Self {
        Self {
            cancelled: Arc::default(),
            deadline: Instant::now() + time,
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> bool {
        self.is_cancelled() || Instant::now() > self.deadline
    }
}
