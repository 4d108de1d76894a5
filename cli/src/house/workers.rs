//! Worker processes that this server keeps on its host: as many as there is work for, between two bounds. What is wanted is the number
//! that `GET /v1/scaling/default` tells; one that dies is buried and started again, one that is not wanted any more claims nothing,
//! finishes what it drives, and ends.
//!
//! They are plain `perennial worker` processes with this server's settings. Their standard input is a pipe that this process holds: when
//! it is gone, whatever it died of, they drain and end too. Several servers may keep some; each goes by the whole number.

mod plan;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use perennial_engine::ports::{Bus, Pool, PoolWorker, Standing, WakeUps};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::plan::{Backoff, wanted};
use self::process::{Process, Program, Step, reaped};
use super::store::Burial;
use super::{Hands, Store};
use crate::config::{Kept, Settings};
use crate::error::Error;

/// Between two looks at what is wanted. With none running a wake-up is waited for as well.
const LOOK: Duration = Duration::from_millis(500);
/// How long a worker that was told to stop may take: its own patience, and some more.
const STOPPING: Duration = Duration::from_secs(30);

/// Worker processes of this server.
pub struct Workers {
    keeping: JoinHandle<()>,
}

impl Workers {
    /// Whether the settings can be followed.
    ///
    /// # Errors
    /// When workers are to be kept over a database that only one process can open.
    pub fn check(settings: &Settings) -> Result<()> {
        match (&settings.pool.kept, &settings.database) {
            (Some(kept), None) => Err(Error::Usage(format!(
                "{}: worker processes need a database that they share, and the one of the data directory is open to this process \
                 alone, which does the work itself: let it do more at a time with --slots, or name a Postgres with --database-url",
                kept.max.from
            ))
            .into()),
            _ => Ok(()),
        }
    }

    /// Keeps workers until `closing` is cancelled; none if the settings want none.
    pub fn keep(settings: &Settings, store: &Store, closing: CancellationToken) -> Result<Option<Self>> {
        Self::check(settings)?;
        let (Some(kept), Some(burial)) = (&settings.pool.kept, store.burial()) else {
            return Ok(None);
        };
        let keeper = Keeper {
            settings: settings.clone(),
            kept: kept.clone(),
            slots: settings.slots.value,
            program: Program::of(settings).context("cannot tell which program this is")?,
            pool: store.pool.clone(),
            bus: store.bus.clone(),
            burial,
            processes: Vec::new(),
            backoff: Backoff::default(),
            surplus: None,
            wake_ups: None,
        };
        info!(min = kept.min, max = kept.max.value, "worker processes are kept here");
        Ok(Some(Self {
            keeping: tokio::spawn(keeper.run(closing)),
        }))
    }

    /// Waits until they have all ended.
    pub async fn ended(self) {
        if let Err(error) = self.keeping.await {
            warn!(%error, "the keeper of the workers ended abnormally");
        }
    }
}

struct Keeper {
    settings: Settings,
    kept: Kept,
    /// Of each worker.
    slots: u32,
    program: Program,
    pool: Arc<dyn Pool>,
    bus: Arc<dyn Bus>,
    burial: Burial,
    processes: Vec<Process>,
    backoff: Backoff,
    /// Since when there are more than are wanted.
    surplus: Option<Instant>,
    /// Heard while nobody works at all: it would be taken from somebody otherwise.
    wake_ups: Option<Box<dyn WakeUps>>,
}

