//! `GET /v1/agents`

use axum::extract::State;
use axum::response::Response;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use crate::accounts::Listing;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;

#[utoipa::path(get, path = "/v1/agents", tag = "agents",
    params(doc::PageParams, doc::CreatedParams, doc::ArchivedParams),
    responses((status = 200, description = "Newest first", body = doc::AgentPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_agents(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let binding = Binding::new("agents", principal.workspace, false);
    let cursor = binding.read(&query)?;
    let listing = Listing {
        created: query.bounds("created_at")?,
        include_archived: query.flag("include_archived")?,
        cursor: cursor.map(|position| time_and_id(&position)).transpose()?,
        limit: limit + 1,
    };
    let mut data = app.ports.accounts.agents(principal.workspace, listing).await?;
    let more = cut(&mut data, limit);
    let next_page = data
        .last()
        .filter(|_| more)
        .map(|last| binding.write(&format!("{} {}", last.created_at.micros(), last.snapshot.id)));
    Ok(json(&Page { data, next_page }))
}
