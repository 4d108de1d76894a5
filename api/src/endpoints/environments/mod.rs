//! Environments: where a session's hands are.

mod archive;
mod create;
mod delete;
mod keys;
mod list;
mod retrieve;
mod update;

pub(crate) use archive::*;
pub(crate) use create::*;
pub(crate) use delete::*;
pub(crate) use keys::*;
pub(crate) use list::*;
pub(crate) use retrieve::*;
pub(crate) use update::*;

use perennial_schema::environment::EnvironmentConfig;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;

/// A machine that an environment names is one of the workspace's.
async fn known_executor(app: &App, principal: Principal, config: &EnvironmentConfig) -> Result<(), ApiError> {
    let Some(executor) = config.executor() else {
        return Ok(());
    };
    let found = app.ports.executors.executor(principal.workspace, executor).await?;
    found
        .map(|_| ())
        .ok_or_else(|| ApiError::field("config.executor_id", "there is no such executor in this workspace"))
}
