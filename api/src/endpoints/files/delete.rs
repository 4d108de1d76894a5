//! `DELETE /v1/files/{id}`: sessions that have it keep what it was.

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/files/{file_id}", tag = "files", params(("file_id" = String, Path)),
    responses((status = 200, description = "Gone", body = doc::Deleted),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn delete_file(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let gone = || ApiError::not_found("file", &id);
    let file = id.parse().map_err(|_| gone())?;
    if !app.ports.accounts.delete_file(principal.workspace, file).await? {
        return Err(gone());
    }
    let kind = "file_deleted";
    Ok(json(&Deleted { id, kind }))
}
