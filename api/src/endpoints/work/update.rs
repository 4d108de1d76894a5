//! `POST /v1/environments/{id}/work/{id}`: its free pairs, merged; the same request twice is the same as once.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;

use super::{change, find};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::OfEnvironment;
use crate::respond::json;
use crate::wire::metadata;
use crate::wire::work::{Update, WorkView};

#[utoipa::path(post, path = "/v1/environments/{environment_id}/work/{work_id}", tag = "work",
    params(("environment_id" = String, Path), ("work_id" = String, Path)), request_body = doc::WorkUpdate,
    responses((status = 200, description = "The piece of work", body = doc::Work),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn update_work(
    State(app): State<App>,
    principal: Principal,
    at: OfEnvironment,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let patch = body.parse::<Update>()?.metadata;
    let merged = |work: &BTreeMap<String, String>| {
        let pairs = work.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        metadata::merge(pairs, patch.clone().map(Some))
    };
    let (_, work) = find(&app, principal, &at).await?;
    merged(&work.metadata)?;
    let (work, _) = change(&app, principal, &at, |work, _| {
        // What cannot be merged any more stays as somebody else left it.
        if let Ok(pairs) = merged(&work.metadata) {
            work.metadata = pairs.into_iter().collect();
        }
        Ok(())
    })
    .await?;
    Ok(json(&WorkView::of(&work)))
}