impl Keeper {
    async fn run(mut self, closing: CancellationToken) {
        // The hands are there before the first of them is needed, and stay when the last has gone.
        match Hands::beside(&self.settings).await {
            Ok(hands) => hands.close().await,
            Err(error) => warn!(%error, "the executor does not run; the first worker tries again"),
        }
        loop {
            self.look().await;
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                (index, status) = reaped(&mut self.processes) => self.reap(index, status).await,
                () = woken(&mut self.wake_ups) => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        self.stop_all().await;
    }

    /// Does what the number of the moment wants.
    async fn look(&mut self) {
        let backlog = match self.pool.backlog().await {
            Ok(backlog) => backlog,
            Err(error) => {
                warn!(%error, "how many workers are wanted is not known; those that are here stay");
                return;
            }
        };
        let nobody = backlog.workers == 0 && self.processes.is_empty();
        if !nobody {
            self.wake_ups = None;
        } else if self.wake_ups.is_none() {
            self.wake_ups = Some(self.bus.wake_ups());
        }
        let wanted = wanted(&self.kept, backlog.wanted_slots(), self.slots);
        let working = self.working();
        if wanted >= working {
            self.surplus = None;
            self.grow(wanted - working).await;
        } else if self.surplus.get_or_insert_with(Instant::now).elapsed() >= Duration::from_millis(self.kept.idle_ms) {
            self.shrink(working - wanted).await;
        }
        self.end_the_spared().await;
    }

    /// Those that claim, as far as it is for us to say.
    fn working(&self) -> usize {
        let working = self.processes.iter().filter(|process| process.step == Step::Working);
        working.count()
    }

    /// Has so many more work: first those that were just told not to.
    async fn grow(&mut self, mut more: usize) {
        for process in self.processes.iter_mut().filter(|process| process.step == Step::Spared) {
            if more == 0 {
                return;
            }
            if let Some(owner) = process.owner
                && matches!(self.pool.steer(owner, Standing::Active).await, Ok(Some(_)))
            {
                process.step = Step::Working;
                more -= 1;
            }
        }
        // What still ends is on this host, too.
        let room = (self.kept.max.value as usize).saturating_sub(self.processes.len());
        for _ in 0..more.min(room) {
            if !self.backoff.admits() {
                return;
            }
            match self.program.start() {
                Ok(process) => {
                    info!(worker.pid = process.pid, "a worker was started");
                    self.processes.push(process);
                }
                Err(error) => {
                    warn!(%error, "a worker could not be started");
                    self.backoff.failed();
                }
            }
        }
    }

    /// Has so many claim nothing more: those that hold least.
    async fn shrink(&mut self, fewer: usize) {
        let known = self.known().await;
        let held = |process: &Process| {
            let worker = known.iter().find(|worker| Some(worker.owner) == process.owner);
            worker.map(|worker| worker.held)
        };
        // One that has not said yet that it is here is left until it has.
        let mut least: Vec<(u64, usize)> = (self.processes.iter().enumerate())
            .filter(|(_, process)| process.step == Step::Working)
            .filter_map(|(index, process)| Some((held(process)?, index)))
            .collect();
        least.sort_unstable();
        for (_, index) in least.into_iter().take(fewer) {
            let Some(process) = self.processes.get_mut(index) else {
                continue;
            };
            if let Some(owner) = process.owner
                && matches!(self.pool.steer(owner, Standing::Cordoned).await, Ok(Some(_)))
            {
                info!(worker.pid = process.pid, "a worker is not wanted any more");
                process.step = Step::Spared;
            }
        }
    }

    /// Ends those that hold nothing any more; one that does not end is killed, and buried.
    async fn end_the_spared(&mut self) {
        if self.processes.iter().any(|process| process.step == Step::Spared) {
            let known = self.known().await;
            let idle = |process: &Process| {
                let worker = known.iter().find(|worker| Some(worker.owner) == process.owner);
                worker.is_none_or(|worker| worker.held == 0)
            };
            for process in &mut self.processes {
                if process.step == Step::Spared && idle(process) {
                    process.stop();
                }
            }
        }
        for process in &mut self.processes {
            if matches!(process.step, Step::Stopping(since) if since.elapsed() > STOPPING) {
                warn!(
                    worker.pid = process.pid,
                    "a worker did not end when it was told to; it is killed"
                );
                process.kill();
            }
        }
    }

    /// What the pool knows; notes which worker each process is.
    async fn known(&mut self) -> Vec<PoolWorker> {
        let known = self.pool.workers().await.unwrap_or_else(|error| {
            warn!(%error, "the pool cannot be asked for its workers");
            Vec::new()
        });
        for process in &mut self.processes {
            let found = known.iter().find(|worker| worker.card.name == process.name);
            process.owner = found.map(|worker| worker.owner).or(process.owner);
        }
        known
    }

    /// One has ended.
    async fn reap(&mut self, index: usize, status: std::io::Result<std::process::ExitStatus>) {
        // While its row is still there.
        self.known().await;
        let process = self.processes.swap_remove(index);
        let clean = status.as_ref().is_ok_and(std::process::ExitStatus::success);
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if matches!(process.step, Step::Stopping(_)) {
            info!(worker.pid = process.pid, %how, "a worker ended");
        } else {
            warn!(worker.pid = process.pid, %how, "a worker ended by itself");
            self.backoff.ended(process.since.elapsed());
        }
        let Some(owner) = process.owner.filter(|_| !clean) else {
            return;
        };
        match self.burial.bury(owner).await {
            Ok(sessions) => info!(worker.pid = process.pid, sessions, "what it held is free"),
            Err(error) => warn!(%error, "what it held is free when its lease expires"),
        }
    }

    /// Ends them all: they drain at the same time.
    async fn stop_all(&mut self) {
        for process in &mut self.processes {
            process.stop();
        }
        let ended = async {
            while !self.processes.is_empty() {
                let (index, status) = reaped(&mut self.processes).await;
                self.reap(index, status).await;
            }
        };
        if tokio::time::timeout(STOPPING, ended).await.is_err() {
            for process in &mut self.processes {
                warn!(
                    worker.pid = process.pid,
                    "a worker did not end when it was told to; it is killed"
                );
                process.kill();
            }
        }
    }
}

async fn woken(wake_ups: &mut Option<Box<dyn WakeUps>>) {
    match wake_ups {
        Some(wake_ups) => wake_ups.next().await,
        None => std::future::pending().await,
    }
}
