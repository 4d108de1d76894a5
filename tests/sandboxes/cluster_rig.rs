//! A cluster: servers, of which some have a container engine, workers that have none, one Postgres, and a bus or none.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use perennial_proof::rig::port::free_port;
use perennial_proof::rig::process::{Process, Program, beside};
use perennial_proof::rig::server::SHORT_LEASES;
use perennial_tests::client::Client;
use perennial_tests::docker::{Engine, IMAGE};
use perennial_tests::nats::Nats;
use perennial_tests::postgres::Postgres;
use perennial_tests::processes::end_executor;
use serde_json::{Value, json};

use crate::rig::{Eye, PATIENCE, results, script, session, turn};

/// A process of the cluster, living or not.
pub(crate) struct Member {
    pub(crate) program: Program,
    pub(crate) process: Process,
}

impl Member {
    /// The next life, at the same address.
    pub(crate) async fn revive(&mut self) -> Result<()> {
        self.process = match self.program.verb {
            "serve" => self.program.start_listening().await?.0,
            _ => self.program.start()?,
        };
        Ok(())
    }
}

/// The whole.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) servers: Vec<Member>,
    pub(crate) workers: Vec<Member>,
    /// Of the first server.
    pub(crate) client: Client,
    pub(crate) database: String,
    eye: Eye,
    _postgres: Postgres,
    _nats: Option<Nats>,
}

impl std::ops::Deref for Cluster {
    type Target = Eye;

    fn deref(&self) -> &Eye {
        &self.eye
    }
}

impl Cluster {
    /// Servers, each with an engine or without, and so many workers; a server is given up after so many seconds. None where it cannot
    /// be.
    pub(crate) async fn start(servers: &[bool], workers: usize, bus: bool, lost_after: u32) -> Result<Option<Self>> {
        let Some(engine) = Engine::shared().await? else {
            return Ok(None);
        };
        let Some(postgres) = Postgres::start().await? else {
            perennial_tests::not_run("sandboxes on a cluster: Postgres is not installed")?;
            return Ok(None);
        };
        let nats = if bus { Nats::start().await? } else { None };
        if bus && nats.is_none() {
            perennial_tests::not_run("sandboxes on a cluster: nats-server is not installed")?;
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let database = postgres.url("postgres");
        let mut shared = vec!["--database-url".to_owned(), database.clone()];
        if let Some(nats) = &nats {
            shared.extend(["--nats-url".to_owned(), nats.url()]);
        }
        let program = |verb, name: &str, more: Vec<String>| {
            let data_dir = dir.path().join(name);
            Program {
                verb,
                log_file: beside(&data_dir, ".log"),
                data_dir,
                env: vec![
                    (
                        "PERENNIAL_SANDBOX_EXECUTOR".to_owned(),
                        engine.executor.display().to_string(),
                    ),
                    ("PERENNIAL_SANDBOX_LOST_AFTER".to_owned(), lost_after.to_string()),
                ],
                args: shared.iter().cloned().chain(more).collect(),
            }
        };
        let migrated = program("migrate", "server-0", Vec::new())
            .start()?
            .ended(PATIENCE)
            .await?;
        ensure!(migrated.success(), "the database cannot be migrated");
        let (mut client, mut members) = (None, Vec::new());
        for (number, has_engine) in servers.iter().enumerate() {
            let mut more = vec!["--listen".to_owned(), format!("127.0.0.1:{}", free_port()?)];
            if *has_engine {
                let engine = ["--docker", &engine.host, "--sandbox-image", IMAGE];
                more.extend(engine.map(str::to_owned));
            }
            let program = program("serve", &format!("server-{number}"), more);
            let (process, url) = program.start_listening().await?;
            if client.is_none() {
                let key = std::fs::read_to_string(program.data_dir.join("key")).context("no key file")?;
                client = Some(Client::new(&url, key.trim())?);
            }
            members.push(Member { program, process });
        }
        let mut driving = Vec::new();
        for number in 0..workers {
            let more = SHORT_LEASES.into_iter().chain(["--allow-local"]).map(str::to_owned);
            let program = program("worker", &format!("worker-{number}"), more.collect());
            let process = program.start()?;
            driving.push(Member { program, process });
        }
        let logs = members
            .iter()
            .chain(&driving)
            .map(|member| member.program.log_file.clone());
        let eye = Eye {
            engine,
            logs: logs.collect(),
        };
        Ok(Some(Self {
            eye,
            dir,
            servers: members,
            workers: driving,
            client: client.context("no server")?,
            database,
            _postgres: postgres,
            _nats: nats,
        }))
    }

    /// A session in a cloud environment of this configuration.
    pub(crate) async fn session(&self, config: &Value) -> Result<String> {
        session(&self.client, config, &json!([])).await
    }

    /// One turn that runs a command; what came of it.
    pub(crate) async fn bash(&self, session: &str, command: &str) -> Result<String> {
        let events = turn(&self.client, session, &script(command)).await;
        let events = events.with_context(|| self.said())?;
        let told = results(&events).into_iter().next();
        told.with_context(|| format!("no result: {events:?} {}", self.said()))
    }

    pub(crate) async fn delete(&self, session: &str) -> Result<()> {
        let request = self.client.request("DELETE", &format!("/v1/sessions/{session}"));
        self.client.send(request).await?.ok()?;
        self.until_nothing(session).await
    }

    /// How many containers each instance has, of these sessions.
    pub(crate) fn by_instance(&self, sessions: &[String]) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for session in sessions {
            let container = self.container(session)?;
            let instance = container["Config"]["Labels"]["perennial.instance"].as_str();
            *counts.entry(instance.context("a label")?.to_owned()).or_default() += 1;
        }
        Ok(counts)
    }
}

impl Drop for Cluster {
    /// Processes die with their handles; the executors of workers are nobody's children, and come back while one of those lives.
    fn drop(&mut self) {
        let homes: Vec<_> = self.workers.drain(..).map(|worker| worker.program.data_dir).collect();
        for home in homes {
            if let Err(error) = end_executor(&home) {
                eprintln!("a worker's executor is left: {error:#}");
            }
        }
    }
}
