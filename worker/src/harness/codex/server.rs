//! One `codex app-server` that many threads share: requests, answers, and what it says to whom. It dies with the last who
//! holds it; when it dies by itself, everything that waits for it hears why.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use perennial_engine::ports::ModelError;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::line::Line;
use super::message::{self, Answer, Message, Said};
use super::{config, rollout};
use crate::harness::fault::transient;
use crate::harness::process::{Home, Install, Process, Version};
use crate::limits;

/// How long it may take to answer one of our requests; the longest is its start on a cold machine.
const ANSWER: Duration = Duration::from_secs(30);

type Answered = oneshot::Sender<Result<Answer, String>>;

/// A running app-server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) line: Line,
    pub(super) version: Version,
    process: Option<u32>,
    home: PathBuf,
    seen: PathBuf,
    work: PathBuf,
    desk: Arc<Desk>,
    next_id: AtomicU64,
    /// Threads it has had.
    entered: AtomicU64,
    _stop: DropGuard,
}

/// Where what it says finds whom it is for.
#[derive(Debug)]
struct Desk {
    out: mpsc::Sender<String>,
    state: Mutex<State>,
    /// A thread left.
    left: Notify,
    /// Why it died, once it has.
    died: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, Answered>,
    threads: HashMap<Uuid, mpsc::Sender<Said>>,
    /// Threads it still knows.
    known: HashSet<Uuid>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: &[u8]) -> Option<String> {
        match message::parse(line) {
            Ok(Message::Answer { id, result }) => {
                let waiting = self.state().waiting.remove(&id)?;
                let _ = waiting.send(result);
            }
            Ok(Message::OfThread { thread, said }) => {
                let mut state = self.state();
                let full = state
                    .threads
                    .get(&thread)
                    .is_some_and(|inbox| inbox.try_send(said).is_err());
                if full {
                    state.threads.remove(&thread);
                }
            }
            Ok(Message::Unknown { id }) => return Some(message::refusal(&id)),
            Ok(Message::Other) => {}
            Err(error) => tracing::warn!(%error, "codex sent a line of an unknown shape"),
        }
        None
    }
}

impl Server {
    /// Starts one and says hello.
    pub(super) async fn start(
        install: &Install,
        catalogue: &str,
        scratch: Option<&Path>,
    ) -> Result<Arc<Self>, ModelError> {
        let failed = |error: std::io::Error| transient(format!("Codex could not be started: {error}"));
        let line = Line::listen().await.map_err(failed)?;
        let home = Home::make(install, "codex-", scratch).map_err(failed)?;
        let (path, seen, work) = (home.path().to_owned(), home.seen().to_owned(), home.work());
        write_files(&home, catalogue).map_err(failed)?;
        let mut command = install.command(&home);
        command
            .arg("app-server")
            .env("CODEX_HOME", &seen)
            .env("RUST_LOG", "error");
        let process = Process::spawn(command, home).map_err(failed)?;
        let (out, said) = mpsc::channel(limits::CODEX_LINES);
        let desk = Arc::new(Desk {
            out,
            state: Mutex::default(),
            left: Notify::new(),
            died: watch::Sender::new(None),
        });
        let stop = CancellationToken::new();
        let id = process.id();
        tokio::spawn(drive(process, said, desk.clone(), stop.clone()));
        let server = Arc::new(Self {
            line,
            version: install.version,
            process: id,
            home: path,
            seen,
            work,
            desk,
            next_id: AtomicU64::new(1),
            entered: AtomicU64::new(0),
            _stop: stop.drop_guard(),
        });
        let hello = json!({
            "clientInfo": {"name": "perennial", "title": "Perennial", "version": env!("CARGO_PKG_VERSION")},
            "capabilities": {"experimentalApi": true, "optOutNotificationMethods": message::UNHEARD},
        });
        server.request("initialize", &hello).await?;
        server.say(message::notification("initialized")).await?;
        Ok(server)
    }

