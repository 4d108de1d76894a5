//! `GET /v1/executors/{id}/diff`: what has changed in a repository of a machine, as that of a session is told (`sessions/diff.rs`). Nothing
//! there is touched.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use perennial_engine::ports::{Order, SessionKey};
use perennial_schema::SessionId;
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::Raw;
use perennial_schema::step::DIFF;
use perennial_schema::tool::Effect;

use super::call::{EPOCH, called, offline, refused};
use super::{find, tunnels};
use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::sessions::diff::{asked, room, told, whole};
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;

#[utoipa::path(get, path = "/v1/executors/{executor_id}/diff", tag = "executors",
    params(("executor_id" = String, Path),
    ("dir" = Option<String>, Query, description = "Absolute path there; by default the folder that the executor offers"),
    ("path" = Option<String>, Query, description = "A folder in the repository, in that folder; by default the folder itself"),
    ("base" = Option<String>, Query, description = "From this revision on; by default from the newest commit, of a clone we made from where it began"),
    ("head" = Option<String>, Query, description = "Up to this revision; by default to the files as they are"),
    ("staged" = Option<bool>, Query, description = "Up to what is staged"),
    ("untracked" = Option<bool>, Query, description = "Files that git does not know too; they are by default"),
    ("context" = Option<u16>, Query, description = "Lines around a change")),
    responses((status = 200, description = "What changed; a patch for `Accept: text/x-patch`", body = doc::SessionDiff),
    (status = 409, description = "There is no repository, or the executor is not connected", body = doc::Error),
    (status = 413, description = "It is too large", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn diff_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let input = asked(&query, || ".".into())?;
    let dir = query.one("dir").map(str::to_owned);
    if dir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
        return Err(ApiError::field("dir", "must be an absolute path"));
    }
    tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let _room = room()?;
    let call_id = app.ports.ids.event();
    let key = SessionKey {
        workspace: principal.workspace,
        session: SessionId::from_uuid(call_id.uuid()),
    };
    let environment = EnvironmentConfig::Local {
        executor_id: Some(executor.id),
        dir,
        preparation: Preparation::default(),
    };
    let router = &app.ports.router;
    let order = Order {
        key,
        epoch: EPOCH,
        call_id,
        effect: Effect::Read,
        tool: DIFF.into(),
        input: Raw::of(&serde_json::to_value(&input).map_err(|_| ApiError::bug())?),
        placement: router.place(key, &environment).await.map_err(offline)?,
        environment,
        secret: None,
        mcp: None,
    };
    let outcome = called(router.as_ref(), order.clone()).await.map_err(refused)?;
    let bytes = whole(&app, &order, outcome).await;
    router.forget(key.session, Some(executor.id)).await;
    told("executor_diff", &input, &bytes?, &headers)
}
