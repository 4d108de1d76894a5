//! The way to models: this process's gateway, or another one's, and how harness processes reach it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use perennial_api::{Hosts, Limits, Llm};
use perennial_gateway::{
    ANTHROPIC, Credential, Forward, Gateway, OPENAI, Prices, Provider, Providers, Remote, Timeouts, Wire,
};
use perennial_worker::harness::{Gate, Minted};
use perennial_worker::model::Models;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Store, SystemIds};
use crate::config::{self, CustomProvider, Settings};

/// This process's gateway.
pub fn gateway(settings: &Settings, store: &Store) -> Arc<Gateway> {
    Arc::new(Gateway::new(perennial_gateway::Settings {
        providers: providers(settings),
        prices: Prices::new(settings.prices.clone()),
        timeouts: Timeouts::default(),
        metering: Some(store.metering.clone()),
        clock: store.clock.clone(),
        ids: Arc::new(SystemIds),
    }))
}

/// The gateway's root for processes of this machine, at a listener's address.
pub(super) fn root(address: SocketAddr) -> String {
    format!("{}/llm", near(address))
}

/// Where this machine reaches who listens there.
pub(super) fn near(address: SocketAddr) -> String {
    let mut near = address;
    if near.ip().is_unspecified() {
        near.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{near}")
}

/// A gateway's port of its own, for harness processes of a worker without an API. Virtual keys only.
pub struct Port {
    root: String,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Port {
    /// Takes any loopback port and serves until `closing` is cancelled.
    pub async fn open(gateway: Arc<Gateway>, closing: CancellationToken) -> Result<Self> {
        let bound = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = bound.context("there is no loopback port for the model gateway")?;
        let root = root(listener.local_addr()?);
        let router = Llm::new(gateway, None, Hosts::Loopback, Limits::default()).alone();
        let serving = tokio::spawn(perennial_api::serve(listener, router, Limits::default(), closing));
        Ok(Self { root, serving })
    }

    /// Where it is.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Waits for its end.
    pub async fn ended(self) -> Result<()> {
        self.serving.await.context("the model gateway ended abnormally")??;
        Ok(())
    }
}

/// What brains need to ask models.
pub struct Access {
    gateway: Arc<Gateway>,
    forward: Arc<dyn Forward>,
    providers: Providers,
    gate: Arc<Minted>,
}

impl Access {
    /// By this process's gateway, whose root is `own`, or by the one that the settings name.
    pub fn new(settings: &Settings, store: &Store, gateway: Arc<Gateway>, own: &str) -> Self {
        let metering = store.metering.clone();
        let (forward, providers, root): (Arc<dyn Forward>, _, _) = match &settings.gateway_url {
            None => (gateway.clone(), gateway.providers().clone(), own.to_owned()),
            Some(url) => {
                let url = url.value.clone();
                let remote = Remote::new(url.clone(), Timeouts::default(), metering.clone(), store.clock.clone());
                (Arc::new(remote), elsewhere(gateway.providers()), url)
            }
        };
        let near = settings.gateway_url.is_none().then(|| gateway.clone());
        let gate = Minted {
            metering,
            providers: providers.clone(),
            root,
            gateway: near,
        };
        Self {
            gateway,
            forward,
            providers,
            gate: Arc::new(gate),
        }
    }

    /// For the native loop.
    pub fn models(&self) -> Models {
        Models::through(self.providers.clone(), &self.forward, self.gateway.clone())
    }

    /// Who serves which model.
    pub fn providers(&self) -> Providers {
        self.providers.clone()
    }

    /// For harness processes.
    pub fn gate(&self) -> Arc<dyn Gate> {
        self.gate.clone()
    }

    /// Waits until everything that was asked is counted.
    pub async fn settled(&self) {
        self.gateway.settled().await;
    }
}

fn providers(settings: &Settings) -> Providers {
    let built_in = |provider: &config::Provider, wire, variable: &str| {
        let credential = match &provider.key {
            Some(key) => Credential::Key(key.value.clone()),
            None => Credential::Missing {
                setting: variable.to_owned(),
            },
        };
        Provider::new(wire, provider.base_url.value.clone(), credential)
    };
    let mut named: std::collections::BTreeMap<String, Provider> = settings
        .providers
        .iter()
        .map(|(name, provider)| (name.clone(), custom(provider)))
        .collect();
    let anthropic = built_in(&settings.anthropic, Wire::Messages, "ANTHROPIC_API_KEY");
    named.insert(ANTHROPIC.to_owned(), anthropic);
    let openai = built_in(&settings.openai, Wire::Responses, "OPENAI_API_KEY");
    named.insert(OPENAI.to_owned(), openai);
    Providers::new(named)
}

fn custom(provider: &CustomProvider) -> Provider {
    let headers = provider.headers.iter();
    Provider {
        wire: provider.wire,
        base_url: provider.base_url.value.clone(),
        credential: match &provider.key {
            Some(key) => Credential::Key(key.value.clone()),
            None => Credential::Keyless,
        },
        headers: headers
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect(),
        models: provider.models.clone(),
    }
}

/// The same providers as seen from a worker whose gateway is elsewhere: which keys there are is known there.
fn elsewhere(providers: &Providers) -> Providers {
    let keyless = providers.iter().map(|(name, provider)| {
        let provider = Provider {
            credential: Credential::Keyless,
            ..provider.clone()
        };
        (name.to_owned(), provider)
    });
    Providers::new(keyless.collect())
}
