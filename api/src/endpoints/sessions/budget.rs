//! A session's own `budget`: shown as the adopted API shows it, enforced by a budget of ours under the session's id. The ceiling
//! is there before the session is, so that not even its first request escapes it.

use perennial_engine::ports::{AppendError, Appended, BudgetChange, SessionKey};
use perennial_schema::event::Raw;
use serde_json::Value;

use crate::api::App;
use crate::error::ApiError;
use crate::wire::budget::{SessionBudget, session_budget};

/// Reads what a body says; an outer none says nothing, an inner one removes.
pub(super) fn read(given: Option<&Value>) -> Result<Option<Option<SessionBudget>>, ApiError> {
    given.map(SessionBudget::read).transpose()
}

/// The budget of a stored session.
pub(super) fn stored(shown: Option<&Raw>) -> Option<SessionBudget> {
    let shown: Value = serde_json::from_str(shown?.text()).ok()?;
    SessionBudget::read(&shown).ok().flatten()
}

/// Puts the ceiling up for a session about to be made.
pub(super) async fn prepare(app: &App, key: SessionKey, budget: Option<&SessionBudget>) -> Result<(), ApiError> {
    if let Some(budget) = budget {
        let enforced = budget.enforced(key.workspace, key.session);
        app.ports.metering.create_budget(enforced).await?;
    }
    Ok(())
}

/// Takes the ceiling away where the session was certainly not made under this id.
pub(super) async fn settle(
    app: &App,
    key: SessionKey,
    budget: Option<&SessionBudget>,
    made: &Result<Appended, AppendError>,
) {
    let made_here = match made {
        Ok(made) => made.session == key.session,
        Err(AppendError::Store(_)) => true,
        Err(_) => false,
    };
    if budget.is_some() && !made_here {
        forget(app, key).await;
    }
}

/// Changes the ceiling of a session; one that rests for it tries again.
pub(super) async fn change(app: &App, key: SessionKey, budget: Option<&SessionBudget>) -> Result<(), ApiError> {
    let (metering, id) = (&app.ports.metering, session_budget(key.session));
    let Some(budget) = budget else {
        metering.delete_budget(key.workspace, id).await?;
        return Ok(());
    };
    let change = BudgetChange {
        limit: Some(budget.limit),
        warn_percent: None,
    };
    if metering.change_budget(key.workspace, id, change).await?.is_none() {
        prepare(app, key, Some(budget)).await?;
    }
    Ok(())
}

/// The session is gone. A ceiling that stays behind is in nobody's way.
pub(super) async fn forget(app: &App, key: SessionKey) {
    let id = session_budget(key.session);
    if let Err(error) = app.ports.metering.delete_budget(key.workspace, id).await {
        tracing::warn!(session.id = %key.session, %error, "a budget of no session was left behind");
    }
}
