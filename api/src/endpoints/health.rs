//! `GET /healthz`, `GET /readyz`: no key needed, nothing told but the version, how other processes are reached, and the model that
//! `perennial run` takes when none is named.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::SessionKey;
use perennial_schema::{SessionId, WorkspaceId};
use serde_json::json as object;

use crate::api::App;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::respond::json;

#[utoipa::path(get, path = "/healthz", tag = "operations", security(()),
    responses((status = 200, description = "The process answers", body = doc::Health)))]
pub(crate) async fn healthz() -> Response {
    json(&object!({"status": "ok"}))
}

#[utoipa::path(get, path = "/readyz", tag = "operations", security(()),
    responses((status = 200, description = "The stores answer", body = doc::Health),
    (status = 503, description = "A store does not", body = doc::Error)))]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Response, ApiError> {
    app.ports.accounts.ping().await?;
    let nobody = SessionKey {
        workspace: WorkspaceId::from_uuid(uuid::Uuid::nil()),
        session: SessionId::from_uuid(uuid::Uuid::nil()),
    };
    app.ports.sessions.get(nobody).await?;
    Ok(json(&object!({
        "status": "ready",
        "default_model": app.config.default_model,
        "version": env!("CARGO_PKG_VERSION"),
        "bus": app.ports.bus.reach().as_str(),
    })))
}
