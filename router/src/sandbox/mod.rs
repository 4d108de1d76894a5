//! Sandboxes: the first tool call of a session gets a machine of its own made, with an executor in it that dials home; after that it
//! is an executor like any other. Nothing here is waited for by a model request: a sandbox is made when a call is placed.
//!
//! Who calls and who makes need not be one process. They meet in the store: the row of a sandbox says who wants it until when, whose
//! it is to make and how far it is.
//!
//! * [`Claims`] is in every process that calls: it says what is wanted, and waits. `uses` is what it wants now, `hosts` who could
//!   make it.
//! * [`Reconciler`] is where the machines are: it makes what exists agree with what is known. `decide` says what is to be done, the
//!   provisioner does it, `presence` says that somebody is there to do it. `sweep` finds what others
//!   did not finish.
//! * [`Docker`] is the provisioner of containers.
//! * [`WaysOut`] is what a sandbox reaches beside its tunnel.
//!
//! **Invariant:** the store's row is changed by compare-and-set before or after the machine is, never instead; a process that dies
//! in between leaves a pair that `decide` knows. One that is used is not paused: both are said to the same row.

mod claims;
mod decide;
mod docker;
mod hosts;
mod presence;
mod reconcile;
mod spec;
mod sweep;
mod uses;
mod ways_out;

pub use claims::Claims;
pub use docker::{Docker, DockerSettings, SOCKET};
pub use reconcile::{Doors, Reconciler};
pub use ways_out::{PROXY, WaysOut};

use std::sync::Arc;

use perennial_engine::ports::{Executor, Order, SessionKey, StoreError};
use perennial_schema::environment::{Container, EnvironmentConfig};
use perennial_schema::{ExecutorCode, ExecutorId, ExecutorToken, SessionId, WorkspaceId};

pub(crate) use self::claims::Patience;
pub(crate) use self::uses::InUse;
use crate::exchange::Exchange;
use crate::link::Link;
use crate::tunnel::Tunnels;

impl Exchange {
    /// Has sandboxes made for the environments that are to be provisioned.
    pub fn provision(&self, claims: Arc<Claims>) {
        // Nobody does so twice.
        let _ = self.sandboxes.set(claims);
    }

    /// Learns whether sandboxes are made, unless that was a moment ago.
    pub(crate) async fn know_hosts(&self) {
        if let Some(claims) = self.sandboxes.get() {
            claims.refresh().await;
        }
    }

    /// Who has the sandboxes of an environment made.
    pub(crate) fn sandboxes_of<'a>(
        &'a self,
        environment: &'a EnvironmentConfig,
    ) -> Option<(&'a Arc<Claims>, &'a Container)> {
        match environment {
            EnvironmentConfig::Cloud { container, .. } => {
                let claims = self.sandboxes.get().filter(|claims| claims.are_made(container));
                claims.map(|claims| (claims, container))
            }
            EnvironmentConfig::SelfHosted | EnvironmentConfig::Local { .. } => None,
        }
    }

    /// The executor in the sandbox of a session; made if there is none.
    pub(crate) async fn place_in_sandbox(
        &self,
        (claims, container): (&Arc<Claims>, &Container),
        key: SessionKey,
    ) -> Result<Arc<Link>, String> {
        claims.place(self, key, container).await
    }

    /// The executor of a sandbox of the session if it is there already.
    pub(crate) async fn in_sandbox_at_once(&self, claims: &Claims, key: SessionKey) -> Option<Arc<Link>> {
        claims.place_at_once(self, key).await
    }

    /// The executor of a call that was placed in a sandbox, which is started again if it is paused, and not paused as long as the
    /// use lives. None for a call that was placed elsewhere.
    pub(crate) async fn in_sandbox(
        &self,
        order: &Order,
        patience: Patience,
    ) -> Option<(Result<Arc<Link>, String>, InUse)> {
        let who = (order.placement.executor_id, order.key.workspace);
        self.awake(who, patience).await
    }

    /// The executor of a sandbox, awake and in use; none when it is no sandbox's of the workspace.
    pub(crate) async fn awake(
        &self,
        who: (ExecutorId, WorkspaceId),
        patience: Patience,
    ) -> Option<(Result<Arc<Link>, String>, InUse)> {
        self.sandboxes.get()?.reach(self, who, patience).await
    }

    /// Whether a session has its files in a sandbox.
    pub(crate) async fn has_sandbox(&self, session: SessionId) -> bool {
        match self.sandboxes.get() {
            Some(claims) => claims.has(session).await,
            None => false,
        }
    }

    /// A session is over, and its sandbox with it.
    pub(crate) async fn retire_sandbox(&self, session: SessionId) {
        if let Some(claims) = self.sandboxes.get() {
            claims.retire(session).await;
        }
    }
}

impl Tunnels {
    /// Has the sandbox of an executor that was removed go with it.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub async fn discard(&self, executor: ExecutorId) -> Result<(), StoreError> {
        match self.exchange.sandboxes.get() {
            Some(sandboxes) => sandboxes.removed(executor).await,
            None => Ok(()),
        }
    }

    /// Registers the executor of a sandbox that dials home for the first time. None when nobody made such a sandbox, or its code is
    /// another one, or used by another.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn begin(&self, token: &ExecutorToken, code: &ExecutorCode) -> Result<Option<Executor>, StoreError> {
        match self.exchange.sandboxes.get() {
            Some(sandboxes) => sandboxes.register(token, code).await,
            None => Ok(None),
        }
    }
}