    /// Asks for something and waits until it is done.
    pub(super) async fn request(&self, method: &str, params: &Value) -> Result<Answer, ModelError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        self.desk.state().waiting.insert(id, answered);
        let asked = async {
            self.say(message::request(id, method, params)).await?;
            match answer.await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(why)) => Err(transient(format!("Codex refused {method}: {why}"))),
                Err(_) => Err(self.dead()),
            }
        };
        let done = timeout(ANSWER, asked).await;
        self.desk.state().waiting.remove(&id);
        done.unwrap_or_else(|_| {
            self.kill();
            Err(transient(format!("Codex did not answer {method} in time")))
        })
    }

    /// Writes a line to it.
    pub(super) async fn say(&self, line: String) -> Result<(), ModelError> {
        self.desk.out.send(line).await.map_err(|_| self.dead())
    }

    /// Waits until it dies by itself.
    pub(super) async fn died(&self) -> ModelError {
        let mut died = self.desk.died.subscribe();
        let _ = died.wait_for(Option::is_some).await;
        self.dead()
    }

    /// Whether new threads may enter: it lives, and has not had so many that its files have grown large.
    pub(super) fn takes_threads(&self) -> bool {
        self.desk.died.borrow().is_none() && self.entered.load(Ordering::Relaxed) < limits::CODEX_THREADS_IN_ALL
    }

    /// Whether it has no threads.
    pub(super) fn is_idle(&self) -> bool {
        self.desk.state().known.is_empty()
    }

    /// How many threads it has had.
    pub(super) fn entered(&self) -> u64 {
        self.entered.load(Ordering::Relaxed)
    }

    pub(super) const fn process_id(&self) -> Option<u32> {
        self.process
    }

    /// Its working folder and the file of a thread, as it sees them.
    pub(super) fn paths(&self, thread: Uuid) -> (&Path, PathBuf) {
        (&self.work, self.seen.join(rollout::file(thread)))
    }

    /// Writes a thread's file.
    pub(super) async fn write(&self, thread: Uuid, text: String) -> Result<(), ModelError> {
        let file = self.home.join(rollout::file(thread));
        let written = tokio::fs::write(&file, text).await;
        written.map_err(|error| transient(format!("the conversation could not be written for Codex: {error}")))
    }

    /// Registers a thread. One that was there before is waited for until Codex has forgotten it: to resume a thread that it
    /// still knows would be to join it.
    pub(super) async fn enter(self: &Arc<Self>, thread: Uuid) -> Seat {
        let (inbox, heard) = mpsc::channel(limits::CODEX_LINES);
        loop {
            let left = self.desk.left.notified();
            {
                let mut state = self.desk.state();
                if state.known.len() < limits::CODEX_THREADS && state.known.insert(thread) {
                    state.threads.insert(thread, inbox);
                    break;
                }
            }
            left.await;
        }
        self.entered.fetch_add(1, Ordering::Relaxed);
        Seat {
            server: self.clone(),
            thread,
            heard,
        }
    }

    fn kill(&self) {
        if let Some(process) = self.process.and_then(|id| i32::try_from(id).ok()) {
            let group = nix::unistd::Pid::from_raw(process);
            if self.desk.died.borrow().is_none() {
                let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }

    fn dead(&self) -> ModelError {
        let why = self.desk.died.borrow().clone().unwrap_or_default();
        transient(format!("Codex ended: {why}"))
    }
}

/// A thread's place; when it is dropped, the thread is deleted in the background.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) server: Arc<Server>,
    pub(super) thread: Uuid,
    heard: mpsc::Receiver<Said>,
}

impl Seat {
    /// What the thread says next; none when the process is gone, or said more than anybody could want.
    pub(super) async fn next(&mut self) -> Option<Said> {
        self.heard.recv().await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (server, thread) = (self.server.clone(), self.thread);
        server.desk.state().threads.remove(&thread);
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            // Stops whatever it does, forgets it and removes its file.
            if let Err(error) = server.request("thread/delete", &json!({"threadId": thread})).await {
                tracing::debug!(%error, "codex did not delete a thread");
                let _ = tokio::fs::remove_file(server.home.join(rollout::file(thread))).await;
            }
            server.desk.state().known.remove(&thread);
            server.desk.left.notify_waiters();
        });
    }
}

fn write_files(home: &Home, catalogue: &str) -> std::io::Result<()> {
    let folder = home.path();
    std::fs::write(folder.join(config::CATALOGUE), catalogue)?;
    std::fs::write(folder.join(config::FILE), config::process(home.seen()))?;
    let sessions = folder.join(rollout::file(Uuid::nil()));
    sessions.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// Carries lines both ways until one side ends.
async fn drive(mut process: Process, mut said: mpsc::Receiver<String>, desk: Arc<Desk>, stop: CancellationToken) {
    let why = loop {
        let line = tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            Some(line) = said.recv() => Some(line),
            heard = process.next() => match heard {
                Ok(Some(line)) => desk.take(&line),
                Ok(None) => break Some(String::new()),
                Err(error) => break Some(error.to_string()),
            },
        };
        if let Some(line) = line
            && let Err(error) = process.say(&line).await
        {
            break Some(error.to_string());
        }
    };
    let Some(why) = why else {
        process.end().await;
        return;
    };
    let why = format!("{why} {}", process.epitaph().await);
    tracing::warn!(why, "codex ended");
    desk.died.send_replace(Some(why.trim().to_owned()));
    said.close();
    let mut state = desk.state();
    state.waiting.clear();
    state.threads.clear();
}
