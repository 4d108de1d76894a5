//! What is done to a house, and undone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::sleep;

use super::house::{DRAIN, House, Outages};
use super::{Fault, Loss};
use crate::proxy::{Cut, Faults, Proxy};

/// The lease of [`crate::rig::server::SHORT_LEASES`].
const LEASE: Duration = Duration::from_secs(1);
/// How wrong a worker's clock is, in seconds.
const HOUR: i64 = 3_600;
/// How wrong the database's is.
const TEN_MINUTES: i64 = 600;
/// Longest wait for a write to cut off from its writer.
const WRITE: Duration = Duration::from_secs(5);

impl House {
    /// What this install can suffer.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let possible = |fault: &Fault| match fault {
            Fault::KillServer | Fault::Freeze | Fault::Drain | Fault::CutStreams => true,
            Fault::KillWorker | Fault::KillExecutor | Fault::KillSeveral => !self.workers.is_empty(),
            Fault::CutDatabase | Fault::CutCommit | Fault::SilenceDatabase | Fault::SlowDatabase => {
                self.database.is_some()
            }
            Fault::CutBus | Fault::SilenceBus => self.bus.is_some(),
            Fault::CrashDatabase | Fault::CrashBus => self.outages.is_some(),
            Fault::IsolateWorker => self.workers.iter().any(|worker| worker.database.is_some()),
            Fault::JumpWorker => self.workers.iter().any(|worker| worker.clock.is_some()),
            Fault::ReplaceWorker => !self.older.is_empty(),
            Fault::JumpDatabase => self.outages.as_ref().is_some_and(|outages| outages.has_clock()),
        };
        Fault::ALL.into_iter().filter(possible).collect()
    }

    /// Does it, and heals it. Returns the process that lost its sessions by it, if one did.
    ///
    /// # Errors
    /// When what was taken down does not come back.
    pub async fn strike(&mut self, fault: Fault, rng: &mut StdRng) -> Result<Option<Loss>> {
        match fault {
            Fault::KillServer => self.kill_node(rng).await,
            Fault::KillWorker => self.kill_worker(rng).await.map(Some),
            Fault::KillExecutor => {
                self.kills.executors += self.kill_executor();
                Ok(None)
            }
            Fault::KillSeveral => self.kill_several(rng).await.map(Some),
            Fault::Freeze => self.freeze(rng).await.map(|()| None),
            Fault::Drain => self.drain(rng).await.map(|()| None),
            Fault::CutStreams => self.cut_streams(rng).await,
            Fault::CutDatabase => Ok(self.with_database(|proxy| async { proxy.drop_connections() }).await),
            Fault::CutCommit => Ok(self.with_database(cut_commit).await),
            Fault::SilenceDatabase => Ok(self.with_database(|proxy| silence(proxy, true, true)).await),
            Fault::SlowDatabase => Ok(self.with_database(slow).await),
            Fault::CutBus => Ok(with(self.bus.as_ref(), |proxy| async { proxy.drop_connections() }).await),
            Fault::SilenceBus => Ok(with(self.bus.as_ref(), |proxy| silence(proxy, true, true)).await),
            Fault::CrashDatabase => match &mut self.outages {
                Some(outages) => outages.crash_database().await.map(|()| None),
                None => Ok(None),
            },
            Fault::CrashBus => match &mut self.outages {
                Some(outages) => outages.crash_bus().await.map(|()| None),
                None => Ok(None),
            },
            Fault::IsolateWorker => {
                let worker = self.workers.choose(rng).and_then(|worker| worker.database.as_ref());
                let (lost, unheard) = *[(true, true), (true, false), (false, true)]
                    .choose(rng)
                    .unwrap_or(&(true, true));
                Ok(with(worker, |line| silence(line, lost, unheard)).await)
            }
            Fault::JumpWorker => self.jump_worker(rng).await.map(|()| None),
            Fault::ReplaceWorker => self.replace_worker(rng).await.map(|()| None),
            Fault::JumpDatabase => match &mut self.outages {
                Some(outages) => jump(outages.as_mut()).await.map(|()| None),
                None => Ok(None),
            },
        }
    }

    async fn jump_worker(&self, rng: &mut StdRng) -> Result<()> {
        let worker = self.workers.choose(rng).and_then(|worker| worker.clock.as_ref());
        let clock = worker.context("no worker has a clock of its own")?;
        clock.set(if rng.random() { HOUR } else { -HOUR })?;
        sleep(LEASE.mul_f64(1.5)).await;
        clock.set(0)
    }

    /// An upgrade on its way, or on its way back: some workers are of either version, always.
    async fn replace_worker(&mut self, rng: &mut StdRng) -> Result<()> {
        let of = |older: bool| {
            let workers = self.workers.iter().enumerate();
            let those = workers.filter(move |(_, worker)| worker.is_older == older);
            those.map(|(index, _)| index).collect::<Vec<_>>()
        };
        let (older, newer) = (of(true), of(false));
        let mut replaceable = Vec::new();
        for some in [older, newer] {
            if some.len() > 1 {
                replaceable.extend(some);
            }
        }
        let index = *replaceable.choose(rng).context("too few workers for two versions")?;
        self.replace(index).await
    }

    async fn with_database<'a, F: Future<Output = ()>>(&'a self, act: impl FnOnce(&'a Proxy) -> F) -> Option<Loss> {
        with(self.database.as_ref(), act).await
    }

    async fn kill_node(&mut self, rng: &mut StdRng) -> Result<Option<Loss>> {
        // In the embedded form the server is the worker.
        let works = self.workers.is_empty();
        let index = rng.random_range(0..self.nodes.len());
        let node = &mut self.nodes[index];
        node.member.process.kill().await?;
        self.kills.servers += 1;
        let loss = Loss {
            at: Utc::now(),
            log: None,
        };
        node.restart().await?;
        Ok(works.then_some(loss))
    }

    async fn kill_worker(&mut self, rng: &mut StdRng) -> Result<Loss> {
        let index = rng.random_range(0..self.workers.len());
        let worker = &mut self.workers[index];
        worker.process.kill().await?;
        self.kills.workers += 1;
        let loss = Loss {
            at: Utc::now(),
            log: Some(worker.program.log_file.clone()),
        };
        worker.process = worker.program.start()?;
        Ok(loss)
    }

    /// None of them is left to notice what becomes of the others.
    async fn kill_several(&mut self, rng: &mut StdRng) -> Result<Loss> {
        let node = rng.random_range(0..self.nodes.len());
        let worker = rng.random_range(0..self.workers.len());
        let executors = self.kill_executor();
        let (node, worker) = (&mut self.nodes[node], &mut self.workers[worker]);
        let (one, other) = tokio::join!(node.member.process.kill(), worker.process.kill());
        one.and(other)?;
        let loss = Loss {
            at: Utc::now(),
            log: Some(worker.program.log_file.clone()),
        };
        self.kills.executors += executors;
        self.kills.servers += 1;
        self.kills.workers += 1;
        worker.process = worker.program.start()?;
        node.restart().await?;
        Ok(loss)
    }

    /// How many were killed. The executor is nobody's child that we know of; it is found by its command line, which names our
    /// folder.
    pub(super) fn kill_executor(&self) -> u64 {
        let killed = executors(&self.data_dir)
            .into_iter()
            .filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok());
        killed.count() as u64
    }

    async fn freeze(&mut self, rng: &mut StdRng) -> Result<()> {
        let members = self.nodes.iter_mut().map(|node| &mut node.member);
        let member = if self.workers.is_empty() {
            members.into_iter().next()
        } else {
            let index = rng.random_range(0..self.workers.len());
            self.workers.get_mut(index)
        };
        let member = member.context("nobody to freeze")?;
        member.process.freeze()?;
        sleep(LEASE.mul_f64(rng.random_range(1.2..2.0))).await;
        member.process.thaw()
    }

    async fn drain(&mut self, rng: &mut StdRng) -> Result<()> {
        let index = rng.random_range(0..self.nodes.len() + self.workers.len());
        let ended = match self.nodes.get_mut(index) {
            Some(node) => {
                let ended = node.member.process.stop(DRAIN).await;
                node.restart().await?;
                ended
            }
            None => {
                let index = index - self.nodes.len();
                let worker = &mut self.workers[index];
                let ended = worker.process.stop(DRAIN).await;
                worker.process = worker.program.start()?;
                ended
            }
        };
        ended.context("a process did not wind down")?;
        Ok(())
    }

    async fn cut_streams(&mut self, rng: &mut StdRng) -> Result<Option<Loss>> {
        for node in &self.nodes {
            node.streams.cut(Cut::Answer {
                bytes: rng.random_range(1..20_000),
            });
        }
        sleep(Duration::from_millis(rng.random_range(0..200))).await;
        for node in &self.nodes {
            node.streams.drop_connections();
        }
        Ok(None)
    }
}

