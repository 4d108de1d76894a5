//! How a call begins: `started` on disk, then a file tool on a blocking thread or a command in the session's shell.

use std::sync::Arc;

use indexmap::IndexMap;
use perennial_schema::EventId;
use perennial_schema::frame::{Call, Refusal};
use perennial_schema::step;
use perennial_schema::tool::{Effect, Outcome};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Ended, Session, locked, on_disk, unavailable};
use crate::buffers;
use crate::call::Stop;
use crate::capture::Capture;
use crate::clone;
use crate::diff;
use crate::git::Git;
use crate::journal::{Process, Started};
use crate::limits::OUTPUT_BYTES;
use crate::panes::{self, Panes};
use crate::progress::Progress;
use crate::shell::{self, End, Finished, Job, Shell};
use crate::tools::{self, Plan, bash};
use crate::workspace::Folder;

/// What a model is told that does not know it yet.
const FRESH: &str = "[fresh shell: the earlier one is gone; working directory and environment start anew]";

/// Why a `bash` call was not begun.
#[derive(Debug)]
enum NotBegun {
    /// Every shell there may be is busy.
    NoSeat,
    NoShell(String),
}

impl Session {
    pub(super) async fn open_folder(&self, call: &Call) -> Result<Folder, String> {
        let (workspaces, session, workspace) = (self.house.workspaces.clone(), self.id, call.workspace.clone());
        let opened = tokio::task::spawn_blocking(move || workspaces.folder(session, &workspace)).await;
        opened.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Writes `started`; on failure the call is refused and forgotten. Read-class calls leave no line.
    async fn journal_start(&mut self, call_id: EventId, process: Option<Process>) -> bool {
        let Some(running) = self.running.get(&call_id) else {
            return false;
        };
        fail::fail_point!("executor.start.before");
        // It waited, and a newer lease has spoken meanwhile: that one asks for it, or does not (I4).
        let seen = self.journal.as_ref().map_or(0, |journal| locked(journal).epoch());
        if running.epoch < seen {
            if let Some(running) = self.running.remove(&call_id) {
                running.refuse(self.id, call_id, Refusal::StaleEpoch { seen }).await;
            }
            return false;
        }
        if running.effect == Effect::Read {
            return true;
        }
        let started = Started {
            call_id,
            tool: running.tool.clone(),
            args_hash: running.args_hash.clone(),
            epoch: running.epoch,
            effect: running.effect,
            process,
        };
        let written = match &self.journal {
            Some(journal) => on_disk(journal, move |journal| journal.start(&started)).await,
            None => Err(std::io::Error::other("the journal is not open")),
        };
        let Err(error) = written else { return true };
        tracing::error!(session.id = %self.id, call.id = %call_id, %error, "a call is refused: the journal cannot be written");
        if let Some(running) = self.running.remove(&call_id) {
            running.refuse(self.id, call_id, unavailable(error)).await;
        }
        false
    }

    pub(super) async fn begin_file_tool(&mut self, call_id: EventId) {
        if !self.journal_start(call_id, None).await {
            return;
        }
        let Some(running) = self.running.get_mut(&call_id) else {
            return;
        };
        let Some((plan, folder)) = running.waiting.take() else {
            return;
        };
        let (cancel, ended) = (running.cancel.clone(), self.ended.0.clone());
        let (buffers, session) = (self.house.config.buffers.clone(), self.id);
        self.house.tasks.spawn(async move {
            let bash = false;
            if let Some(buffers) = buffers
                && let Some(outcome) = buffers::run(buffers.as_ref(), session, &plan, &folder).await
            {
                let _ = ended.send(Ended { call_id, outcome, bash });
                return;
            }
            let stop = Stop::new();
            let watched = stop.clone();
            let work = tokio::task::spawn_blocking(move || tools::run(&plan, &folder, &watched));
            tokio::pin!(work);
            let outcome = tokio::select! {
                done = &mut work => done,
                // The work sees it at the next file; a write in progress is finished, it is all or nothing.
                () = cancel.cancelled() => { stop.cancel(); work.await }
            };
            let outcome = outcome.unwrap_or_else(|error| Outcome::text(format!("the tool broke: {error}"), true));
            let _ = ended.send(Ended { call_id, outcome, bash });
        });
        fail::fail_point!("executor.start.after");
    }

    /// git has a process of its own and no turn at the shell.
    pub(super) async fn begin_git(&mut self, call_id: EventId) {
        if !self.journal_start(call_id, None).await {
            return;
        }
        let Some(running) = self.running.get_mut(&call_id) else {
            return;
        };
        let (cancel, ended, secret) = (running.cancel.clone(), self.ended.0.clone(), running.secret.take());
        let Some((plan, folder)) = running.waiting.take() else {
            return;
        };
        let (house, session) = (Arc::clone(&self.house), self.id);
        self.house.tasks.spawn(async move {
            let mut output = Capture::spooled(0, house.outputs.spool(session, call_id));
            let done = match &plan {
                Plan::Clone(input) => clone::clone(&house, &folder, input, secret.as_ref(), &cancel).await,
                Plan::Diff(input) => {
                    let git = Git {
                        house: &house,
                        folder: &folder,
                        cancel: &cancel,
                    };
                    diff::diff(git, input, &mut output).await.map(|()| String::new())
                }
                _ => Err("it is none of git's".into()),
            };
            let whole = output.whole();
            let outcome = done.map_or_else(|error| Outcome::text(error, true), |said| Outcome::text(said, false));
            let outcome = Outcome { whole, ..outcome };
            let bash = false;
            let _ = ended.send(Ended { call_id, outcome, bash });
        });
        fail::fail_point!("executor.start.after");
    }

    /// Begins `bash` calls as long as the shell is free and one waits; or lines up for a shell.
    pub(super) async fn next_in_shell(&mut self) {
        while self.in_shell.is_none() && self.seat.is_none() {
            let Some(call_id) = self.queue.pop_front() else { return };
            self.begin_bash(call_id).await;
        }
    }

    /// It is this session's turn to have a shell. What waits for one may have been cancelled meanwhile.
    pub(super) async fn take_turn(&mut self) {
        (self.seat, self.turn) = (None, true);
        self.next_in_shell().await;
        self.turn = false;
        self.house.shells.stir();
    }

    async fn begin_bash(&mut self, call_id: EventId) {
        let Some(running) = self.running.get_mut(&call_id) else {
            return;
        };
        let (variables, step) = (running.variables.clone(), step::is_step(&running.tool));
        let Some((Plan::Bash(command), folder)) = running.waiting.take() else {
            return;
        };
        // Nobody at an editor asked for a preparation.
        if !step && let Some(panes) = self.panes().await {
            return self.begin_in_pane(call_id, panes, command, folder).await;
        }
        let note = match self.ready_shell(&command, &folder, &variables).await {
            Ok(note) => note,
            Err(NotBegun::NoSeat) => {
                if let Some(running) = self.running.get_mut(&call_id) {
                    running.waiting = Some((Plan::Bash(command), folder));
                    self.queue.push_front(call_id);
                    self.seat = Some(self.house.shells.line_up(self.turn));
                    // A seat may have come free just now.
                    self.house.shells.stir();
                }
                return;
            }
            Err(NotBegun::NoShell(error)) => return self.not_begun(call_id, error).await,
        };
        let process = self.shell.as_ref().map(|shell| shell.process);
        if !self.journal_start(call_id, process).await {
            return self.house.shells.idle(self.id);
        }
        let Some(running) = self.running.get(&call_id) else {
            return;
        };
        self.in_shell = Some(call_id);
        let Some(text) = command.text else {
            return self.only_fresh(call_id);
        };
        let (done, finished) = oneshot::channel();
        let (cancel, why) = (running.cancel.clone(), Arc::clone(&running.why));
        let aloud = running.aloud.clone();
        let timeout = command.timeout;
        let job = Job {
            command: text,
            timeout,
            cancel,
            output: Capture::spooled(OUTPUT_BYTES, self.house.outputs.spool(self.id, call_id)),
            progress: aloud.map(|link| Progress::to(link, self.id, call_id, &self.house.tasks)),
            done,
        };
        if let Some(shell) = &self.shell {
            // A shell that went away meanwhile drops the job, which ends the wait below.
            let _ = shell.submit(job).await;
        }
        fail::fail_point!("executor.start.after");
        let ended = self.ended.0.clone();
        self.house.tasks.spawn(async move {
            let finished = finished.await.unwrap_or_else(|_| Finished {
                earlier: String::new(),
                output: String::new(),
                whole: None,
                end: End::Broken("it went away before the command began".into()),
            });
            let outcome = bash::outcome(
                note.as_deref(),
                &finished,
                timeout,
                why.get().copied().unwrap_or("the shell was closed"),
            );
            let _ = ended.send(Ended {
                call_id,
                outcome,
                bash: true,
            });
        });
    }

    fn only_fresh(&self, call_id: EventId) {
        let outcome = Outcome::text("[fresh shell]", false);
        let _ = self.ended.0.send(Ended {
            call_id,
            outcome,
            bash: true,
        });
    }

    /// The editor that runs this session's commands, if one does.
    async fn panes(&self) -> Option<Arc<dyn Panes>> {
        let panes = self.house.config.panes.clone()?;
        (self.house.scripts.are_plain() && panes.has(self.id).await).then_some(panes)
    }

    /// It takes its turn as in a shell of our own, and none of the shells there may be.
    async fn begin_in_pane(&mut self, call_id: EventId, panes: Arc<dyn Panes>, command: bash::Command, folder: Folder) {
        if command.restart || self.shell.is_some() {
            self.end_shell().await;
        }
        self.had_shell &= !command.restart;
        let note = (self.had_shell && self.kept().is_none()).then(|| FRESH.to_owned());
        if !self.journal_start(call_id, None).await {
            return;
        }
        let Some(running) = self.running.get(&call_id) else {
            return;
        };
        self.in_shell = Some(call_id);
        self.had_shell = false;
        let Some(text) = command.text else {
            return self.only_fresh(call_id);
        };
        let job = panes::Job {
            session: self.id,
            call_id,
            command: text,
            folder,
            variables: running.variables.clone(),
            timeout: command.timeout,
            cancel: running.cancel.clone(),
            why: Arc::clone(&running.why),
            note,
            kept: Arc::clone(&self.kept),
        };
        let run = panes::Run {
            house: Arc::clone(&self.house),
            panes,
            job,
        };
        let (ended, stop) = (self.ended.0.clone(), self.house.stop.clone());
        self.house.tasks.spawn(async move {
            let Some(outcome) = stop.run_until_cancelled(run.run()).await else {
                return;
            };
            let _ = ended.send(Ended {
                call_id,
                outcome,
                bash: true,
            });
        });
        fail::fail_point!("executor.start.after");
    }

    /// A shell for the command: the old one, or a fresh one and what to tell the model about that.
    async fn ready_shell(
        &mut self,
        command: &bash::Command,
        folder: &Folder,
        variables: &IndexMap<String, String>,
    ) -> Result<Option<String>, NotBegun> {
        let mut note = None;
        if command.restart {
            self.end_shell().await;
            self.had_shell = false;
        }
        let usable = self
            .shell
            .as_ref()
            .is_some_and(|shell| !shell.is_gone() && shell.folder == folder.path);
        if usable && self.house.shells.busy(self.id) {
            return Ok(None);
        }
        self.end_shell().await;
        if self.had_shell {
            note = Some(FRESH.to_owned());
        }
        let quit = self.house.stop.child_token();
        if !self.house.shells.take(self.id, quit.clone(), self.turn) {
            return Err(NotBegun::NoSeat);
        }
        self.shell = Some(
            self.start_shell(folder, variables.clone(), quit)
                .await
                .inspect_err(|_| self.house.shells.leave(self.id))?,
        );
        self.had_shell = true;
        Ok(note)
    }

    async fn start_shell(
        &self,
        folder: &Folder,
        variables: IndexMap<String, String>,
        quit: CancellationToken,
    ) -> Result<Shell, NotBegun> {
        let bash = self
            .house
            .bash()
            .ok_or_else(|| NotBegun::NoShell("bash is not installed".into()))?;
        let plan = shell::Plan {
            bash,
            sandbox: self.house.sandbox.as_ref(),
            folder: folder.path.clone(),
            env: self.house.environment(&folder.path),
            variables,
        };
        let started = Shell::start(plan, &self.house.spawner, &self.house.tasks, quit).await;
        started.map_err(|error| NotBegun::NoShell(format!("a shell cannot be started: {error}")))
    }

    async fn not_begun(&mut self, call_id: EventId, error: String) {
        if let Some(running) = self.running.remove(&call_id) {
            running.tell(self.id, call_id, Outcome::text(error, true)).await;
        }
    }

    pub(super) async fn end_shell(&mut self) {
        let kept = self.kept().take();
        self.had_shell |= kept.is_some();
        if let Some(shell) = self.shell.take() {
            shell.end().await;
            self.house.shells.leave(self.id);
        }
    }
}
