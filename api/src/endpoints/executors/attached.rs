//! Executors that something names to be attached: of the workspace, and each called something else.

use perennial_schema::Attachment;
use perennial_schema::limits::EXECUTORS;
use serde_json::Value;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::body::part;
use crate::error::ApiError;
use crate::wire::attachment::Attach;
use crate::wire::count;

/// An executor of the workspace, or 404.
pub(crate) async fn attachment(app: &App, principal: Principal, given: Attach) -> Result<Attachment, ApiError> {
    given.executor()?;
    let executor = find(app, principal, given.given()).await?;
    given.of(&executor)
}

/// A list of them, as an agent, an environment or a new session has it.
pub(crate) async fn attachments(
    app: &App,
    principal: Principal,
    path: &str,
    given: &[Value],
) -> Result<Vec<Attachment>, ApiError> {
    count(path, given.len(), EXECUTORS)?;
    let mut all: Vec<Attachment> = Vec::with_capacity(given.len());
    for (at, given) in given.iter().enumerate() {
        let given = part(given, &format!("{path}[{at}]"))?;
        let next = attachment(app, principal, given).await?;
        distinct(&all, &next).map_err(|problem| ApiError::field(format!("{path}[{at}]"), problem))?;
        all.push(next);
    }
    Ok(all)
}

/// A name means one executor, and an executor is attached once.
pub(crate) fn distinct(all: &[Attachment], next: &Attachment) -> Result<(), String> {
    if all.iter().any(|known| known.executor_id == next.executor_id) {
        return Err(format!("executor {} is there already", next.executor_id));
    }
    if all.iter().any(|known| known.name == next.name) {
        return Err(format!("another executor is called {:?}: give a name", next.name));
    }
    Ok(())
}
