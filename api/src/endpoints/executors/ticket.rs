//! `POST /v1/executors/{id}/tickets`: what a browser opens a terminal with, which can send no key with a WebSocket. Good for that
//! terminal, once, and not for long; so a repeated request simply gets another one.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::EXECUTOR_PASS_MILLIS;
use serde::{Deserialize, Serialize};

use super::terminal::{named, what};
use super::{find, tunnels};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateTicket {
    terminal: String,
}

#[derive(Serialize)]
struct TicketView<'a> {
    r#type: &'static str,
    executor_id: &'a str,
    terminal: &'a str,
    ticket: &'a str,
    expires_at: perennial_schema::Timestamp,
}

#[utoipa::path(post, path = "/v1/executors/{executor_id}/tickets", tag = "executors",
    params(("executor_id" = String, Path)), request_body = doc::ExecutorTicketCreate,
    responses((status = 200, description = "The ticket, shown once", body = doc::ExecutorTicket),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_executor_ticket(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let CreateTicket { terminal } = body.parse()?;
    let terminal = named(&terminal).map_err(|problem| ApiError::field("terminal", problem))?;
    tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let ticket = app.ports.executors.mint_ticket(executor.id, &what(terminal)).await?;
    Ok(json(&TicketView {
        r#type: "executor_ticket",
        executor_id: &id,
        terminal,
        ticket: ticket.expose(),
        expires_at: app.ports.clock.now().plus_millis(EXECUTOR_PASS_MILLIS),
    }))
}
