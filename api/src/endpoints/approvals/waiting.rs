//! What sessions wait for.

use perennial_engine::ports::{EventFilter, SessionRow};
use perennial_schema::EventId;
use perennial_schema::session::StopReason;
use serde::Deserialize;

use super::Approval;
use crate::api::App;
use crate::error::ApiError;

/// The events that answer tool uses.
const ANSWERS: [&str; 3] = ["user.tool_confirmation", "user.custom_tool_result", "user.tool_result"];

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "custom_tool_use_id", alias = "mcp_tool_use_id")]
    tool_use_id: EventId,
}

/// What a session waits for that nobody has answered, in the order of its stop reason.
pub(super) async fn of(app: &App, row: &SessionRow) -> Result<Vec<Approval>, ApiError> {
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
        found.push(Approval::of(row, &record, None)?);
    }
    Ok(found)
}
