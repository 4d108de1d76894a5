//! `POST /v1/executors/register`: the one change that needs no key, because the code is one. The machine chooses its own secret,
//! so that a registration whose answer was lost is simply sent again; anybody else's finds the code used.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{ExecutorKind, NewExecutor, RegisterError};

use super::tunnels;
use crate::api::App;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::executor::{Register, RegisteredView};

#[utoipa::path(post, path = "/v1/executors/register", tag = "executors", request_body = doc::ExecutorRegister, responses(
    (status = 200, description = "The executor, with its token", body = doc::ExecutorRegistered),
    (status = 401, description = "No such code", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)), security(()))]
pub(crate) async fn register_executor(State(app): State<App>, body: JsonBody) -> Result<Response, ApiError> {
    if !app.registrations.admit() {
        return Err(ApiError::too_many("too many registrations at once"));
    }
    let (code, name, token) = body.parse::<Register>()?.read()?;
    tunnels(&app)?;
    let new = NewExecutor {
        id: token.id,
        name,
        kind: ExecutorKind::Device,
        hash: token.hash(),
    };
    let registered = app.ports.executors.register(code.hash(), new).await;
    let executor = registered.map_err(|error| match error {
        RegisterError::NoSuchCode => ApiError::unauthenticated(
            "this code is unknown, expired or used: make another one with `perennial executor code` where the server is",
        ),
        RegisterError::Store(error) => error.into(),
    })?;
    Ok(json(&RegisteredView::of(executor, &token)))
}
