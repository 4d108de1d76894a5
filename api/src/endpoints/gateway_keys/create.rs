//! `POST /v1/gateway_keys`: the answer that makes a key is the only one that shows its secret. A repetition under the same
//! idempotency key finds the key and has no secret to show.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{MintError, SessionKey};
use perennial_schema::GatewayKeyId;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::meter::{CreateKey, KeyView};

#[utoipa::path(post, path = "/v1/gateway_keys", tag = "gateway_keys", request_body = doc::GatewayKeyCreate, responses(
    (status = 200, description = "The key, with its secret", body = doc::GatewayKey),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_gateway_key(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: CreateKey = body.parse()?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    if let Some(earlier) = &once.earlier {
        return Ok(json(&KeyView::of(find(&app, principal, earlier).await?, None)));
    }
    let key = input.into_key(GatewayKeyId::from_uuid(once.id), principal.workspace)?;
    if let Some(session) = key.session {
        let workspace = principal.workspace;
        let row = app.ports.sessions.get(SessionKey { workspace, session }).await?;
        if row.is_none_or(|row| row.deleted_at.is_some()) {
            return Err(ApiError::field(
                "session_id",
                "there is no such session in this workspace",
            ));
        }
    }
    let (key, secret) = match app.ports.metering.mint(key).await {
        Ok(minted) => (minted.key, Some(minted.secret.expose().to_owned())),
        Err(MintError::Exists(key)) => (*key, None),
        Err(MintError::Store(error)) => return Err(error.into()),
    };
    once.made(&app, key.id.to_string()).await?;
    Ok(json(&KeyView::of(key, secret)))
}
