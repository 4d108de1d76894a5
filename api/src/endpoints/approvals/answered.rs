//! Who allowed or denied what, and when: the log has it, whoever asks later.

use perennial_engine::ports::{EventFilter, SessionRow};
use perennial_schema::Timestamp;
use perennial_schema::event::{ToolConfirmation, Verdict};
use serde::Serialize;

use super::Approval;
use crate::api::App;
use crate::error::ApiError;
use crate::limits::ANSWERS_OF_A_SESSION;

/// An answer somebody gave.
#[derive(Serialize)]
pub(super) struct Answered {
    result: Verdict,
    /// What the model was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    at: Timestamp,
    /// The key it was sent with; none of what an imported log does not tell.
    by: Option<String>,
}

/// A session's answers, newest first.
pub(super) async fn of(app: &App, row: &SessionRow) -> Result<Vec<Approval>, ApiError> {
    let filter = EventFilter {
        types: vec!["user.tool_confirmation".to_owned()],
        descending: true,
        limit: ANSWERS_OF_A_SESSION,
        ..EventFilter::default()
    };
    let mut found = Vec::new();
    for answer in app.ports.log.list(row.key, filter).await? {
        let given: ToolConfirmation = serde_json::from_str(&answer.payload).map_err(|_| ApiError::bug())?;
        let Some(tool_use) = app.ports.log.event(row.key, given.tool_use_id).await? else {
            continue;
        };
        let answered = Answered {
            result: given.result,
            message: given.deny_message,
            at: answer.created_at,
            by: answer.actor,
        };
        found.push(Approval::of(row, &tool_use, Some(answered))?);
    }
    Ok(found)
}
