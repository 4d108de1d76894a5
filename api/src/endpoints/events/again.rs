//! A worker's result for a call that has one. The official workers post a result until they hear of it, so the same one again is
//! answered as the first time; another one is refused for good, because they would repeat whatever may change.

use perennial_engine::ports::{EventFilter, SessionKey};
use perennial_schema::EventId;
use perennial_schema::event::{Answer, Draft};

use crate::api::App;
use crate::error::ApiError;

/// Results looked at, newest first: what is repeated was posted lately.
const LATELY: u32 = 64;

/// The stored events that say what these say.
///
/// # Errors
/// 400 when a call has another result.
pub(super) async fn stored_results(app: &App, key: SessionKey, drafts: &[Draft]) -> Result<Vec<String>, ApiError> {
    let filter = EventFilter {
        types: ["user.tool_result", "user.custom_tool_result"]
            .map(str::to_owned)
            .to_vec(),
        descending: true,
        limit: LATELY,
        ..EventFilter::default()
    };
    let stored = app.ports.log.list(key, filter).await?;
    let mut payloads = Vec::new();
    for draft in drafts {
        let same = stored.iter().find(|record| {
            let event = record.decode();
            event.is_ok_and(|event| event.body == draft.body)
        });
        let same = same.ok_or_else(|| refused(draft.body.answers()))?;
        payloads.push(same.payload.clone());
    }
    Ok(payloads)
}

fn refused(answers: Option<(EventId, Answer)>) -> ApiError {
    let call = answers.map(|(id, _)| id.to_string()).unwrap_or_default();
    ApiError::bad_request(format!(
        "the call {call} has a result already, from somebody else or because it was given up; this one is not needed"
    ))
    .code("tool_use_already_answered")
}
