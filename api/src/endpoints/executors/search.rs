//! `GET /v1/executors/{id}/search` and `/repositories`: what is on a machine, found by its name or its text, and its repositories.

use axum::extract::State;
use axum::response::Response;
use perennial_schema::search::{FoundFile, Repository, Search};
use serde::Serialize;

use super::{find, tunnels, unopened};
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;

#[derive(Serialize)]
struct Searched<'a> {
    r#type: &'static str,
    executor_id: &'a str,
    path: &'a str,
    files: Vec<FoundFile>,
    truncated: bool,
}

#[utoipa::path(get, path = "/v1/executors/{executor_id}/search", tag = "executors",
    params(("executor_id" = String, Path),
        ("path" = Option<String>, Query, description = "A folder, relative to the one that the executor offers, or absolute and beneath it"),
        ("name" = Option<String>, Query, description = "Files whose path fits this glob; one without a slash is of the name alone"),
        ("text" = Option<String>, Query, description = "Files with lines that match this regular expression")),
    responses((status = 200, description = "What was found; what git ignores is left out", body = doc::ExecutorSearch),
    (status = 403, description = "The owner of the machine does not offer that", body = doc::Error),
    (status = 409, description = "The executor is not connected", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn search_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let given = |name: &str| query.one(name).map(str::to_owned);
    let path = folder(&query)?;
    let search = Search {
        path: path.clone(),
        name: given("name"),
        text: given("text"),
    };
    search.check().map_err(ApiError::bad_request)?;
    let tunnels = tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let found = tunnels.search(principal.workspace, executor.id, search).await;
    let found = found.map_err(unopened)?;
    Ok(json(&Searched {
        r#type: "executor_search",
        executor_id: &id,
        path: &path,
        files: found.files,
        truncated: found.truncated,
    }))
}

#[derive(Serialize)]
struct Listed<'a> {
    r#type: &'static str,
    executor_id: &'a str,
    path: &'a str,
    repositories: Vec<Repository>,
    truncated: bool,
}

#[utoipa::path(get, path = "/v1/executors/{executor_id}/repositories", tag = "executors",
    params(("executor_id" = String, Path), ("path" = Option<String>, Query, description = "As above")),
    responses((status = 200, description = "Repositories of git, by path", body = doc::ExecutorRepositories),
    (status = 403, description = "The owner of the machine does not offer that", body = doc::Error),
    (status = 409, description = "The executor is not connected", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_executor_repositories(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let path = folder(&query)?;
    let tunnels = tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let listed = tunnels
        .list_repositories(principal.workspace, executor.id, path.clone())
        .await
        .map_err(unopened)?;
    Ok(json(&Listed {
        r#type: "executor_repositories",
        executor_id: &id,
        path: &path,
        repositories: listed.repositories,
        truncated: listed.truncated,
    }))
}

fn folder(query: &Query) -> Result<String, ApiError> {
    match query.one("path") {
        Some(_) => super::files::path(query),
        None => Ok(".".into()),
    }
}
