//! One session's calls: a task that owns its journal, its running calls and its shell, and handles one request after the other.
//! So epochs, journal lines and answers of a session have one order, and no lock is needed.
//!
//! The order of a call: known? → slot → (its turn at the shell) → `started` on disk → act → `result` on disk → answer.
//! A `bash` call that waits for the shell is not started: after a crash it may be sent again.

mod begin;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perennial_schema::frame::{Call, CallState, FromExecutor, Refusal, Settle};
use perennial_schema::step;
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, SessionId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blot::Blot;
use crate::call::Running;
use crate::journal::{JournalFile, Known, Process, Stored};
use crate::limits::{CROWDED_IDLE, STOPPED};
use crate::panes::Kept;
use crate::policy::Ask;
use crate::process::kill_leftover;
use crate::serve::{House, Link};
use crate::shell::Shell;
use crate::tools::{self, Plan};

/// What a session is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// And the room its input takes.
    Call(Box<Call>, Link, OwnedSemaphorePermit),
    Settle(Settle, Link),
    Cancel {
        epoch: u64,
        call_id: EventId,
        link: Link,
    },
    Forget,
}

/// A call is over.
#[derive(Debug)]
struct Ended {
    call_id: EventId,
    outcome: Outcome,
    /// It ran in the shell.
    bash: bool,
}

/// A session in memory.
pub(crate) struct Session {
    id: SessionId,
    house: Arc<House>,
    rx: mpsc::Receiver<Request>,
    /// None until the first request that needs it, and after it could not be read.
    journal: Option<Arc<Mutex<JournalFile>>>,
    running: HashMap<EventId, Running>,
    /// `bash` calls that wait for the shell, in order of arrival.
    queue: VecDeque<EventId>,
    in_shell: Option<EventId>,
    /// Tells when it is this session's turn to have a shell, while all are busy.
    seat: Option<oneshot::Receiver<()>>,
    /// It is.
    turn: bool,
    shell: Option<Shell>,
    /// What commands in an editor's terminals hand on: all there is of a shell there.
    kept: Arc<Mutex<Option<Kept>>>,
    /// A shell of this session existed in this process: a new one is a surprise that the model is told of.
    had_shell: bool,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    /// Calls that the owner allowed.
    allowed: (mpsc::UnboundedSender<EventId>, mpsc::UnboundedReceiver<EventId>),
    /// Calls that were stopped before they came: what overtook them on another way.
    stopped: VecDeque<EventId>,
    last_used: Instant,
}

impl Session {
    pub(crate) fn new(id: SessionId, house: Arc<House>, rx: mpsc::Receiver<Request>) -> Self {
        Self {
            id,
            house,
            rx,
            journal: None,
            running: HashMap::new(),
            queue: VecDeque::new(),
            in_shell: None,
            seat: None,
            turn: false,
            shell: None,
            kept: Arc::default(),
            had_shell: false,
            // As many as there are slots for calls, so bounded.
            ended: mpsc::unbounded_channel(),
            allowed: mpsc::unbounded_channel(),
            stopped: VecDeque::new(),
            last_used: Instant::now(),
        }
    }

