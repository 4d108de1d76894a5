//! A private copy of the install: one process on an embedded database, or nodes and workers on servers
//! of a cluster, reached through fault proxies so that nobody else on those servers notices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde::Serialize;

use super::Sabotage;
use super::trace::{FILTER, Trace};
use crate::proxy::{self, Proxy};
use crate::rig::client::Client;
use crate::rig::clock::Clock;
use crate::rig::port::free_port;
use crate::rig::process::{Process, Program, beside};
use crate::rig::server::SHORT_LEASES;
use crate::rig::visitor::Doors;

/// Longest wait for a process that was told to wind down.
pub(super) const DRAIN: Duration = Duration::from_secs(25);
/// A statement with this writes events.
const WRITES: &str = "INSERT INTO commits";

/// Servers of a cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `postgres://…`
    pub database_url: String,
    /// The schema that is made for this run, and is ours alone.
    pub schema: String,
    /// `nats://…`
    pub nats_url: Option<String>,
    /// What our subjects begin with.
    pub nats_prefix: String,
    /// Processes that serve the API.
    pub nodes: usize,
    /// Processes that work.
    pub workers: usize,
    /// The library that gives processes a clock of their own, where workers' clocks are to be set wrong.
    pub clocks: Option<PathBuf>,
}

/// What only who started the cluster's servers can do to them.
#[async_trait]
pub trait Outages: Send {
    /// Stops the database without a checkpoint, and starts it again.
    async fn crash_database(&mut self) -> Result<()>;
    /// Kills the bus, and starts it again.
    async fn crash_bus(&mut self) -> Result<()>;
    /// Whether the database's clock can be set.
    fn has_clock(&self) -> bool {
        false
    }
    /// Sets the database's clock so many seconds off.
    async fn set_clock(&mut self, _seconds: i64) -> Result<()> {
        anyhow::bail!("the database's clock cannot be set")
    }
}

pub(super) struct Member {
    pub(super) program: Program,
    pub(super) process: Process,
    /// Its own line to the database, if it has one.
    pub(super) database: Option<Proxy>,
    /// The file that sets its clock, if it has one of its own.
    pub(super) clock: Option<Clock>,
    /// It runs as an older version.
    pub(super) is_older: bool,
}

pub(super) struct Node {
    pub(super) member: Member,
    url: String,
    /// Between clients' streams and the node.
    pub(super) streams: Proxy,
}

/// Processes that got a SIGKILL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kills {
    /// That served the API.
    pub servers: u64,
    /// That worked.
    pub workers: u64,
    /// That ran calls.
    pub executors: u64,
}

impl Kills {
    /// Of all kinds.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.servers + self.workers + self.executors
    }
}

/// A private install that works.
pub struct House {
    pub(super) data_dir: PathBuf,
    key: String,
    pub(super) nodes: Vec<Node>,
    pub(super) workers: Vec<Member>,
    pub(super) database: Option<Proxy>,
    pub(super) bus: Option<Proxy>,
    pub(super) outages: Option<Box<dyn Outages>>,
    schema: Option<String>,
    /// Processes that were killed.
    pub(super) kills: Kills,
    /// What makes a worker one of an older version.
    pub(super) older: Vec<(String, String)>,
}

