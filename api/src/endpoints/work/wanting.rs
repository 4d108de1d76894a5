//! Which sessions want a worker of their environment: those that rest for the result of a call that nobody but a worker, or
//! another client, can give. What a session wants changes only with its log, so it is looked up once per head.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use perennial_engine::ports::{EventFilter, SessionFilter, SessionKey, SessionRow, WorkQueueKey};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Body, Permission, Record, Verdict};
use perennial_schema::session::StopReason;
use perennial_schema::{EventId, SessionId};

use crate::api::App;
use crate::error::ApiError;
use crate::limits::{WANTS_KEPT, WORK_SESSIONS};

/// What a session wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing of a worker: its calls wait for a person's word.
    Nothing,
    /// Results that a worker may have, or another client.
    Perhaps,
    /// Results that only a worker gives.
    Worker,
}

/// What sessions wanted when they were looked at, and at which head.
#[derive(Default)]
pub(crate) struct Wanting(Mutex<HashMap<SessionKey, (u64, Want)>>);

impl Wanting {
    fn known(&self) -> MutexGuard<'_, HashMap<SessionKey, (u64, Want)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, row: &SessionRow) -> Option<Want> {
        let known = self.known();
        let (head, want) = known.get(&row.key)?;
        (*head == row.head).then_some(*want)
    }

    fn learn(&self, row: &SessionRow, want: Want) {
        let mut known = self.known();
        if known.len() >= WANTS_KEPT {
            known.clear();
        }
        known.insert(row.key, (row.head, want));
    }
}

/// Sessions of an environment that want a worker, and their heads; the oldest first.
pub(super) async fn wanting(app: &App, queue: WorkQueueKey) -> Result<Vec<(SessionId, u64)>, ApiError> {
    let filter = SessionFilter {
        environment_id: Some(queue.environment),
        waiting: true,
        ascending: true,
        limit: WORK_SESSIONS,
        ..SessionFilter::default()
    };
    let mut found = Vec::new();
    for row in app.ports.sessions.find(queue.workspace, filter).await? {
        if want(app, &row).await? != Want::Nothing {
            found.push((row.key.session, row.head));
        }
    }
    Ok(found)
}

/// What a session wants now.
pub(super) async fn want(app: &App, row: &SessionRow) -> Result<Want, ApiError> {
    let Some(StopReason::RequiresAction { event_ids }) = &row.stop_reason else {
        return Ok(Want::Nothing);
    };
    if row.quarantined || row.environment != EnvironmentConfig::SelfHosted {
        return Ok(Want::Nothing);
    }
    if let Some(want) = app.wanting.at(row) {
        return Ok(want);
    }
    let want = looked_up(app, row.key, event_ids).await?;
    app.wanting.learn(row, want);
    Ok(want)
}

async fn looked_up(app: &App, key: SessionKey, awaited: &[EventId]) -> Result<Want, ApiError> {
    let answers = Answers::of(app, key, awaited.len()).await?;
    let mut want = Want::Nothing;
    for id in awaited.iter().filter(|id| !answers.results.contains(id)) {
        let Some(record) = app.ports.log.event(key, *id).await? else {
            continue;
        };
        match wanted(&record, answers.allowed.contains(id))? {
            Want::Worker => return Ok(Want::Worker),
            Want::Perhaps => want = Want::Perhaps,
            Want::Nothing => {}
        }
    }
    Ok(want)
}

/// What one call without a result wants.
fn wanted(record: &Record, allowed: bool) -> Result<Want, ApiError> {
    let event = record
        .decode()
        .map_err(|error| ApiError::inconsistent(error.to_string()))?;
    Ok(match &event.body {
        Body::AgentCustomToolUse(_) => Want::Perhaps,
        Body::AgentToolUse(tool) if event.private.self_hosted => match tool.evaluated_permission {
            Some(Permission::Deny) => Want::Nothing,
            Some(Permission::Ask) if !allowed => Want::Nothing,
            _ => Want::Worker,
        },
        _ => Want::Nothing,
    })
}

/// What was answered lately. While a session rests for calls nothing else is answered, so theirs are the newest: at most a
/// person's word and a result each.
#[derive(Default)]
struct Answers {
    results: HashSet<EventId>,
    allowed: HashSet<EventId>,
}

impl Answers {
    const TYPES: [&str; 3] = ["user.tool_confirmation", "user.custom_tool_result", "user.tool_result"];

    async fn of(app: &App, key: SessionKey, calls: usize) -> Result<Self, ApiError> {
        let filter = EventFilter {
            types: Self::TYPES.map(str::to_owned).to_vec(),
            descending: true,
            limit: u32::try_from(calls.saturating_mul(2)).unwrap_or(u32::MAX),
            ..EventFilter::default()
        };
        let mut answers = Self::default();
        for record in app.ports.log.list(key, filter).await? {
            let event = record
                .decode()
                .map_err(|error| ApiError::inconsistent(error.to_string()))?;
            match event.body {
                Body::UserToolConfirmation(word) if word.result == Verdict::Allow => {
                    answers.allowed.insert(word.tool_use_id);
                }
                Body::UserCustomToolResult(result) => {
                    answers.results.insert(result.custom_tool_use_id);
                }
                Body::UserToolResult(result) => {
                    answers.results.insert(result.tool_use_id);
                }
                _ => {}
            }
        }
        Ok(answers)
    }
}
