//! The vendors' APIs on a port: strict as they are, and remembering what came.
//!
//! Answers are those pushed with [`Server::push`], in order; when there are none, the server obeys the rehearsal script in
//! the newest prompt, so that whole conversations need no set-up. Keys are wanted and not checked.

mod routes;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::limits;
use crate::play::{Manner, Rehearsal, read};
use crate::reply::Reply;
use crate::validate::{self, Issued};
use crate::wire::{Response, Wire};

/// How a server behaves.
#[derive(Clone)]
pub struct Settings {
    /// Answers a request that a vendor would refuse with what the vendor says, instead of noting it and going on.
    pub strict: bool,
    /// Requests kept for [`Server::requests`]; the oldest go first.
    pub keep: usize,
    /// Where its model differs from others.
    pub manner: Manner,
    /// Is told of each request.
    pub watch: Option<Arc<dyn Watch>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strict: true,
            keep: 0,
            manner: Manner::default(),
            watch: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("strict", &self.strict)
            .field("keep", &self.keep)
            .field("manner", &self.manner)
            .finish_non_exhaustive()
    }
}

/// Is told of each request when its answer begins.
pub trait Watch: Send + Sync {
    /// One came. Must not wait.
    fn seen(&self, received: &Received, outcome: &Outcome);
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status of the answer.
    pub status: u16,
    /// What a vendor would have refused, in words.
    pub violation: Option<String>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Whose API it speaks.
    pub wire: Wire,
    /// Below the origin.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, verbatim.
    pub raw: String,
    /// The body, parsed; null if it is not JSON.
    pub body: Value,
    /// When it was complete.
    pub at: Instant,
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    desk: Arc<Desk>,
    task: AbortOnDropHandle<io::Result<()>>,
}

/// What the routes share.
#[derive(Debug)]
struct Desk {
    settings: Settings,
    rehearsal: Rehearsal,
    log: Mutex<Log>,
    abandoned: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Log {
    queue: VecDeque<Reply>,
    requests: VecDeque<Received>,
    violations: VecDeque<String>,
    issued: Issued,
}

impl Server {
    /// Serves on this listener.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start(listener: TcpListener, settings: Settings) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            rehearsal: Rehearsal::new(settings.manner),
            settings,
            log: Mutex::default(),
            abandoned: watch::Sender::new(0),
        });
        let router = routes::router(desk.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await }));
        Ok(Self { address, desk, task })
    }

    /// Where it listens: what `ANTHROPIC_BASE_URL` is to be; `OPENAI_BASE_URL` ends in `/v1` besides.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next request that has no answer yet.
    pub fn push(&self, reply: impl Into<Reply>) {
        self.desk.log().queue.push_back(reply.into());
    }

    /// When the newest request was complete.
    #[must_use]
    pub fn last_arrival(&self) -> Option<Instant> {
        self.desk.log().requests.back().map(|request| request.at)
    }

    /// Every request for an answer so far that is kept.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.desk.log().requests.iter().cloned().collect()
    }

    /// What a vendor would have refused, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.desk.log().violations.iter().cloned().collect()
    }

    /// How many answers were left by their client before their end.
    #[must_use]
    pub fn abandoned(&self) -> watch::Receiver<usize> {
        self.desk.abandoned.subscribe()
    }

    /// Waits for its end, which only a broken listener brings.
    ///
    /// # Errors
    /// How it broke.
    pub async fn ended(self) -> io::Result<()> {
        self.task.await.map_err(io::Error::other)?
    }
}

impl Desk {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to answer: a refusal of what is wrong, what was pushed, or what the script in the prompt says.
    fn respond(&self, received: Received) -> Response {
        let mut log = self.log();
        let log = &mut *log;
        let (refusal, violation) = self.check(&received, &log.issued);
        if let Some(violation) = &violation {
            log.violations.push_back(violation.clone());
            if log.violations.len() > limits::VIOLATIONS {
                log.violations.pop_front();
            }
        }
        let (wire, body) = (received.wire, &received.body);
        let response = match refusal {
            Some(refusal) => refusal.into(),
            None => {
                let reply = log.queue.pop_front();
                let reply = reply.unwrap_or_else(|| self.rehearsal.reply(wire, body));
                self.rehearsal.respond(wire, body, reply, &mut log.issued)
            }
        };
        self.note(&received, response.status, violation);
        if self.settings.keep > 0 {
            log.requests.push_back(received);
            if log.requests.len() > self.settings.keep {
                log.requests.pop_front();
            }
        }
        response
    }

    /// Counts what a model would read; the queue is not for this.
    fn count(&self, received: &Received) -> Response {
        let checked = validate::count_tokens(&received.body, &self.log().issued);
        let (refusal, violation) = self.verdict(received, checked);
        let reply = refusal.unwrap_or_else(|| {
            let count = crate::cue::tokens_of(read(&received.body));
            Reply::json(200, &serde_json::json!({"input_tokens": count}))
        });
        let response = Response::from(reply);
        self.note(received, response.status, violation);
        response
    }

    fn note(&self, received: &Received, status: u16, violation: Option<String>) {
        if let Some(watch) = &self.settings.watch {
            watch.seen(received, &Outcome { status, violation });
        }
    }

    fn check(&self, received: &Received, issued: &Issued) -> (Option<Reply>, Option<String>) {
        self.verdict(received, validate::check(received.wire, &received.body, issued))
    }

    /// What is refused and what is noted.
    fn verdict(&self, received: &Received, checked: validate::Checked) -> (Option<Reply>, Option<String>) {
        let Received { wire, headers, .. } = received;
        if let Some(refusal) = routes::stranger(*wire, headers) {
            return (Some(refusal), None);
        }
        let problem = match wire {
            Wire::Messages if !headers.contains_key("anthropic-version") => {
                Some("anthropic-version: header is required".to_owned())
            }
            _ => checked.err(),
        };
        match problem {
            Some(problem) => {
                let refusal = Reply::refusal(*wire, 400, &problem);
                (Some(refusal).filter(|_| self.settings.strict), Some(problem))
            }
            None => (None, None),
        }
    }
}
