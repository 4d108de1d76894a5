//! `POST /v1/executors/{id}/calls`: one tool call without a model. Its id follows from the idempotency key and the executor
//! keeps a journal, so a repetition meets the same call: it waits for it or gets its result, and never runs it twice.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{CallError, Order, Router, SessionKey, Settled};
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, ExecutorId, SessionId, WorkspaceId};
use uuid::Uuid;

use super::{find, tunnels};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
pub(crate) use crate::wire::executor::Call;
use crate::wire::executor::{CallView, CreateCall};

/// A call's one lease: nobody takes it over.
pub(super) const EPOCH: u64 = 1;

#[utoipa::path(post, path = "/v1/executors/{executor_id}/calls", tag = "executors",
    params(("executor_id" = String, Path)), request_body = doc::ExecutorCallCreate,
    responses((status = 200, description = "What came of it", body = doc::ExecutorCall),
    (status = 409, description = "The executor is not connected, or the outcome is unknown", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn call_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let call = body.parse::<CreateCall>()?.read()?;
    tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    let call_id = match &once.earlier {
        Some(earlier) => earlier.parse().map_err(|_| ApiError::bug())?,
        None => once.id,
    };
    // Before it leaves: a repetition must find it whatever dies in between.
    if once.earlier.is_none() {
        once.made(&app, call_id.to_string()).await?;
    }
    let tool = call.tool;
    let outcome = made(&app, principal.workspace, executor.id, call, call_id).await?;
    Ok(json(&CallView::of(call_id, executor.id, tool, outcome)))
}

fn key(workspace: WorkspaceId, call_id: Uuid) -> SessionKey {
    SessionKey {
        workspace,
        session: SessionId::from_uuid(call_id),
    }
}

/// What came of a call on a machine of a workspace.
pub(crate) async fn made(
    app: &App,
    workspace: WorkspaceId,
    executor_id: ExecutorId,
    call: Call,
    call_id: Uuid,
) -> Result<Outcome, ApiError> {
    let key = key(workspace, call_id);
    let environment = EnvironmentConfig::Local {
        executor_id: Some(executor_id),
        dir: call.dir,
        preparation: Preparation::default(),
    };
    let router = &app.ports.router;
    let placement = router.place(key, &environment).await.map_err(offline)?;
    let order = Order {
        key,
        epoch: EPOCH,
        call_id: EventId::from_uuid(call_id),
        effect: call.tool.effect(),
        tool: call.tool.name().to_owned(),
        input: call.input,
        placement,
        environment,
        secret: None,
        mcp: None,
    };
    let outcome = called(router.as_ref(), order).await.map_err(refused)?;
    // Its shell was for this call alone.
    router.forget(key.session, Some(executor_id)).await;
    Ok(outcome)
}

/// Stops a call that is under way; it ends with what it got.
pub(crate) async fn cancel(app: &App, workspace: WorkspaceId, call_id: Uuid) {
    let key = key(workspace, call_id);
    app.ports.router.cancel(key, EPOCH, EventId::from_uuid(call_id)).await;
}

/// Sends it; when the line broke, asks what became of it, and sends it again only if it never began.
pub(super) async fn called(router: &dyn Router, order: Order) -> Result<Outcome, CallError> {
    match router.call(order.clone()).await {
        Err(CallError::Unknown(_)) => match router.settle(order.clone()).await? {
            Settled::Done(outcome) => Ok(outcome),
            Settled::NeverStarted => router.call(order).await,
            Settled::InDoubt { reason } => Err(CallError::Unknown(reason)),
        },
        told => told,
    }
}

pub(super) fn offline(reason: String) -> ApiError {
    ApiError::conflict(reason).code("executor_offline")
}

pub(super) fn refused(error: CallError) -> ApiError {
    match error {
        CallError::NotStarted(reason) | CallError::NotSent(reason) => {
            ApiError::conflict(format!("the call was not started: {reason}"))
        }
        CallError::Unknown(reason) => {
            ApiError::conflict(format!("the call's outcome is unknown: {reason}")).code("call_in_doubt")
        }
        CallError::Fenced => ApiError::bug(),
    }
}
