//! The API and its listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use perennial_api::accounts::Secret;
use perennial_api::{Api, Config, Doors, Hosts, Limits};
use perennial_engine::ports::Router;
use perennial_gateway::Gateway;
use perennial_router::Tunnels;
use perennial_schema::WorkspaceId;
use secrecy::ExposeSecret;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};
use super::{Store, SystemIds, files, models, webhooks};
use crate::config::{Database, Settings};

/// When a server makes a key for the clients of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Whenever the data directory has none that works: its database is nobody else's.
    Always,
    /// Only the first of an install that many servers share.
    First,
}

/// Which key there is for this machine's clients.
pub enum Key {
    /// The one in the data directory.
    Known,
    /// One that was made just now.
    Fresh(Secret),
    /// None: another server of the install made the first.
    Elsewhere,
}

/// How long a worker of somebody else is believed alive: twice as long as one of ours, because it may be far away. In seconds.
fn work_lease(settings: &Settings) -> u32 {
    u32::try_from(settings.lease_ttl_ms.value.saturating_mul(2).div_ceil(1000))
        .map_or(u32::MAX, |seconds| seconds.max(2))
}

/// An API that listens and is ready to serve.
pub struct Front {
    /// Where it listens.
    pub url: String,
    /// Where processes of this machine reach models.
    pub models: String,
    /// Which key there is for this machine's clients.
    pub key: Key,
    /// What logs in to the console, once and within ten minutes; none when this binary has no console.
    pub console: Option<String>,
    metrics: Metrics,
    data_dir: std::path::PathBuf,
    listener: TcpListener,
    api: Api,
}

impl Front {
    /// Joins the API to a store and a router, makes the first key, and takes the address.
    pub async fn build(
        settings: &Settings,
        store: &Store,
        router: Arc<dyn Router>,
        gateway: Arc<Gateway>,
        tunnels: Arc<Tunnels>,
        keys: Keys,
    ) -> Result<Self> {
        let data_dir = settings.data_dir.value.clone();
        let (workspace, key) = ensure_key(&data_dir, store, keys).await?;
        let listener = listen(settings).await?;
        let address = listener.local_addr()?;
        if let Some(database) = &settings.database {
            tunnels.reached_at(advertised(settings, address, database).await);
        }
        let ports = perennial_api::Ports {
            log: store.log.clone(),
            sessions: store.sessions.clone(),
            leases: store.leases.clone(),
            bus: store.bus.clone(),
            blobs: store.blobs.clone(),
            seals: store.seals.clone(),
            router,
            clock: store.clock.clone(),
            ids: Arc::new(SystemIds),
            accounts: store.accounts.clone(),
            metering: store.metering.clone(),
            executors: store.executors.clone(),
            mail: store.mail.clone(),
            pool: store.pool.clone(),
            work: store.work.clone(),
            mcp: store.mcp.clone(),
            webhooks: store.webhooks.clone(),
        };
        let metrics = Metrics::count();
        let config = Config {
            // Loopback names only where only loopback can reach us; elsewhere names are the operator's business.
            hosts: if address.ip().is_loopback() {
                Hosts::Loopback
            } else {
                Hosts::Any
            },
            limits: Limits {
                work_lease: work_lease(settings),
                ..Limits::default()
            },
            gateway: Some(gateway),
            tunnels: Some(tunnels),
            egress: Some(webhooks::guard(settings)),
            previews: settings.previews.clone(),
            metrics: metrics.handle(),
            default_model: settings.model().to_owned(),
        };
        let (api, url) = (Api::new(ports, config), format!("http://{address}"));
        let console = if perennial_api::console_is_built() {
            Some(format!("{}{}", models::near(address), api.console_link(workspace)?))
        } else {
            None
        };
        Ok(Self {
            url,
            console,
            models: models::root(address),
            key,
            metrics,
            data_dir,
            listener,
            api,
        })
    }

    /// The ways out of sandboxes, each a socket in a folder below `root`.
    pub fn doors(&self, root: std::path::PathBuf, closing: CancellationToken) -> Doors {
        Doors::new(&self.api, root, closing)
    }

    /// Leaves the address where clients of this machine find it. Connections are taken from now on, and served after
    /// [`Front::start`].
    pub fn announce(&self) -> Result<()> {
        files::write_server(&self.data_dir, &self.url)
    }

    /// Serves what is counted, and whether the stores answer, where the settings say.
    pub async fn tell(&self, settings: &Settings, closing: CancellationToken) -> Result<()> {
        metrics::serve(settings, self.api.operations(), closing).await
    }

    /// Serves until `closing` is cancelled.
    pub fn start(self, closing: CancellationToken) -> Serving {
        let serving = perennial_api::serve(self.listener, self.api.router(), Limits::default(), closing);
        Serving {
            data_dir: self.data_dir,
            api: self.api,
            serving: tokio::spawn(serving),
            _metrics: self.metrics,
        }
    }
}

/// An API that serves.
pub struct Serving {
    data_dir: std::path::PathBuf,
    api: Api,
    serving: JoinHandle<std::io::Result<()>>,
    _metrics: Metrics,
}

impl Serving {
    /// Tells clients of this machine that the server goes away.
    pub fn retract(&self) {
        files::remove_server(&self.data_dir);
    }

    /// Waits for open requests and tasks to end.
    pub async fn ended(self) -> Result<()> {
        self.serving.await.context("the listener ended abnormally")??;
        self.api.drained().await;
        Ok(())
    }
}

/// Where the cluster's other processes reach this one: as they were told, or as it is seen by whoever has the database.
async fn advertised(settings: &Settings, listens: SocketAddr, database: &Database) -> String {
    if let Some(url) = &settings.advertise {
        return url.value.trim_end_matches('/').to_owned();
    }
    let mut address = listens;
    if address.ip().is_unspecified() {
        match towards(database.url.value.expose_secret()).await {
            Some(ip) => address.set_ip(ip),
            None => tracing::warn!(
                "which address others of the cluster reach this one at is not known: name it with --advertise, or machines that \
                 dial in here are reached from here only"
            ),
        }
    }
    format!("http://{address}")
}

/// Which of our addresses the way to a server begins at. Nothing is sent.
async fn towards(url: &str) -> Option<IpAddr> {
    let url = reqwest::Url::parse(url).ok()?;
    let (host, port) = (url.host_str()?, url.port().unwrap_or(5432));
    for there in tokio::net::lookup_host((host, port)).await.ok()? {
        let any: SocketAddr = if there.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let Ok(socket) = UdpSocket::bind(any).await else {
            continue;
        };
        if socket.connect(there).await.is_ok()
            && let Ok(here) = socket.local_addr()
        {
            return Some(here.ip());
        }
    }
    None
}

async fn ensure_key(data_dir: &std::path::Path, store: &Store, keys: Keys) -> Result<(WorkspaceId, Key)> {
    let (known, now) = (files::read_key(data_dir)?, store.clock.now());
    let ensured = match keys {
        Keys::Always => store.accounts.ensure_workspace_and_key(known.as_ref(), now).await?,
        Keys::First => store.accounts.ensure_first_key(known.as_ref(), now).await?,
    };
    let key = match ensured.fresh {
        Some(key) => {
            files::write_key(data_dir, &key)?;
            Key::Fresh(key)
        }
        None if ensured.known => Key::Known,
        None => Key::Elsewhere,
    };
    Ok((ensured.workspace, key))
}

async fn listen(settings: &Settings) -> Result<TcpListener> {
    let address = settings.listen.value;
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; choose another address with --listen"))
}
