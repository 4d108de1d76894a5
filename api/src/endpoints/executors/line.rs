//! `GET /v1/executors/{id}/line`: the WebSocket another process of the cluster reaches a machine with whose tunnel is held here. A
//! pass opens it, once; only who writes the registry can make one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use perennial_schema::ExecutorPass;

use super::tunnel::{Upgrade, accept, messages, upgraded};
use super::{executor_id, tunnels};
use crate::api::App;
use crate::auth::bearer;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;

#[utoipa::path(get, path = "/v1/executors/{executor_id}/line", tag = "executors",
    params(("executor_id" = String, Path), ("generation" = u64, Query)),
    responses((status = 101, description = "A WebSocket to an executor that is connected here"),
    (status = 401, description = "Not a pass to it", body = doc::Error),
    (status = 409, description = "This connection of it is not held here (any more)", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)), security(("bearer" = [])))]
pub(crate) async fn executor_line(
    State(app): State<App>,
    Id(id): Id,
    query: Query,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let executor = executor_id(&id)?;
    let refuse = || ApiError::unauthenticated("a line to an executor is opened with a pass, once");
    let pass: ExecutorPass = bearer(&headers).and_then(|text| text.parse().ok()).ok_or_else(refuse)?;
    if !app.ports.executors.use_pass(executor, pass.hash()).await? {
        return Err(refuse());
    }
    let generation = query
        .parsed::<u64>("generation", "a whole number")?
        .ok_or_else(|| ApiError::field("generation", "is missing"))?;
    let tunnels = Arc::clone(tunnels(&app)?);
    if !tunnels.holds(executor, generation) {
        return Err(ApiError::conflict("this connection of the executor is not held here").code("executor_elsewhere"));
    }
    Ok(accept(&app, upgraded(upgrade)?, async move |socket| {
        tunnels.lend(executor, generation, messages(socket)).await;
    }))
}
