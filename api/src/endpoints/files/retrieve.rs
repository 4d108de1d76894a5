//! `GET /v1/files/{id}`

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;

#[utoipa::path(get, path = "/v1/files/{file_id}", tag = "files", params(("file_id" = String, Path)),
    responses((status = 200, description = "The file", body = doc::File),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_file(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    Ok(json(&find(&app, principal, &id).await?))
}
