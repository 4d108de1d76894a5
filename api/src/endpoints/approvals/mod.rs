//! `GET /v1/approvals`: what waits for somebody, across sessions: calls to allow or deny, and results a program owes. With
//! `answered=true`: which calls were allowed or denied, by whom and when.

mod answered;
mod waiting;

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{SessionFilter, SessionRow};
use perennial_schema::event::{Raw, Record};
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};
use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;

/// A tool use that waits, or was answered.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    answered: Option<answered::Answered>,
}

#[derive(Deserialize)]
struct ToolUse {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    evaluated_permission: Option<String>,
}

#[utoipa::path(get, path = "/v1/approvals", tag = "sessions", params(doc::PageParams, doc::ApprovalParams),
    responses((status = 200, description = "Newest session first; `limit` counts sessions, each of which is on one page whole",
    body = doc::ApprovalPage), (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_approvals(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let answered = query.flag("answered")?;
    let listing = if answered { "approvals answered" } else { "approvals" };
    let binding = Binding::new(listing, principal.workspace, false);
    let filter = SessionFilter {
        waiting: !answered,
        confirmed: answered,
        include_archived: answered,
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
        data.extend(if answered {
            answered::of(&app, row).await?
        } else {
            waiting::of(&app, row).await?
        });
    }
    Ok(json(&Page { data, next_page }))
}

impl Approval {
    fn of(row: &SessionRow, tool_use: &Record, answered: Option<answered::Answered>) -> Result<Self, ApiError> {
        let parsed: ToolUse = serde_json::from_str(&tool_use.payload).map_err(|_| ApiError::bug())?;
        Ok(Self {
            kind: "approval",
            session_id: row.key.session.to_string(),
            session_title: row.title.clone(),
            agent_id: row.agent.id.to_string(),
            agent_name: row.agent.name.clone(),
            answer: answered_by(&parsed),
            tool_use: serde_json::from_str(&tool_use.payload).map_err(|_| ApiError::bug())?,
            answered,
        })
    }
}

fn answered_by(tool_use: &ToolUse) -> &'static str {
    match (tool_use.evaluated_permission.as_deref(), tool_use.kind.as_str()) {
        (Some("ask"), _) => "user.tool_confirmation",
        (_, "agent.custom_tool_use") => "user.custom_tool_result",
        _ => "user.tool_result",
    }
}
