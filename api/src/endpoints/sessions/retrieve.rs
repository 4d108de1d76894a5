//! `GET /v1/sessions/{id}`

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;
use crate::wire::session::Session;

#[utoipa::path(get, path = "/v1/sessions/{session_id}", tag = "sessions",
    params(("session_id" = String, Path), doc::IncludeParams),
    responses((status = 200, description = "The session", body = doc::Session),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let extensions = query.extensions()?;
    let row = app.session(&principal, &id).await?;
    Ok(json(&Session::of(&row, extensions)))
}
