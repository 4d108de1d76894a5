//! `GET /v1/sessions`: the one list with pages in both directions.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{SessionFilter, SessionRow};
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};
use perennial_schema::session::Status;
use serde::Serialize;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::session::Session;

#[derive(Serialize)]
struct Sessions<'a> {
    data: Vec<Session<'a>>,
    next_page: Option<String>,
    prev_page: Option<String>,
}

#[utoipa::path(get, path = "/v1/sessions", tag = "sessions",
    params(doc::PageParams, doc::OrderParams, doc::CreatedParams, doc::ArchivedParams, doc::SessionParams, doc::IncludeParams),
    responses((status = 200, description = "Newest first unless order=asc", body = doc::SessionPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_sessions(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let ascending = query.ascending(false)?;
    let extensions = query.extensions()?;
    let binding = Binding::new("sessions", principal.workspace, ascending);
    // A cursor is `next <position>` or `prev <position>`.
    let cursor = binding.read(&query)?;
    let backwards = cursor.as_ref().is_some_and(|text| text.starts_with("prev "));
    let position = cursor
        .as_deref()
        .and_then(|text| text.split_once(' '))
        .map(|(_, position)| position);
    let mut filter = filter(&query)?;
    filter.ascending = ascending != backwards;
    filter.cursor = position.map(time_and_id).transpose()?;
    filter.limit = limit + 1;
    // Deployments and memory stores do not exist here yet, so no session has one.
    let nothing = query.one("deployment_id").is_some() || query.one("memory_store_id").is_some();
    let mut rows = if nothing {
        Vec::new()
    } else {
        app.ports.sessions.find(principal.workspace, filter).await?
    };
    let more = cut(&mut rows, limit);
    if backwards {
        rows.reverse();
    }
    let (before, behind) = if backwards {
        (more, true)
    } else {
        (cursor.is_some(), more)
    };
    let write =
        |row: &SessionRow, way: &str| binding.write(&format!("{way} {} {}", row.created_at.micros(), row.key.session));
    Ok(json(&Sessions {
        next_page: rows.last().filter(|_| behind).map(|row| write(row, "next")),
        prev_page: rows.first().filter(|_| before).map(|row| write(row, "prev")),
        data: rows.iter().map(|row| Session::of(row, extensions)).collect(),
    }))
}

fn filter(query: &Query) -> Result<SessionFilter, ApiError> {
    let statuses = query.many("statuses")?.into_iter().map(|text| {
        Status::parse(text).ok_or_else(|| {
            let text: String = text.chars().take(60).collect();
            ApiError::field(
                "statuses[]",
                format!("{text:?} is not a status; expected idle, running, rescheduling or terminated"),
            )
        })
    });
    Ok(SessionFilter {
        agent_id: query.parsed("agent_id", "an agent id")?,
        agent_version: query.parsed("agent_version", "a version number")?,
        statuses: statuses.collect::<Result<_, _>>()?,
        created: query.bounds("created_at")?,
        include_archived: query.flag("include_archived")?,
        ..SessionFilter::default()
    })
}
