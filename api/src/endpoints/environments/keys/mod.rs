//! Keys of the workers of a self-hosted environment. Ours, beside the adopted API: there they are made in a console.

mod create;
mod end;
mod list;

pub(crate) use create::*;
pub(crate) use end::*;
pub(crate) use list::*;

use perennial_schema::environment::{Environment, EnvironmentConfig};

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;

/// The environment in the path, which has workers of its own.
async fn self_hosted(app: &App, principal: Principal, id: &str) -> Result<Environment, ApiError> {
    let environment = find(app, principal, id).await?;
    if environment.config == EnvironmentConfig::SelfHosted {
        return Ok(environment);
    }
    Err(ApiError::bad_request(
        "only a self_hosted environment has workers with keys; here the server runs the tools",
    ))
}
