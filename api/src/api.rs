//! The API as a value: what it is made of, and the router it turns into.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use perennial_egress::Guard;
use perennial_engine::ports::{
    Blobs, Bus, Clock, Executors, Ids, Leases, Log, McpApprovals, Metering, Pool, Router as ToolRouter, Seals,
    SessionKey, SessionRow, Sessions, Webhooks, WorkQueues,
};
use perennial_gateway::Gateway;
use perennial_mailbox::Office;
use perennial_router::Tunnels;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::{SessionId, WorkspaceId};
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::auth::{KeyCache, Principal};
use crate::bucket::Bucket;
use crate::console::Links;
use crate::endpoints::work::Wanting;
use crate::error::ApiError;
use crate::feed::Hub;
use crate::host::Hosts;
use crate::limits::{self, Limits};
use crate::preview::{Previews, Visits};
use crate::scope::Scope;

/// Everything the API reaches the outside through.
#[derive(Clone)]
pub struct Ports {
    /// Append and read.
    pub log: Arc<dyn Log>,
    /// Session rows.
    pub sessions: Arc<dyn Sessions>,
    /// Only to lift a quarantine.
    pub leases: Arc<dyn Leases>,
    /// Hints and deltas for streams.
    pub bus: Arc<dyn Bus>,
    /// Large tool output.
    pub blobs: Arc<dyn Blobs>,
    /// Tokens of resources.
    pub seals: Arc<dyn Seals>,
    /// Workspace copies for forks.
    pub router: Arc<dyn ToolRouter>,
    /// Stamps.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// Keys, agents, environments.
    pub accounts: Arc<dyn Accounts>,
    /// Budgets, virtual keys, what was used.
    pub metering: Arc<dyn Metering>,
    /// Machines that dial in.
    pub executors: Arc<dyn Executors>,
    /// Mail in and out.
    pub mail: Arc<Office>,
    /// Workers, and how much there is to do for them.
    pub pool: Arc<dyn Pool>,
    /// What workers of self-hosted environments are to serve.
    pub work: Arc<dyn WorkQueues>,
    /// Tools of MCP servers that were let in.
    pub mcp: Arc<dyn McpApprovals>,
    /// Who is told of what happens.
    pub webhooks: Arc<dyn Webhooks>,
}

/// How the API behaves.
#[derive(Clone, Default)]
pub struct Config {
    /// Which `Host` headers are served.
    pub hosts: Hosts,
    /// Patience and sizes.
    pub limits: Limits,
    /// The model of agents that name none on the command line; `/readyz` tells it to clients.
    pub default_model: String,
    /// Models for whoever has a key, under `/llm`; none serves nothing there.
    pub gateway: Option<Arc<Gateway>>,
    /// Where machines dial in; none refuses them.
    pub tunnels: Option<Arc<Tunnels>>,
    /// What vets addresses that webhooks are sent to; none vets them only when they are.
    pub egress: Option<Guard>,
    /// Where ports of those machines are shown in a browser.
    pub previews: Previews,
    /// What `/metrics` prints; none means it prints nothing. See [`crate::prometheus`].
    pub metrics: Option<PrometheusHandle>,
}

/// The HTTP API.
#[derive(Clone)]
pub struct Api {
    app: App,
}

/// What handlers share.
pub(crate) type App = Arc<Inner>;

/// The inside of [`Api`].
pub(crate) struct Inner {
    pub ports: Ports,
    pub config: Config,
    pub hub: Hub,
    pub keys: KeyCache,
    /// Which sessions want a worker of their environment.
    pub wanting: Wanting,
    /// Bounds what may be asked without a key.
    pub registrations: Bucket,
    /// The same for logins of the console.
    pub logins: Bucket,
    /// What logs in to the console once.
    pub links: Links,
    /// Who was let in to a preview lately.
    pub visits: Visits,
    /// Every task of this crate.
    pub tracker: TaskTracker,
}

impl Api {
    /// Puts the API together. Starts nothing.
    #[must_use]
    pub fn new(ports: Ports, config: Config) -> Self {
        let tracker = TaskTracker::new();
        let hub = Hub::new(
            Arc::clone(&ports.log),
            Arc::clone(&ports.sessions),
            Arc::clone(&ports.bus),
            tracker.clone(),
            config.limits,
        );
        let app = Inner {
            ports,
            config,
            hub,
            keys: KeyCache::default(),
            wanting: Wanting::default(),
            registrations: Bucket::new(limits::REGISTRATIONS, limits::REGISTRATION_EVERY),
            logins: Bucket::new(limits::LOGINS, limits::LOGIN_EVERY),
            links: Links::default(),
            visits: Visits::default(),
            tracker,
        };
        Self { app: Arc::new(app) }
    }

    /// All routes, ready to be served or called in a test.
    pub fn router(&self) -> axum::Router {
        crate::router::router(Arc::clone(&self.app))
    }

    /// The path of a page that logs in to the console, once and within ten minutes.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn console_link(&self, workspace: WorkspaceId) -> Result<String, rand::rand_core::OsError> {
        Ok(format!("/login#{}", self.app.links.mint(workspace)?))
    }

    /// `/metrics`, `/healthz` and `/readyz`, for whoever reaches a listener of their own.
    pub fn operations(&self) -> axum::Router {
        crate::router::operations(Arc::clone(&self.app))
    }

    /// What is behind the door of a sandbox.
    pub(crate) fn door(&self) -> axum::Router {
        crate::router::door(Arc::clone(&self.app))
    }

    /// Waits until no handler and no feed of this API runs any more; call after [`crate::serve`] has returned.
    pub async fn drained(&self) {
        self.app.tracker.close();
        self.app.tracker.wait().await;
    }
}

impl Inner {
    /// A session of the caller's workspace that is not deleted; anything else is the same 404.
    pub(crate) async fn session(&self, principal: &Principal, id: &str) -> Result<SessionRow, ApiError> {
        let gone = || ApiError::not_found("session", id);
        let session: SessionId = id.parse().map_err(|_| gone())?;
        let key = SessionKey {
            workspace: principal.workspace,
            session,
        };
        let row = self.ports.sessions.get(key).await?.ok_or_else(gone)?;
        let served = match principal.scope {
            Scope::Workspace => true,
            Scope::Environment(environment) => {
                row.environment_id == environment && row.environment == EnvironmentConfig::SelfHosted
            }
            Scope::Work(work) => row.key.session == work.session,
        };
        if row.deleted_at.is_some() || !served {
            return Err(gone());
        }
        match principal.scope {
            Scope::Work(work) if !work.live => Err(ApiError::forbidden("the work item of this token has stopped")),
            _ => Ok(row),
        }
    }

    /// The row again, after a change.
    pub(crate) async fn reread(&self, key: SessionKey) -> Result<SessionRow, ApiError> {
        let row = self.ports.sessions.get(key).await?;
        row.ok_or_else(|| ApiError::not_found("session", &key.session.to_string()))
    }
}
