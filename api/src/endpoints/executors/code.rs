//! `POST /v1/executors/codes`: a code for one machine to register with. The answer that makes it is the only one that shows it.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::CodeError;

use super::tunnels;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::executor::{CodeView, CreateCode};

#[utoipa::path(post, path = "/v1/executors/codes", tag = "executors", request_body = doc::ExecutorCodeCreate, responses(
    (status = 200, description = "The code, good for ten minutes and one machine", body = doc::ExecutorCode),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_executor_code(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    tunnels(&app)?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    let CreateCode {} = body.parse()?;
    let registry = &app.ports.executors;
    if let Some(earlier) = &once.earlier {
        let id = earlier.parse().map_err(|_| ApiError::bug())?;
        let stored = registry.code(principal.workspace, id).await?;
        let stored = stored.ok_or_else(|| ApiError::conflict("the code this request made has expired long ago"))?;
        return Ok(json(&CodeView::of(stored, None)));
    }
    let (stored, secret) = match registry.mint_code(principal.workspace, once.id).await {
        Ok(minted) => (minted.stored, Some(minted.code.expose().to_owned())),
        Err(CodeError::Exists(stored)) => (stored, None),
        Err(CodeError::Store(error)) => return Err(error.into()),
    };
    once.made(&app, stored.id.to_string()).await?;
    Ok(json(&CodeView::of(stored, secret)))
}