    pub(crate) async fn run(mut self) {
        let (stop, closing) = (self.house.stop.clone(), self.house.closing.clone());
        loop {
            let rest = self.last_used + self.rest();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ended) = self.ended.1.recv() => self.end(ended).await,
                Some(call_id) = self.allowed.1.recv() => self.begin(call_id).await,
                () = seated(&mut self.seat) => self.take_turn().await,
                () = closing.cancelled() => return self.close().await,
                Some(request) = self.rx.recv() => self.answer(request).await,
                () = tokio::time::sleep_until(rest), if self.running.is_empty() => if self.idle().await { return },
            }
        }
    }

    /// How long nothing happens before something is let go.
    fn rest(&self) -> std::time::Duration {
        if self.shell.is_some() || self.kept().is_some() {
            self.house.config.limits.shell_idle
        } else {
            self.house.stay()
        }
    }

    /// Lets go of the shell, then of the session; `true` when it has left.
    async fn idle(&mut self) -> bool {
        self.last_used = Instant::now();
        if self.shell.is_some() || self.kept().is_some() {
            self.end_shell().await;
            return false;
        }
        let stored = match self.journal.clone() {
            Some(journal) => on_disk(&journal, |journal| Ok(journal.flush().is_ok() && journal.is_stored()))
                .await
                .unwrap_or(false),
            None => true,
        };
        if !stored {
            // The disk is full, say: not again at once.
            self.last_used += CROWDED_IDLE;
        }
        stored && self.house.leave(self.id, &self.rx)
    }

    async fn close(mut self) {
        self.rx.close();
        self.cancel_all("the executor is shutting down");
        while !self.running.is_empty() {
            let Some(ended) = self.ended.1.recv().await else { break };
            self.end(ended).await;
        }
        self.end_shell().await;
        while let Some(request) = self.rx.recv().await {
            match request {
                Request::Call(call, link, _) => link.refuse(self.id, call.call_id, Refusal::Busy).await,
                Request::Settle(Settle { call_id, .. }, link) | Request::Cancel { call_id, link, .. } => {
                    link.refuse(self.id, call_id, Refusal::Busy).await;
                }
                Request::Forget => {}
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        self.last_used = Instant::now();
        match request {
            Request::Call(call, link, room) => self.call(*call, link, room).await,
            Request::Settle(settle, link) => self.settle(&settle, &link).await,
            Request::Cancel { epoch, call_id, link } => {
                if let Err(reason) = self.admit(epoch).await {
                    return link.refuse(self.id, call_id, reason).await;
                }
                if !self.running.contains_key(&call_id) {
                    self.stopped.truncate(STOPPED - 1);
                    self.stopped.push_front(call_id);
                }
                self.cancel(call_id, "asked to stop");
            }
            Request::Forget => {
                self.cancel_all("the session was deleted");
                let (house, session) = (Arc::clone(&self.house), self.id);
                let _ = tokio::task::spawn_blocking(move || {
                    house.outputs.forget(session);
                    house.forget_journal(session);
                })
                .await;
                // A running command ends the shell with it.
                if self.in_shell.is_none() {
                    self.end_shell().await;
                }
            }
        }
    }

    /// Reads the journal if need be and checks the epoch; a raise is durable before anything is done in its name (I4).
    async fn admit(&mut self, epoch: u64) -> Result<Arc<Mutex<JournalFile>>, Refusal> {
        let journal = match &self.journal {
            Some(journal) => Arc::clone(journal),
            None => self.load().await.map_err(unavailable)?,
        };
        let seen = locked(&journal).epoch();
        if epoch < seen {
            return Err(Refusal::StaleEpoch { seen });
        }
        if epoch > seen {
            on_disk(&journal, move |journal| journal.raise_epoch(epoch))
                .await
                .map_err(unavailable)?;
        }
        Ok(journal)
    }

    async fn load(&mut self) -> std::io::Result<Arc<Mutex<JournalFile>>> {
        let (house, id) = (Arc::clone(&self.house), self.id);
        let load = move || -> std::io::Result<JournalFile> {
            let journal = house.journal.session(id)?;
            // Before this process says that a call is lost, nothing of it may be alive (DESIGN §8).
            for Process { pgid, start_time } in journal.unfinished() {
                kill_leftover(pgid, start_time).map_err(std::io::Error::other)?;
            }
            Ok(journal)
        };
        let loaded = tokio::task::spawn_blocking(load).await.map_err(std::io::Error::other)?;
        let journal =
            loaded.inspect_err(|error| tracing::error!(session.id = %id, %error, "a call journal cannot be read"))?;
        self.had_shell |= journal.had_shell();
        let journal = Arc::new(Mutex::new(journal));
        self.journal = Some(Arc::clone(&journal));
        Ok(journal)
    }

    async fn call(&mut self, call: Call, link: Link, room: OwnedSemaphorePermit) {
        if let Err(reason) = self.take(&call, &link, room).await {
            link.refuse(self.id, call.call_id, reason).await;
        }
    }

    async fn take(&mut self, call: &Call, link: &Link, room: OwnedSemaphorePermit) -> Result<(), Refusal> {
        let journal = self.admit(call.epoch).await?;
        if let Some(running) = self.running.get_mut(&call.call_id) {
            if running.args_hash != call.args_hash {
                return Err(Refusal::OtherArguments);
            }
            running.attach(link.clone(), call.epoch);
            return Ok(());
        }
        let (call_id, hash) = (call.call_id, call.args_hash.clone());
        let known = on_disk(&journal, move |journal| journal.known(call_id, &hash))
            .await
            .map_err(unavailable)?;
        match known {
            Known::OtherArguments => Err(Refusal::OtherArguments),
            Known::Done(outcome) => {
                self.result(call_id, outcome, link).await;
                Ok(())
            }
            // Its own cancel was here before it.
            Known::Never if self.stopped.contains(&call_id) => {
                let outcome = Outcome::text("[cancelled (asked to stop): it was not begun]", true);
                self.result(call_id, outcome, link).await;
                Ok(())
            }
            Known::Started { effect } if effect == Effect::Once || call.effect == Effect::Once => Err(Refusal::Lost),
            Known::Started { .. } | Known::Never => self.accept(call, link, room).await,
        }
    }

    async fn result(&self, call_id: EventId, outcome: Outcome, link: &Link) {
        let session = self.id;
        link.send(FromExecutor::Result {
            session,
            call_id,
            outcome,
        })
        .await;
    }

    /// Checks a new call and begins it, or queues it for the shell.
    async fn accept(&mut self, call: &Call, link: &Link, room: OwnedSemaphorePermit) -> Result<(), Refusal> {
        let slot = Arc::clone(&self.house.slots)
            .try_acquire_owned()
            .map_err(|_| Refusal::Busy)?;
        let planned = tools::plan(&call.tool, &call.input);
        let planned = match planned.and_then(|planned| self.house.config.policy.check(planned.0).map(|()| planned)) {
            Ok(planned) => self.open_folder(call).await.map(|folder| (planned, folder)),
            Err(error) => Err(error),
        };
        let ((builtin, plan), folder) = match planned {
            Ok(planned) => planned,
            // Nothing was started and nothing would ever be: not worth a line.
            Err(error) => {
                self.result(call.call_id, Outcome::text(error, true), link).await;
                return Ok(());
            }
        };
        // What a caller declares harmless is, only if we think so too.
        let effect = if call.effect == Effect::Read {
            builtin.effect()
        } else {
            call.effect
        };
        let mut running = Running::new(call, effect, link.clone(), (slot, room));
        running.waiting = Some((plan, folder));
        let cancel = running.cancel.clone();
        self.running.insert(call.call_id, running);
        match self.house.config.policy.ask.clone() {
            Some(owner) => self.ask(owner, call.clone(), cancel),
            None => self.begin(call.call_id).await,
        }
        Ok(())
    }

    /// Waits for the owner's word; meanwhile the call counts as running, and its like waits behind it no more than usual.
    fn ask(&self, owner: Arc<dyn Ask>, call: Call, cancel: CancellationToken) {
        let (allowed, ended) = (self.allowed.0.clone(), self.ended.0.clone());
        self.house.tasks.spawn(async move {
            let word = cancel.run_until_cancelled(owner.allows(&call)).await;
            let outcome = match word {
                Some(true) => {
                    let _ = allowed.send(call.call_id);
                    return;
                }
                Some(false) => Outcome::text(
                    "The owner of this machine refused this call; nothing of it was done.",
                    true,
                ),
                None => Outcome::text("[cancelled: its owner had not allowed it yet]", true),
            };
            // Through the same door as every end: it is stored, so that nobody starts it later.
            let _ = ended.send(Ended {
                call_id: call.call_id,
                outcome,
                bash: false,
            });
        });
    }

    async fn begin(&mut self, call_id: EventId) {
        let waiting = self.running.get(&call_id).and_then(|running| running.waiting.as_ref());
        let Some((plan, _)) = waiting else { return };
        match plan {
            Plan::Bash(_) => {
                self.queue.push_back(call_id);
                self.next_in_shell().await;
            }
            Plan::Clone(_) | Plan::Diff(_) => self.begin_git(call_id).await,
            _ => self.begin_file_tool(call_id).await,
        }
    }

    /// Stores what came of a call and answers everybody who waits for it.
    async fn end(&mut self, ended: Ended) {
        let Ended { call_id, outcome, bash } = ended;
        self.last_used = Instant::now();
        let mut step = false;
        if let Some(running) = self.running.remove(&call_id) {
            step = step::is_step(&running.tool);
            let outcome = Blot::of(&running.variables).outcome(outcome);
            self.store(call_id, &running, &outcome).await;
            running.tell(self.id, call_id, outcome).await;
        }
        if bash {
            self.in_shell = None;
            if step {
                // The shell was its own, and no model misses it.
                self.end_shell().await;
                self.had_shell = false;
            } else if self.shell.as_ref().is_some_and(Shell::is_gone) {
                self.end_shell().await;
            } else {
                self.house.shells.idle(self.id);
            }
            self.next_in_shell().await;
        }
    }

    async fn store(&self, call_id: EventId, running: &Running, outcome: &Outcome) {
        fail::fail_point!("executor.end.before");
        if running.effect == Effect::Read || outcome.is_error && step::is_step(&running.tool) {
            return;
        }
        let stored = Stored {
            call_id,
            args_hash: running.args_hash.clone(),
            outcome: outcome.clone(),
        };
        if let Some(journal) = &self.journal
            && let Err(error) = on_disk(journal, move |journal| journal.finish(stored)).await
        {
            tracing::error!(session.id = %self.id, call.id = %call_id, %error, "a result waits for the journal");
        }
        fail::fail_point!("executor.end.after");
    }

    async fn settle(&mut self, settle: &Settle, link: &Link) {
        let state = match self.state_of(settle).await {
            Ok(state) => state,
            Err(reason) => return link.refuse(self.id, settle.call_id, reason).await,
        };
        if state == CallState::Running
            && let Some(running) = self.running.get_mut(&settle.call_id)
        {
            running.attach(link.clone(), settle.epoch);
        }
        let (session, call_id) = (self.id, settle.call_id);
        link.send(FromExecutor::Settled {
            session,
            call_id,
            state,
        })
        .await;
    }

    async fn state_of(&mut self, settle: &Settle) -> Result<CallState, Refusal> {
        let journal = self.admit(settle.epoch).await?;
        if let Some(running) = self.running.get(&settle.call_id) {
            if running.args_hash != settle.args_hash {
                return Err(Refusal::OtherArguments);
            }
            return Ok(CallState::Running);
        }
        let (call_id, hash) = (settle.call_id, settle.args_hash.clone());
        match on_disk(&journal, move |journal| journal.known(call_id, &hash))
            .await
            .map_err(unavailable)?
        {
            Known::Never => Ok(CallState::NeverStarted),
            Known::OtherArguments => Err(Refusal::OtherArguments),
            Known::Started { .. } => Ok(CallState::Lost),
            Known::Done(outcome) => Ok(CallState::Done { outcome }),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel_all(&mut self, why: &'static str) {
        for call_id in self.running.keys().copied().collect::<Vec<_>>() {
            self.cancel(call_id, why);
        }
    }

    fn cancel(&mut self, call_id: EventId, why: &'static str) {
        let Some(running) = self.running.get(&call_id) else {
            return;
        };
        if let Some(at) = self.queue.iter().position(|waiting| *waiting == call_id) {
            self.queue.remove(at);
            let outcome = Outcome::text(format!("[cancelled ({why}): the command was not begun]"), true);
            // Through the same door as every end: it is stored, so that nobody starts it later.
            let _ = self.ended.0.send(Ended {
                call_id,
                outcome,
                bash: false,
            });
        } else {
            running.cancel(why);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn unavailable(error: std::io::Error) -> Refusal {
    Refusal::JournalUnavailable {
        message: error.to_string(),
    }
}

/// Waits for the turn at a shell, if it is waited for.
async fn seated(seat: &mut Option<oneshot::Receiver<()>>) {
    match seat {
        // The table of shells lives as long as we do.
        Some(turn) => drop(turn.await),
        None => std::future::pending().await,
    }
}

fn locked(journal: &Mutex<JournalFile>) -> MutexGuard<'_, JournalFile> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with the journal where blocking is allowed. The session waits, so the lock is always free.
async fn on_disk<T: Send + 'static>(
    journal: &Arc<Mutex<JournalFile>>,
    work: impl FnOnce(&mut JournalFile) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let journal = Arc::clone(journal);
    let done = tokio::task::spawn_blocking(move || work(&mut locked(&journal))).await;
    done.map_err(std::io::Error::other)?
}