async fn with<'a, F: Future<Output = ()>>(proxy: Option<&'a Proxy>, act: impl FnOnce(&'a Proxy) -> F) -> Option<Loss> {
    if let Some(proxy) = proxy {
        act(proxy).await;
    }
    None
}

async fn cut_commit(proxy: &Proxy) {
    proxy.cut(Cut::Commit);
    let waiting = async {
        while proxy.is_armed() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WRITE, waiting).await.ok();
}

/// What is sent there is lost, what is said there is not heard, or both.
async fn silence(proxy: &Proxy, swallow_requests: bool, swallow_answers: bool) {
    proxy.set(Faults {
        swallow_requests,
        swallow_answers,
        ..Faults::default()
    });
    sleep(LEASE.mul_f64(1.5)).await;
    // What was swallowed is gone: the connections cannot be used any more.
    proxy.drop_connections();
    proxy.heal();
}

/// Behind, and ahead again. The other way round is not tried: what was put off by a clock that ran ahead waits until the true
/// one gets there.
async fn jump(outages: &mut dyn Outages) -> Result<()> {
    outages.set_clock(-TEN_MINUTES).await?;
    sleep(LEASE.mul_f64(1.5)).await;
    outages.set_clock(0).await
}

async fn slow(proxy: &Proxy) {
    proxy.set(Faults {
        latency: Duration::from_millis(40),
        ..Faults::default()
    });
    sleep(LEASE).await;
    proxy.heal();
}

/// Executors of a data directory.
fn executors(data_dir: &Path) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let ours = data_dir.as_os_str().as_encoded_bytes();
    let is_ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        words.next() == Some(b"executor") && words.any(|word| word == ours)
    };
    pids.filter(is_ours).collect()
}
