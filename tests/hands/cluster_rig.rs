//! A cluster that machines dial in to: nodes behind a balancer, workers, one Postgres, and a bus or none.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use perennial_proof::proxy::Proxy;
use perennial_proof::rig::port::free_port;
use perennial_proof::rig::process::{Process, Program, beside};
use perennial_proof::rig::server::SHORT_LEASES;
use perennial_tests::client::Client;
use perennial_tests::nats::Nats;
use perennial_tests::postgres::Postgres;
use perennial_tests::processes::end_executor;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::rig::{Device, PATIENCE};

/// A process of the cluster, living or not.
pub(crate) struct Member {
    pub(crate) program: Program,
    pub(crate) process: Process,
}

/// A process that serves.
pub(crate) struct Node {
    pub(crate) member: Member,
    pub(crate) client: Client,
    /// Between other processes and it: what it says that it is reached at.
    pub(crate) trunks: Proxy,
    address: SocketAddr,
}

/// The whole.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) nodes: Vec<Node>,
    pub(crate) workers: Vec<Member>,
    pub(crate) balancer: Balancer,
    _postgres: Postgres,
    _nats: Option<Nats>,
}

impl Cluster {
    /// None where it cannot be.
    pub(crate) async fn start(nodes: usize, workers: usize, bus: bool) -> Result<Option<Self>> {
        let Some(postgres) = Postgres::start().await? else {
            perennial_tests::not_run("hands on a cluster: Postgres is not installed")?;
            return Ok(None);
        };
        let nats = if bus { Nats::start().await? } else { None };
        if bus && nats.is_none() {
            perennial_tests::not_run("hands on a cluster: nats-server is not installed")?;
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let mut args = vec!["--database-url".to_owned(), postgres.url("postgres")];
        if let Some(nats) = &nats {
            args.extend(["--nats-url".to_owned(), nats.url()]);
        }
        let data = dir.path().join("data");
        let program = |verb, name: &str, more: &[&str]| Program {
            verb,
            data_dir: data.clone(),
            log_file: beside(&data, &format!("-{name}.log")),
            env: Vec::new(),
            args: args
                .iter()
                .cloned()
                .chain(more.iter().map(|&arg| arg.to_owned()))
                .collect(),
        };
        let migrated = program("migrate", "migrate", &[]).start()?.ended(PATIENCE).await?;
        anyhow::ensure!(migrated.success(), "the database cannot be migrated");
        let mut cluster = Self {
            balancer: Balancer::start().await?,
            dir,
            nodes: Vec::new(),
            workers: Vec::new(),
            _postgres: postgres,
            _nats: nats,
        };
        for number in 0..nodes {
            let listen = format!("127.0.0.1:{}", free_port()?);
            let trunks = Proxy::before(&listen).await?;
            let at = format!("http://{}", trunks.address());
            let more = ["--listen", &listen, "--advertise", &at];
            let program = program("serve", &format!("serve-{number}"), &more);
            let (process, url) = program.start_listening().await?;
            let key = std::fs::read_to_string(data.join("key")).context("no key file")?;
            cluster.nodes.push(Node {
                member: Member { program, process },
                client: Client::new(&url, key.trim())?,
                trunks,
                address: listen.parse()?,
            });
        }
        for number in 0..workers {
            let more: Vec<&str> = SHORT_LEASES.into_iter().chain(["--allow-local"]).collect();
            let program = program("worker", &format!("worker-{number}"), &more);
            let process = program.start()?;
            cluster.workers.push(Member { program, process });
        }
        cluster.route(0);
        Ok(Some(cluster))
    }

    /// New connections of machines go to this node first, then to the next ones.
    pub(crate) fn route(&self, first: usize) {
        let all = self.nodes.iter().map(|node| node.address);
        let mut order: Vec<SocketAddr> = all.collect();
        order.rotate_left(first);
        self.balancer.upstreams(order);
    }

    pub(crate) fn client(&self, node: usize) -> &Client {
        &self.nodes[node].client
    }

    /// A machine behind the balancer.
    pub(crate) async fn device(&self, name: &str) -> Result<Device> {
        let server = format!("http://{}", self.balancer.address);
        Device::connect(self.dir.path(), self.client(0), &server, name).await
    }

    /// Where a node is.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    /// The next life of a node, at the same address.
    pub(crate) async fn revive(&mut self, node: usize) -> Result<()> {
        let member = &mut self.nodes[node].member;
        (member.process, _) = member.program.start_listening().await?;
        Ok(())
    }

    /// What every process said, for a failure.
    pub(crate) fn logs(&self) -> String {
        let nodes = self.nodes.iter().map(|node| &node.member);
        let logs = nodes.chain(&self.workers).map(|member| {
            let text = member.program.log();
            let tail = text.len().saturating_sub(3000);
            format!(
                "{}:\n{}\n",
                member.program.log_file.display(),
                text.get(tail..).unwrap_or(&text)
            )
        });
        logs.collect()
    }
}

impl Drop for Cluster {
    /// Processes die with their handles; the executor of the workers is nobody's child, and comes back while one of them lives.
    fn drop(&mut self) {
        self.workers.clear();
        if let Err(error) = end_executor(&self.dir.path().join("data")) {
            eprintln!("the cluster's executor is left: {error:#}");
        }
    }
}

/// What stands before the nodes, as in any install of several: a connection goes to the first of them that takes it.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    upstreams: Arc<Mutex<Vec<SocketAddr>>>,
    /// Connections that were let through.
    pub(crate) taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Balancer {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (upstreams, taken) = (Arc::<Mutex<Vec<SocketAddr>>>::default(), Arc::<AtomicUsize>::default());
        let (known, counted) = (upstreams.clone(), taken.clone());
        let task = tokio::spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                tokio::select! {
                    Some(_) = carried.join_next(), if !carried.is_empty() => {}
                    accepted = listener.accept() => {
                        let Ok((mut here, _)) = accepted else { continue };
                        let order = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        let counted = counted.clone();
                        carried.spawn(async move {
                            for upstream in order {
                                if let Ok(mut there) = TcpStream::connect(upstream).await {
                                    counted.fetch_add(1, Ordering::Relaxed);
                                    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                                    return;
                                }
                            }
                        });
                    }
                }
            }
        });
        Ok(Self {
            address,
            upstreams,
            taken,
            task,
        })
    }

    fn upstreams(&self, order: Vec<SocketAddr>) {
        *self.upstreams.lock().unwrap_or_else(PoisonError::into_inner) = order;
    }

    /// Waits until one more connection than these was let through.
    pub(crate) async fn another(&self, than: usize) -> Result<()> {
        let began = Instant::now();
        while self.taken.load(Ordering::Relaxed) <= than {
            if began.elapsed() > PATIENCE {
                bail!("no machine dialled");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
