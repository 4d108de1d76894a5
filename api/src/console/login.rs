//! `/console/login`: begin with the code of a link or with a key, show, end.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use perennial_schema::WorkspaceId;
use serde::{Deserialize, Serialize};

use super::{cookie, gate};
use crate::accounts::Secret;
use crate::api::{App, Inner};
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::respond::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    code: Option<String>,
    key: Option<String>,
}

#[derive(Serialize)]
struct Login<'a> {
    workspace_id: String,
    key_id: String,
    version: &'static str,
    default_model: &'a str,
}

/// `POST /console/login {"code"}` or `{"key"}`.
pub(super) async fn begin(State(app): State<App>, headers: HeaderMap, body: JsonBody) -> Result<Response, ApiError> {
    if !app.logins.admit() {
        return Err(ApiError::too_many("too many logins at once"));
    }
    let workspace = match body.parse::<Begin>()? {
        Begin {
            code: Some(code),
            key: None,
        } => app.links.redeem(&code).ok_or_else(|| {
            ApiError::unauthenticated(
                "this link was opened before or is too old: enter a key, or restart the server for another one",
            )
        })?,
        Begin {
            code: None,
            key: Some(key),
        } => of_key(&app, &key).await?,
        Begin { .. } => return Err(ApiError::field("body", "must have either `code` or `key`")),
    };
    let login = Secret::login().map_err(|error| ApiError::unavailable(error.to_string()))?;
    let (accounts, now) = (&app.ports.accounts, app.ports.clock.now());
    accounts.add_login(workspace, &login, now, gate::expired(&app)).await?;
    Ok(answer(&headers, Some(&login)))
}

async fn of_key(app: &Inner, text: &str) -> Result<WorkspaceId, ApiError> {
    let refuse = || ApiError::unauthenticated("this key is not known here; the server prints where its key is kept");
    let secret: Secret = text
        .trim()
        .parse()
        .map_err(|error| ApiError::unauthenticated(format!("{error}")))?;
    let key = app.ports.accounts.key(secret.id).await?;
    let key = key.filter(|key| key.hash.matches(&secret)).ok_or_else(refuse)?;
    Ok(key.workspace)
}

/// `GET /console/login`.
pub(super) async fn show(State(app): State<App>, principal: Principal) -> Response {
    json(&Login {
        workspace_id: principal.workspace.to_string(),
        key_id: principal.key.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        default_model: &app.config.default_model,
    })
}

/// `DELETE /console/login`.
pub(super) async fn end(
    State(app): State<App>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.ports.accounts.end_login(principal.key).await?;
    Ok(answer(&headers, None))
}

fn answer(headers: &HeaderMap, login: Option<&Secret>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = cookie::write(headers, login) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
