//! A cluster as one installs it, on one database: servers, an executor, workers, and a bus where there is one.

use std::path::Path;

use anyhow::{Context, Result};
use perennial_proof::rig::process::{Process, Program};
use perennial_tests::client::Client;
use perennial_tests::nats::Nats;
use perennial_tests::processes::end_executor;

use crate::postgres::Database;

/// A server.
struct Node {
    process: Process,
    url: String,
    client: Client,
}

/// Its processes, gone with this value.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    workers: Vec<Process>,
    executor: Process,
    nats: Option<Nats>,
    /// What all of its processes are told.
    shared: Vec<String>,
    env: Vec<(String, String)>,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// So many servers and an executor; no worker yet.
    pub(crate) async fn start(database: &Database, nodes: usize, env: &[(&str, &str)]) -> Result<Self> {
        Self::keeping(database, nodes, env, &[]).await
    }

    /// The same; the servers are told more.
    pub(crate) async fn keeping(
        database: &Database,
        nodes: usize,
        env: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let nats = Nats::start().await?;
        let mut shared = vec!["--database-url".to_owned(), database.url().to_owned()];
        if let Some(nats) = &nats {
            shared.extend(["--nats-url".to_owned(), nats.url()]);
        }
        let env: Vec<(String, String)> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        // First of all, and ours: a server that keeps workers would start one that nobody ends.
        let executor = program(dir.path(), "executor", "executor", &env, &[], &[]).start()?;
        let mut servers = Vec::with_capacity(nodes);
        for number in 0..nodes {
            let flags = [&["--listen", "127.0.0.1:0"], flags].concat();
            let program = program(dir.path(), "serve", &format!("serve-{number}"), &env, &shared, &flags);
            let (process, url) = program.start_listening().await?;
            let key = std::fs::read_to_string(dir.path().join("data/key")).context("no key file")?;
            let client = Client::new(&url, key.trim())?;
            servers.push(Node { process, url, client });
        }
        Ok(Self {
            nodes: servers,
            workers: Vec::new(),
            executor,
            nats,
            shared,
            env,
            dir,
        })
    }

    /// One worker more.
    pub(crate) fn worker(&mut self) -> Result<()> {
        let name = format!("worker-{}", self.workers.len());
        let flags = ["--allow-local"];
        let worker = program(self.dir.path(), "worker", &name, &self.env, &self.shared, &flags);
        self.workers.push(worker.start()?);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill_worker(&mut self, number: usize) -> Result<()> {
        let worker = self.workers.get_mut(number).context("no such worker")?;
        worker.kill().await
    }

    /// A client of one of the servers; they take turns.
    pub(crate) fn door(&self, turn: usize) -> &Client {
        &self.nodes[turn % self.nodes.len()].client
    }

    /// Where the servers listen.
    pub(crate) fn urls(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.url.as_str()).collect()
    }

    /// The servers' processes.
    pub(crate) fn servers(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.pid).collect()
    }

    /// The workers' processes.
    pub(crate) fn workers(&self) -> Vec<u32> {
        self.workers.iter().map(|process| process.pid).collect()
    }

    /// All of its processes, the bus among them.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let bus = self.nats.as_ref().and_then(Nats::pid);
        let rest = bus.into_iter().chain([self.executor.pid]);
        self.servers().into_iter().chain(self.workers()).chain(rest).collect()
    }

    /// What the processes said, for a failure.
    pub(crate) fn said(&self) -> String {
        let logs = std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        let logs = logs.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
        logs.map(|log| {
            let text = std::fs::read_to_string(log.path()).unwrap_or_default();
            format!("{}:\n{text}\n", log.file_name().display())
        })
        .collect()
    }
}

impl Drop for Cluster {
    /// Processes die with their handles; an executor that a server started is nobody's child.
    fn drop(&mut self) {
        end_executor(&self.dir.path().join("data")).ok();
    }
}

fn program(
    dir: &Path,
    verb: &'static str,
    name: &str,
    env: &[(String, String)],
    shared: &[String],
    flags: &[&str],
) -> Program {
    let flags = flags.iter().map(|&flag| flag.to_owned());
    Program {
        verb,
        data_dir: dir.join("data"),
        log_file: dir.join(format!("{name}.log")),
        env: env.to_vec(),
        args: shared.iter().cloned().chain(flags).collect(),
    }
}