impl House {
    /// One process on an embedded database.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn embedded(data_dir: &Path, env: &[(String, String)]) -> Result<Self> {
        let mut house = Self::empty(data_dir);
        let node = Node::start(house.program("up", "up", env, &[])).await?;
        house.nodes.push(node);
        house.read_key()?;
        Ok(house)
    }

    /// Nodes and workers on a cluster's servers.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn cluster(data_dir: &Path, cluster: &Cluster, env: &[(String, String)]) -> Result<Self> {
        let mut house = Self::empty(data_dir);
        house.schema = Some(cluster.schema.clone());
        let (database, database_url) = proxied(&cluster.database_url, 5432, Some(WRITES)).await?;
        let mut args = vec![("--database-schema", cluster.schema.clone())];
        house.database = Some(database);
        if let Some(nats_url) = &cluster.nats_url {
            let (bus, nats_url) = proxied(nats_url, 4222, None).await?;
            args.extend([("--nats-url", nats_url), ("--nats-prefix", cluster.nats_prefix.clone())]);
            house.bus = Some(bus);
        }
        let args: Vec<String> = args
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        let through = |url: &str| [args.clone(), vec!["--database-url".to_owned(), url.to_owned()]].concat();
        let shared = through(&database_url);
        house.migrate(env, &shared).await?;
        for index in 0..cluster.nodes {
            let node = Node::start(house.program("serve", &format!("serve-{index}"), env, &shared)).await?;
            house.nodes.push(node);
        }
        for index in 0..cluster.workers {
            let (line, url) = proxied(&database_url, 5432, None).await?;
            let mut program = house.program("worker", &format!("worker-{index}"), env, &through(&url));
            let clock = match &cluster.clocks {
                None => None,
                Some(library) => {
                    let clock = Clock::new(beside(&house.data_dir, &format!("-worker-{index}.clock")))?;
                    program.env.extend(clock.env(library));
                    Some(clock)
                }
            };
            let member = Member {
                database: Some(line),
                clock,
                ..Member::start(program)?
            };
            house.workers.push(member);
        }
        house.read_key()?;
        Ok(house)
    }

    fn empty(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            key: String::new(),
            nodes: Vec::new(),
            workers: Vec::new(),
            database: None,
            bus: None,
            outages: None,
            schema: None,
            kills: Kills::default(),
            older: Vec::new(),
        }
    }

    /// Makes our schema: the processes of a cluster refuse to.
    async fn migrate(&self, env: &[(String, String)], args: &[String]) -> Result<()> {
        let mut program = self.program("migrate", "migrate", env, &[]);
        program.args = args.to_vec();
        let status = program.start()?.ended(DRAIN).await?;
        anyhow::ensure!(status.success(), "the database cannot be migrated: {}", program.log());
        Ok(())
    }

    /// With somebody who can stop the cluster's servers.
    #[must_use]
    pub fn with_outages(mut self, outages: Box<dyn Outages>) -> Self {
        self.outages = Some(outages);
        self
    }

    /// With workers that can be replaced by older ones, which do not know these types of events (builds with failpoints), and
    /// those by newer ones again. The first is older from the start.
    ///
    /// # Errors
    /// When it does not wind down or start.
    pub async fn with_older(mut self, unknown: &str) -> Result<Self> {
        self.older = vec![("PERENNIAL_OLDER_THAN".to_owned(), unknown.to_owned())];
        self.replace(0).await?;
        Ok(self)
    }

    /// The other version of a worker takes its place.
    pub(super) async fn replace(&mut self, index: usize) -> Result<()> {
        let worker = self.workers.get_mut(index).context("no such worker")?;
        worker
            .process
            .stop(DRAIN)
            .await
            .context("a process did not wind down")?;
        worker.is_older = !worker.is_older;
        if worker.is_older {
            worker.program.env.extend(self.older.iter().cloned());
        } else {
            worker.program.env.retain(|entry| !self.older.contains(entry));
        }
        worker.process = worker.program.start()?;
        Ok(())
    }

    /// Ends a node and starts it again, on what has become of its servers.
    ///
    /// # Errors
    /// With what it said, when it does not start.
    pub async fn restart_node(&mut self, index: usize) -> Result<()> {
        let node = self.nodes.get_mut(index).context("no such node")?;
        node.member.process.stop(DRAIN).await?;
        node.restart().await
    }

    /// Where its tables are, on a cluster's database.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Every worker is of the newest version from now on.
    ///
    /// # Errors
    /// When one does not wind down or start.
    pub async fn upgrade(&mut self) -> Result<()> {
        for index in 0..self.workers.len() {
            if self.workers[index].is_older {
                self.replace(index).await?;
            }
        }
        Ok(())
    }

    fn program(&self, verb: &'static str, name: &str, env: &[(String, String)], args: &[String]) -> Program {
        let mut args = args.to_vec();
        if verb != "serve" {
            args.extend(SHORT_LEASES.map(str::to_owned));
            args.push("--allow-local".to_owned());
        }
        let mut program = Program {
            verb,
            data_dir: self.data_dir.clone(),
            log_file: beside(&self.data_dir, &format!("-{name}.log")),
            env: env.to_vec(),
            args,
        };
        program.env.push(("PERENNIAL_LOG".to_owned(), FILTER.to_owned()));
        program
    }

    fn read_key(&mut self) -> Result<()> {
        let path = self.data_dir.join("key");
        let key = std::fs::read_to_string(&path).with_context(|| format!("no key in {}", path.display()))?;
        key.trim().clone_into(&mut self.key);
        Ok(())
    }

    /// Where everything is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Ways in: requests go straight to the nodes, streams through a proxy.
    #[must_use]
    pub fn doors(&self) -> Doors {
        let client = |url: &str| Client::new(url, &self.key).ok();
        let through = |node: &Node| client(&format!("http://{}", node.streams.address()));
        Doors {
            requests: self.nodes.iter().filter_map(|node| client(&node.url)).collect(),
            streams: self.nodes.iter().filter_map(through).collect(),
        }
    }

    /// The proxy before the database, for tests that cut on their own.
    #[must_use]
    pub fn database(&self) -> Option<&Proxy> {
        self.database.as_ref()
    }

    /// Everything is well again: every process runs, every connection carries.
    ///
    /// # Errors
    /// When a process does not start.
    pub async fn heal(&mut self) -> Result<()> {
        let proxies = self.nodes.iter().map(|node| &node.streams);
        let lines = self.workers.iter().filter_map(|worker| worker.database.as_ref());
        for proxy in proxies.chain(lines).chain(&self.database).chain(&self.bus) {
            proxy.heal();
        }
        for clock in self.workers.iter().filter_map(|worker| worker.clock.as_ref()) {
            clock.set(0)?;
        }
        for node in &mut self.nodes {
            if node.member.process.is_gone() {
                node.restart().await?;
            }
        }
        for worker in &mut self.workers {
            if worker.process.is_gone() {
                worker.process = worker.program.start()?;
            }
        }
        Ok(())
    }

    /// What the processes said of themselves.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let nodes = self.nodes.iter().map(|node| &node.member);
        Trace::read(
            nodes
                .chain(&self.workers)
                .map(|member| member.program.log_file.as_path()),
        )
    }

    /// What the network was made to do.
    #[must_use]
    pub fn network(&self) -> BTreeMap<&'static str, proxy::Counters> {
        let mut network = BTreeMap::new();
        if let Some(node) = self.nodes.first() {
            network.insert("streams", node.streams.counters());
        }
        network.extend(self.database.as_ref().map(|proxy| ("database", proxy.counters())));
        let lines: Vec<_> = self
            .workers
            .iter()
            .filter_map(|worker| worker.database.as_ref())
            .collect();
        if !lines.is_empty() {
            network.insert("workers' database", lines.into_iter().map(Proxy::counters).sum());
        }
        network.extend(self.bus.as_ref().map(|proxy| ("bus", proxy.counters())));
        network
    }

    /// Ends every process.
    pub async fn close(mut self) {
        for worker in &mut self.workers {
            worker.process.kill().await.ok();
        }
        for node in &mut self.nodes {
            node.member.process.kill().await.ok();
        }
        self.kill_executor();
    }
}

