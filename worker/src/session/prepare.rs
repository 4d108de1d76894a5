//! What a session's folder has before its first call: its repositories, its files, and what the environment's script makes of them.
//!
//! Each is a step, which to the executor is a call like any other: it is found again by its id, so that only the first asking does
//! anything, in a folder and a sandbox that have not seen it. Nothing of it is in the log but a failure.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_engine::ports::{Blobs, CallError, Order, Placement, Router, Seals, SessionRow};
use perennial_schema::content::Block;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{ErrorDetail, ErrorKind, Raw, RetryStatus};
use perennial_schema::resource::{Resource, Source};
use perennial_schema::step::{self, CloneInput, PutInput, SetupInput};
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, Secret, text};
use serde::Serialize;
use tracing::{debug, warn};

use super::calls::settle;
use super::{Session, packages};
use crate::limits;

/// Why a session's calls cannot run.
#[derive(Clone, Debug)]
pub(super) enum Unready {
    /// There is no executor for them.
    Unplaced(String),
    /// Its folder is not as it should be.
    Unprepared(String),
}

impl Unready {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unplaced(reason) | Self::Unprepared(reason) => reason,
        }
    }
}

/// What is to be done, by itself: it runs while the session watches its log.
pub(super) struct Preparation {
    router: Arc<dyn Router>,
    blobs: Arc<dyn Blobs>,
    seals: Arc<dyn Seals>,
    row: SessionRow,
    epoch: u64,
}

impl Session {
    /// Whether something is to be done before the first call.
    pub(super) fn needs_preparation(&self) -> bool {
        !self.row.resources.is_empty() || scripts(&self.row.environment).next().is_some()
    }

    pub(super) fn preparation(&self) -> Preparation {
        Preparation {
            router: self.ports.router.clone(),
            blobs: self.ports.blobs.clone(),
            seals: self.ports.seals.clone(),
            row: self.row.clone(),
            epoch: self.epoch,
        }
    }
}

/// What an environment runs: what installs its packages, then its own script.
fn scripts(environment: &EnvironmentConfig) -> impl Iterator<Item = String> {
    let packages = match environment {
        EnvironmentConfig::Cloud { packages, .. } => packages::script(packages),
        EnvironmentConfig::Local { .. } | EnvironmentConfig::SelfHosted => None,
    };
    let setup = environment.preparation().and_then(|given| given.setup.clone());
    packages.into_iter().chain(setup)
}

/// What people are told beside the model.
pub(super) fn told(reason: &str) -> ErrorDetail {
    ErrorDetail {
        kind: ErrorKind::UnknownError,
        message: reason.to_owned(),
        retry_status: RetryStatus::Exhausted,
        mcp_server_name: None,
    }
}

impl Preparation {
    /// Does what is not done yet: repositories, files, then the script.
    pub(super) async fn run(&self, placement: Placement) -> Result<(), String> {
        let mut steps = Vec::new();
        for resource in &self.row.resources {
            steps.push(self.resource(placement, resource).await?);
        }
        for script in scripts(&self.row.environment) {
            steps.push(self.order(placement, step::SETUP, &SetupInput { script }, None));
        }
        for order in steps {
            let what = match order.tool.as_str() {
                step::SETUP => "the setup script of the environment failed",
                _ => "a resource of the session is not there",
            };
            let done = self.step(order).await;
            done.map_err(|why| {
                format!("The workspace is not ready, {what}. It is tried again in the next turn. {why}")
            })?;
        }
        Ok(())
    }

    /// Stops what is under way: nobody waits for it any more.
    pub(super) async fn cancel(&self, placement: Placement) {
        let mut ids: Vec<EventId> = Vec::new();
        for resource in &self.row.resources {
            if let Ok(order) = self.resource(placement, resource).await {
                ids.push(order.call_id);
            }
        }
        for script in scripts(&self.row.environment) {
            ids.push(self.order(placement, step::SETUP, &SetupInput { script }, None).call_id);
        }
        for id in ids {
            self.router.cancel(self.row.key, self.epoch, id).await;
        }
    }

    async fn resource(&self, placement: Placement, stored: &Raw) -> Result<Order, String> {
        let resource: Resource = stored
            .parse()
            .map_err(|error| format!("a resource of the session is not known here: {error}"))?;
        let path = resource.path()?;
        match &resource.source {
            Source::GithubRepository {
                url,
                checkout,
                sealed_token,
            } => {
                let about = resource.seal(self.row.key.workspace);
                let token = sealed_token.as_ref().map(|sealed| self.seals.open(&about, sealed));
                let token = token
                    .transpose()
                    .map_err(|error| format!("the token of {url}: {error}"))?;
                let (url, checkout) = (url.clone(), checkout.clone());
                Ok(self.order(placement, step::CLONE, &CloneInput { url, path, checkout }, token))
            }
            Source::File { file_id, sha256 } => {
                let content = self.blobs.get(self.row.key.workspace, sha256).await;
                let content = content.map_err(|error| format!("the file {file_id} cannot be read: {error}"))?;
                let content = content.ok_or_else(|| format!("the file {file_id} is gone"))?;
                let base64 = STANDARD.encode(content);
                Ok(self.order(placement, step::PUT, &PutInput { path, base64 }, None))
            }
        }
    }

    fn order(&self, placement: Placement, tool: &str, input: &impl Serialize, secret: Option<Secret>) -> Order {
        let input = Raw::of(&serde_json::to_value(input).unwrap_or_default());
        Order {
            key: self.row.key,
            epoch: self.epoch,
            call_id: step::id(self.row.key.session, tool, input.text()),
            tool: tool.to_owned(),
            input,
            effect: step::EFFECT,
            placement,
            environment: self.row.environment.clone(),
            secret,
            mcp: None,
        }
    }

    /// A step may run twice: whatever is not known of it, it is sent again.
    async fn step(&self, order: Order) -> Result<(), String> {
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            let sent = self.router.call(order.clone()).await;
            let ended = match sent {
                Err(CallError::Unknown(_)) => settle(self.router.as_ref(), order.clone()).await,
                ended => ended,
            };
            match ended {
                Ok(outcome) => break outcome,
                Err(CallError::Unknown(reason)) if tries < limits::STEP_TRIES => {
                    warn!(call.id = %order.call_id, reason, "a step of a preparation is sent again");
                }
                Err(error) => return Err(error.to_string()),
            }
        };
        debug!(call.id = %order.call_id, step = order.tool, failed = outcome.is_error, "a step of a preparation is over");
        if outcome.whole.is_some() {
            self.router.drop_output(order.key, order.call_id).await;
        }
        if outcome.is_error {
            return Err(tail(&outcome));
        }
        Ok(())
    }
}

/// The end of what it said, where the reason is.
fn tail(outcome: &Outcome) -> String {
    let texts = outcome.content.iter().filter_map(|block| match block {
        Block::Text { text } => Some(text.as_str()),
        _ => None,
    });
    text::tail(&texts.collect::<Vec<_>>().join("\n"), limits::STEP_TAIL_BYTES).to_owned()
}
