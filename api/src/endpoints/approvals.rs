//! `GET /v1/approvals`: what waits for somebody, across sessions: calls to allow or deny, and results a program owes.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{EventFilter, SessionFilter, SessionRow};
use perennial_schema::EventId;
use perennial_schema::event::Raw;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};
use perennial_schema::session::StopReason;
use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;

/// The events that answer tool uses.
const ANSWERS: [&str; 3] = ["user.tool_confirmation", "user.custom_tool_result", "user.tool_result"];

/// A tool use that waits.
#[derive(Serialize)]
struct Approval {
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: String,
    session_title: Option<String>,
    agent_id: String,
    agent_name: String,
    answer: &'static str,
    tool_use: Raw,
}

#[derive(Deserialize)]
struct ToolUse {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    evaluated_permission: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "custom_tool_use_id", alias = "mcp_tool_use_id")]
    tool_use_id: EventId,
}

#[utoipa::path(get, path = "/v1/approvals", tag = "sessions", params(doc::PageParams),
    responses((status = 200, description = "Newest session first; `limit` counts sessions, each of which is on one page whole",
    body = doc::ApprovalPage), (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_approvals(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let binding = Binding::new("approvals", principal.workspace, false);
    let filter = SessionFilter {
        waiting: true,
        cursor: binding.read(&query)?.map(|place| time_and_id(&place)).transpose()?,
        limit: limit + 1,
        ..SessionFilter::default()
    };
    let mut rows = app.ports.sessions.find(principal.workspace, filter).await?;
    let more = cut(&mut rows, limit);
    let last = rows.last().filter(|_| more);
    let next_page = last.map(|row| binding.write(&format!("{} {}", row.created_at.micros(), row.key.session)));
    let mut data = Vec::new();
    for row in &rows {
        data.extend(waiting(&app, row).await?);
    }
    Ok(json(&Page { data, next_page }))
}

/// What a session waits for that nobody has answered, in the order of its stop reason.
async fn waiting(app: &App, row: &SessionRow) -> Result<Vec<Approval>, ApiError> {
    let Some(StopReason::RequiresAction { event_ids }) = &row.stop_reason else {
        return Ok(Vec::new());
    };
    // Each is answered once, and nothing else is answered while it waits: their answers are the newest.
    let filter = EventFilter {
        types: ANSWERS.map(str::to_owned).to_vec(),
        descending: true,
        limit: u32::try_from(event_ids.len()).unwrap_or(u32::MAX),
        ..EventFilter::default()
    };
    let answers = app.ports.log.list(row.key, filter).await?;
    let answered: Vec<EventId> = answers
        .iter()
        .filter_map(|record| serde_json::from_str::<Answer>(&record.payload).ok())
        .map(|answer| answer.tool_use_id)
        .collect();
    let mut found = Vec::new();
    for id in event_ids.iter().filter(|id| !answered.contains(id)) {
        let Some(record) = app.ports.log.event(row.key, *id).await? else {
            continue;
        };
        let tool_use: ToolUse = serde_json::from_str(&record.payload).map_err(|_| ApiError::bug())?;
        found.push(Approval {
            kind: "approval",
            session_id: row.key.session.to_string(),
            session_title: row.title.clone(),
            agent_id: row.agent.id.to_string(),
            agent_name: row.agent.name.clone(),
            answer: answered_by(&tool_use),
            tool_use: serde_json::from_str(&record.payload).map_err(|_| ApiError::bug())?,
        });
    }
    Ok(found)
}

fn answered_by(tool_use: &ToolUse) -> &'static str {
    match (tool_use.evaluated_permission.as_deref(), tool_use.kind.as_str()) {
        (Some("ask"), _) => "user.tool_confirmation",
        (_, "agent.custom_tool_use") => "user.custom_tool_result",
        _ => "user.tool_result",
    }
}
