//! `GET /v1/environments`

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::listing::newest_first;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::Binding;
use crate::query::Query;

#[utoipa::path(get, path = "/v1/environments", tag = "environments", params(doc::PageParams, doc::ArchivedParams),
    responses((status = 200, description = "Newest first", body = doc::EnvironmentPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_environments(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let binding = Binding::new("environments", principal.workspace, false);
    let ask = |listing| app.ports.accounts.environments(principal.workspace, listing);
    newest_first(&query, &binding, ask, |environment| {
        (environment.created_at, environment.id)
    })
    .await
}
