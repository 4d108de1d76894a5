//! `/v1/environments/{id}/work…`: the queue that workers of a self-hosted environment poll, as the official SDKs' do.

mod acknowledge;
mod heartbeat;
mod list;
mod poll;
mod retrieve;
mod stats;
mod stop;
mod supply;
mod update;
mod wanting;

pub(crate) use acknowledge::*;
pub(crate) use heartbeat::*;
pub(crate) use list::*;
pub(crate) use poll::*;
pub(crate) use retrieve::*;
pub(crate) use stats::*;
pub(crate) use stop::*;
pub(crate) use update::*;
pub(crate) use wanting::Wanting;

use perennial_engine::ports::{Work, WorkError, WorkQueueKey};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::{Timestamp, WorkId};

use super::environments;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::WORK_TRIES;
use crate::path::OfEnvironment;
use crate::scope::Scope;

/// The queue of the environment in the path; for a worker only its own.
async fn queue(app: &App, principal: Principal, environment: &str) -> Result<WorkQueueKey, ApiError> {
    let found = environments::find(app, principal, environment).await?;
    let own = match principal.scope {
        Scope::Workspace => true,
        Scope::Environment(own) => own == found.id,
        Scope::Work(work) => work.environment == found.id,
    };
    if !own {
        return Err(ApiError::not_found("environment", environment).code("environment_not_found"));
    }
    if found.config != EnvironmentConfig::SelfHosted {
        return Err(ApiError::bad_request(
            "only a self_hosted environment has a work queue; here the server runs the tools",
        ));
    }
    Ok(WorkQueueKey {
        workspace: principal.workspace,
        environment: found.id,
    })
}

/// The piece of work in the path, and the time.
async fn find(app: &App, principal: Principal, at: &OfEnvironment) -> Result<(Timestamp, Work), ApiError> {
    let queue = queue(app, principal, &at.environment).await?;
    let missing = || ApiError::not_found("work item", &at.id);
    let id: WorkId = at.id.parse().map_err(|_| missing())?;
    if matches!(principal.scope, Scope::Work(own) if own.work != id) {
        return Err(missing());
    }
    let found = app.ports.work.piece(id).await?;
    found.filter(|(_, work)| work.queue == queue).ok_or_else(missing)
}

/// Changes the piece of work in the path. When somebody else is faster, what they left is looked at anew.
async fn change<T>(
    app: &App,
    principal: Principal,
    at: &OfEnvironment,
    mut change: impl FnMut(&mut Work, Timestamp) -> Result<T, WorkError>,
) -> Result<(Work, Result<T, WorkError>), ApiError> {
    for _ in 0..WORK_TRIES {
        let (now, before) = find(app, principal, at).await?;
        let mut work = before.clone();
        let done = change(&mut work, now);
        if done.is_err() || work == before || app.ports.work.swap(before.revision, &work).await? {
            return Ok((work, done));
        }
    }
    Err(ApiError::unavailable(
        "others change this work item all the time; try again",
    ))
}
