//! One command in an editor's terminal, from the question for one until it is given back.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, SessionId};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::outcome::{End, Finished, outcome};
use super::script::{Kept, Parts, Script};
use super::{Panes, Status};
use crate::blot::Blot;
use crate::capture::Capture;
use crate::limits::{OUTPUT_BYTES, PANE_ANSWER, PANE_LATE, PANE_OPEN};
use crate::process::{SHELL_MARKER, kill_tree};
use crate::serve::House;
use crate::workspace::Folder;

const LEFT: &str = "[what it left running was ended with it: in this editor's terminal no job outlives its command]";

const TOO_MUCH: &str = "[what it exported is too much to hand on: the next command begins anew]";

/// A command.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) session: SessionId,
    pub(crate) call_id: EventId,
    pub(crate) command: String,
    pub(crate) folder: Folder,
    pub(crate) variables: IndexMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) cancel: CancellationToken,
    /// Who cancelled.
    pub(crate) why: Arc<OnceLock<&'static str>>,
    /// Told to the model first.
    pub(crate) note: Option<String>,
    /// What the command before left, and this one leaves.
    pub(crate) kept: Arc<Mutex<Option<Kept>>>,
}

/// One that is done with the terminals of an editor.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) house: Arc<House>,
    pub(crate) panes: Arc<dyn Panes>,
    pub(crate) job: Job,
}

/// Why nobody waits for its end any more.
enum Waited {
    Ended(Status),
    Failed(String),
    Cancelled,
    TimedOut,
}

/// What came of the question for a terminal.
enum Opened {
    Pane(String),
    Not(Waited),
}

impl Run {
    pub(crate) async fn run(self) -> Outcome {
        let began = Instant::now();
        let (finished, end) = match self.script().await {
            Ok(script) => {
                let script = Arc::new(script);
                let done = self.follow(&script, began).await;
                blocking(&script, Script::remove).await;
                done
            }
            Err(why) => (Finished::default(), End::NotBegun(why)),
        };
        outcome(self.job.note.as_deref(), &finished, &end)
    }

    async fn script(&self) -> Result<Script, String> {
        let (house, kept) = (Arc::clone(&self.house), self.kept().clone());
        let (folder, variables) = (self.job.folder.path.clone(), self.job.variables.clone());
        let command = self.job.command.clone();
        let write = move || {
            let parts = Parts {
                bash: house.bash().ok_or("bash is not installed")?,
                env_program: house.program("env").ok_or("env is not installed")?,
                sandbox: house.sandbox.as_ref(),
                folder: &folder,
                env: house.environment(&folder),
                variables: &variables,
                kept: kept.as_ref(),
                command: &command,
            };
            let written = house.scripts.write(parts);
            written.map_err(|error| format!("its script cannot be written: {error}"))
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(|error| error.to_string())?
    }

    /// The end is told when the terminal is given back.
    async fn follow(&self, script: &Arc<Script>, began: Instant) -> (Finished, End) {
        let pane = match self.open(script, began).await {
            Opened::Pane(pane) => pane,
            Opened::Not(waited) => {
                let end = self.end(script, None, waited).await;
                return (Finished::default(), end);
            }
        };
        // An editor that does not show it runs it all the same.
        let shown = timeout(PANE_ANSWER, self.panes.show(self.job.session, self.job.call_id, &pane));
        let shown = self.job.cancel.run_until_cancelled(shown);
        let (_, waited) = tokio::join!(shown, self.wait(&pane, began + self.job.timeout));
        let end = self.end(script, Some(&pane), waited).await;
        // Before it is asked what was printed: what runs on holds the terminal, and some editors read to its end.
        self.kill(script).await;
        let mut finished = self.printed(&pane).await;
        // Of one that was not begun it shows why.
        if !matches!(end, End::NotBegun(_)) {
            let said = blocking(script, Script::said).await.unwrap_or_default();
            if said.status.is_none() && !said.noise.is_empty() {
                finished.remarks.push(said.noise.trim_end().to_owned());
            }
            if said.status.is_some() {
                if said.kept.is_none() {
                    finished.remarks.push(TOO_MUCH.to_owned());
                }
                *self.kept() = said.kept;
            }
            if matches!(end, End::Exited(_)) && said.jobs {
                finished.remarks.push(LEFT.to_owned());
            }
        }
        let released = timeout(PANE_ANSWER, self.panes.release(self.job.session, &pane)).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!(session.id = %self.job.session, call.id = %self.job.call_id, "the editor did not take a terminal back");
        }
        (finished, end)
    }

    /// Asks for a terminal. Whatever comes later than we wait is given back at once.
    async fn open(&self, script: &Script, began: Instant) -> Opened {
        let (panes, session, program) = (Arc::clone(&self.panes), self.job.session, script.program.clone());
        let closing = self.house.closing.clone();
        let (tell, told) = oneshot::channel();
        self.house.tasks.spawn(async move {
            let late = async {
                let answer = timeout(PANE_LATE, panes.create(session, program)).await;
                let answer = answer.unwrap_or_else(|_| Err("it did not answer".to_owned()));
                if let Err(Ok(pane)) = tell.send(answer) {
                    timeout(PANE_ANSWER, panes.kill(session, &pane)).await.ok();
                    timeout(PANE_ANSWER, panes.release(session, &pane)).await.ok();
                }
            };
            // When we close so does the editor, and its terminals with it.
            closing.run_until_cancelled(late).await;
        });
        let at_most = PANE_OPEN.min(self.job.timeout);
        tokio::select! {
            biased;
            () = self.job.cancel.cancelled() => Opened::Not(Waited::Cancelled),
            told = told => match told {
                Ok(Ok(pane)) => Opened::Pane(pane),
                Ok(Err(why)) => Opened::Not(Waited::Failed(format!("the editor opens no terminal: {why}"))),
                Err(_) => Opened::Not(Waited::Cancelled),
            },
            () = sleep_until(began + at_most) => {
                let why = format!("the editor opened no terminal within {} ms", at_most.as_millis());
                Opened::Not(Waited::Failed(why))
            }
        }
    }

