//! `POST /v1/executors/{id}/previews`: an address that opens a port of a machine in a browser, as a site of its own. It holds a
//! ticket, good once and not for long; so a repeated request simply gets another one.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::response::Response;
use perennial_engine::ports::EXECUTOR_PASS_MILLIS;
use perennial_schema::Timestamp;
use serde::{Deserialize, Serialize};

use super::{find, tunnels};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::preview::{self, Site};
use crate::respond::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatePreview {
    port: u16,
}

#[derive(Serialize)]
struct PreviewView<'a> {
    r#type: &'static str,
    executor_id: &'a str,
    port: u16,
    origin: &'a str,
    url: &'a str,
    expires_at: Timestamp,
}

#[utoipa::path(post, path = "/v1/executors/{executor_id}/previews", tag = "executors",
    params(("executor_id" = String, Path)), request_body = doc::ExecutorPreviewCreate,
    responses((status = 200, description = "The address, shown once; opened, it leads to `origin`", body = doc::ExecutorPreview),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_executor_preview(
    State(app): State<App>,
    principal: Principal,
    headers: HeaderMap,
    Id(id): Id,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let CreatePreview { port } = body.parse()?;
    if port == 0 {
        return Err(ApiError::field("port", "is not a port"));
    }
    tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let site = Site {
        executor: executor.id,
        port,
    };
    let asked_at = headers.get(HOST).and_then(|host| host.to_str().ok());
    let nowhere = || {
        ApiError::bad_request(
            "no preview is below the name this server was asked under: start it with --preview-url https://DOMAIN, where all names \
             below DOMAIN lead to it",
        )
        .code("no_preview_url")
    };
    let origin = app.config.previews.origin(site, asked_at.unwrap_or_default());
    let origin = origin.ok_or_else(nowhere)?;
    let url = preview::opens(&app, site, &origin).await?;
    Ok(json(&PreviewView {
        r#type: "executor_preview",
        executor_id: &id,
        port,
        origin: &origin,
        url: &url,
        expires_at: app.ports.clock.now().plus_millis(EXECUTOR_PASS_MILLIS),
    }))
}
