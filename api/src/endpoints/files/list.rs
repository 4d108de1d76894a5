//! `GET /v1/files`: in the words of both generations of the official SDKs.

use axum::extract::State;
use axum::response::Response;
use perennial_schema::file::File;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};
use serde::Serialize;

use crate::accounts::Listing;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;

#[derive(Serialize)]
struct Files {
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
    next_page: Option<String>,
    data: Vec<File>,
}

#[utoipa::path(get, path = "/v1/files", tag = "files", params(doc::PageParams),
    responses((status = 200, description = "Newest first", body = doc::FilePage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_files(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    for ours in ["scope_id", "before_id"] {
        if query.one(ours).is_some() {
            return Err(ApiError::not_yet(ours));
        }
    }
    let binding = Binding::new("files", principal.workspace, false);
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let mut cursor = binding
        .read(&query)?
        .map(|position| time_and_id(&position))
        .transpose()?;
    if let Some(after) = query.one("after_id") {
        let file = super::find(&app, principal, after).await?;
        cursor = Some((file.created_at, file.id));
    }
    let listing = Listing {
        created: query.bounds("created_at")?,
        include_archived: false,
        cursor,
        // One too many, to see whether there is more.
        limit: limit + 1,
    };
    let mut data = app.ports.accounts.files(principal.workspace, listing).await?;
    let has_more = cut(&mut data, limit);
    let last = data.last().filter(|_| has_more);
    let next_page = last.map(|file| binding.write(&format!("{} {}", file.created_at.micros(), file.id)));
    Ok(json(&Files {
        has_more,
        first_id: data.first().map(|file| file.id.to_string()),
        last_id: data.last().map(|file| file.id.to_string()),
        next_page,
        data,
    }))
}