    async fn wait(&self, pane: &str, deadline: Instant) -> Waited {
        tokio::select! {
            biased;
            () = self.job.cancel.cancelled() => Waited::Cancelled,
            ended = self.panes.wait(self.job.session, pane) => match ended {
                Ok(status) => Waited::Ended(status),
                Err(why) => Waited::Failed(format!("the editor does not say how the command ended: {why}")),
            },
            () = sleep_until(deadline) => Waited::TimedOut,
        }
    }

    /// What is so, of what the editor said: nothing is told as dead or not begun that may not be.
    async fn end(&self, script: &Arc<Script>, pane: Option<&str>, waited: Waited) -> End {
        if blocking(script, Script::withdraw).await.unwrap_or(false) {
            if !matches!(waited, Waited::Ended(_)) {
                // What was to come to it.
                self.stop(script, pane).await;
            }
            return End::NotBegun(match waited {
                Waited::Ended(Status { code: Some(code), .. }) => {
                    format!("the editor's terminal ended before it, with exit code {code}")
                }
                Waited::Ended(_) => "the editor's terminal ended before it".into(),
                Waited::Failed(why) => why,
                Waited::Cancelled => format!("cancelled ({})", self.why()),
                Waited::TimedOut => format!(
                    "the editor's terminal did not come to it within {} ms",
                    self.job.timeout.as_millis()
                ),
            });
        }
        let said = blocking(script, Script::said).await.and_then(|said| said.status);
        match (waited, said) {
            // The shell's own word, which the editor may have lost.
            (Waited::Ended(_) | Waited::Failed(_) | Waited::TimedOut, Some(code)) => End::Exited(code),
            (Waited::Ended(status), None) => match (status.code, status.signal) {
                (Some(code), _) => End::Exited(code),
                (None, Some(signal)) => End::Killed(signal),
                (None, None) => End::Untold,
            },
            (Waited::Failed(why), None) => {
                let dead = self.stop(script, pane).await;
                End::Unknown { why, dead }
            }
            (Waited::Cancelled, _) if self.stop(script, pane).await => End::Cancelled(self.why()),
            (Waited::Cancelled, _) => {
                let why = format!("cancelled ({}), and the editor did not stop it", self.why());
                End::Unknown { why, dead: false }
            }
            (Waited::TimedOut, None) if self.stop(script, pane).await => End::TimedOut(self.job.timeout),
            (Waited::TimedOut, None) => {
                let time = self.job.timeout.as_millis();
                let why = format!("timed out after {time} ms, and the editor did not stop it");
                End::Unknown { why, dead: false }
            }
        }
    }

    /// Kills a command and all it started; whether somebody says that it is dead: the editor, or the list of processes.
    async fn stop(&self, script: &Arc<Script>, pane: Option<&str>) -> bool {
        let told = match pane {
            Some(pane) => timeout(PANE_ANSWER, self.panes.kill(self.job.session, pane)).await,
            None => Ok(Err(String::new())),
        };
        let found = self.kill(script).await;
        found.is_some_and(|killed| killed > 0 || matches!(told, Ok(Ok(()))))
    }

    /// How many processes of it were found and are dead now; none if one is not. Where the editor runs on another machine, and where
    /// there is no list of processes, none is found.
    async fn kill(&self, script: &Arc<Script>) -> Option<usize> {
        let killed = blocking(script, |script| kill_tree(None, SHELL_MARKER, &script.marker)).await?;
        killed
            .inspect_err(|error| tracing::error!(%error, "a command in an editor's terminal cannot be ended"))
            .ok()
    }

    async fn printed(&self, pane: &str) -> Finished {
        let mut finished = Finished::default();
        let printed = timeout(PANE_ANSWER, self.panes.output(self.job.session, pane)).await;
        let printed = match printed.unwrap_or_else(|_| Err("it did not answer".to_owned())) {
            Ok(printed) => printed,
            Err(why) => {
                finished
                    .remarks
                    .push(format!("[the editor does not tell what was printed: {why}]"));
                return finished;
            }
        };
        let spool = self.house.outputs.spool(self.job.session, self.job.call_id);
        let blot = Blot::of(&self.job.variables);
        let mut output = Capture::spooled(OUTPUT_BYTES, spool).without(blot);
        // Terminals end lines with both.
        output.push(printed.text.replace("\r\n", "\n").as_bytes());
        finished.output = output.take();
        finished.whole = output.whole();
        if printed.truncated {
            let said = "[the beginning of the output is missing: the editor's terminal keeps the end]";
            finished.remarks.push(said.to_owned());
        }
        finished
    }

    fn why(&self) -> &'static str {
        self.job.why.get().copied().unwrap_or("the executor was closed")
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.job.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does something with a script where blocking is allowed.
async fn blocking<T: Send + 'static>(
    script: &Arc<Script>,
    work: impl FnOnce(&Script) -> T + Send + 'static,
) -> Option<T> {
    let script = Arc::clone(script);
    tokio::task::spawn_blocking(move || work(&script)).await.ok()
}
