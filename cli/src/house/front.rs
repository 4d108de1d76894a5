//! The API and its listener.

use std::sync::Arc;

use anyhow::{Context, Result};
use perennial_api::accounts::Secret;
use perennial_api::{Api, Config, Doors, Hosts, Limits};
use perennial_engine::ports::Router;
use perennial_gateway::Gateway;
use perennial_router::Tunnels;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Store, SystemIds, files, models};
use crate::config::Settings;

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

/// An API that listens and is ready to serve.
pub struct Front {
    /// Where it listens.
    pub url: String,
    /// Where processes of this machine reach models.
    pub models: String,
    /// Which key there is for this machine's clients.
    pub key: Key,
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
        tunnels: Option<Arc<Tunnels>>,
        keys: Keys,
    ) -> Result<Self> {
        let data_dir = settings.data_dir.value.clone();
        let key = ensure_key(&data_dir, store, keys).await?;
        let listener = listen(settings).await?;
        let address = listener.local_addr()?;
        let ports = perennial_api::Ports {
            log: store.log.clone(),
            sessions: store.sessions.clone(),
            leases: store.leases.clone(),
            bus: store.bus.clone(),
            blobs: store.blobs.clone(),
            router,
            clock: store.clock.clone(),
            ids: Arc::new(SystemIds),
            accounts: store.accounts.clone(),
            metering: store.metering.clone(),
            executors: store.executors.clone(),
        };
        let config = Config {
            // Loopback names only where only loopback can reach us; elsewhere names are the operator's business.
            hosts: if address.ip().is_loopback() {
                Hosts::Loopback
            } else {
                Hosts::Any
            },
            limits: Limits::default(),
            gateway: Some(gateway),
            tunnels,
            metrics: perennial_api::prometheus(),
            default_model: settings.model().to_owned(),
        };
        Ok(Self {
            url: format!("http://{address}"),
            models: models::root(address),
            key,
            data_dir,
            listener,
            api: Api::new(ports, config),
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

    /// Serves until `closing` is cancelled.
    pub fn start(self, closing: CancellationToken) -> Serving {
        let serving = perennial_api::serve(self.listener, self.api.router(), Limits::default(), closing);
        Serving {
            data_dir: self.data_dir,
            api: self.api,
            serving: tokio::spawn(serving),
        }
    }
}

/// An API that serves.
pub struct Serving {
    data_dir: std::path::PathBuf,
    api: Api,
    serving: JoinHandle<std::io::Result<()>>,
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

async fn ensure_key(data_dir: &std::path::Path, store: &Store, keys: Keys) -> Result<Key> {
    let (known, now) = (files::read_key(data_dir)?, store.clock.now());
    let ensured = match keys {
        Keys::Always => store.accounts.ensure_workspace_and_key(known.as_ref(), now).await?,
        Keys::First => store.accounts.ensure_first_key(known.as_ref(), now).await?,
    };
    Ok(match ensured.fresh {
        Some(key) => {
            files::write_key(data_dir, &key)?;
            Key::Fresh(key)
        }
        None if ensured.known => Key::Known,
        None => Key::Elsewhere,
    })
}

async fn listen(settings: &Settings) -> Result<TcpListener> {
    let address = settings.listen.value;
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; choose another address with --listen"))
}