impl Drop for House {
    /// Processes die with their handles; the executor is nobody's child.
    fn drop(&mut self) {
        self.kill_executor();
    }
}

impl Member {
    fn start(program: Program) -> Result<Self> {
        let process = program.start()?;
        Ok(Self {
            program,
            process,
            database: None,
            clock: None,
            is_older: false,
        })
    }
}

impl Node {
    /// Starts it on a port that stays its own.
    async fn start(mut program: Program) -> Result<Self> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        program.args.extend(["--listen".to_owned(), listen.clone()]);
        let (process, url) = program.start_listening().await?;
        Ok(Self {
            member: Member {
                program,
                process,
                database: None,
                clock: None,
                is_older: false,
            },
            url,
            streams: Proxy::before(&listen).await?,
        })
    }

    pub(super) async fn restart(&mut self) -> Result<()> {
        (self.member.process, self.url) = self.member.program.start_listening().await?;
        Ok(())
    }
}

/// What a process must be started with for a sabotage to be in force.
#[must_use]
pub fn sabotaged(sabotage: Sabotage) -> (String, String) {
    ("PERENNIAL_SABOTAGE".to_owned(), sabotage.hook().to_owned())
}

/// What makes processes of a build with failpoints dawdle where they may be overtaken, between reading and writing: for longer
/// than they are frozen, or for as long as it takes to say something to a session that goes to rest.
#[must_use]
pub fn stalled(sabotage: Option<Sabotage>) -> (String, String) {
    let stalls = match sabotage {
        Some(Sabotage::NoFence) => "worker.dispatch.before=15%sleep(3000)",
        Some(Sabotage::NoConditionalRelease) => "worker.rest.before=60%sleep(150)",
        _ => "worker.append.before=1%sleep(1700),worker.dispatch.before=3%sleep(3000),worker.rest.before=10%sleep(100)",
    };
    ("PERENNIAL_STALL_AT".to_owned(), stalls.to_owned())
}

/// A proxy before the host of a URL, and the URL through it.
async fn proxied(url: &str, port: u16, writes: Option<&'static str>) -> Result<(Proxy, String)> {
    let mut url = reqwest::Url::parse(url).context("the server's URL")?;
    let host = url.host_str().context("a URL without a host")?.to_owned();
    let upstream = format!("{host}:{}", url.port().unwrap_or(port));
    let proxy = match writes {
        Some(writes) => Proxy::before_postgres(&upstream, writes).await?,
        None => Proxy::before(&upstream).await?,
    };
    let here = proxy.address();
    let moved = url.set_host(Some(&here.ip().to_string())).is_ok() && url.set_port(Some(here.port())).is_ok();
    anyhow::ensure!(moved, "{url} cannot be reached through a proxy");
    Ok((proxy, url.into()))
}
