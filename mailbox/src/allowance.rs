//! What the receiver of a task may use of models: a budget of its session, from before the task is in its log until the task has
//! ended, enforced where all budgets are.
//!
//! Who works for somebody under such a budget, and has others work for him, gives them a part of his: it is set aside in his own
//! budget when he delegates, and what they used of it is counted there in the end. All of it is known by ids made of the task's:
//! said twice it happened once.

use perennial_engine::ports::{
    Amounts, AppendError, BudgetMetric, BudgetPeriod, BudgetScope, Message, NewBudget, Payer, ReserveError, SessionKey,
    StoreError,
};
use perennial_schema::mail::Allowance;
use perennial_schema::{BudgetId, MessageId, ReservationId, SessionId};
use uuid::Uuid;

use crate::limits;
use crate::office::Office;

/// The budget of a task in the session that does it. A task that comes to another session in the end has another there.
fn budget(task: MessageId, session: SessionId) -> BudgetId {
    BudgetId::from_uuid(Uuid::new_v5(&task.uuid(), session.uuid().as_bytes()))
}

const fn reservation(task: MessageId) -> ReservationId {
    ReservationId::from_uuid(task.uuid())
}

const fn parts(allowance: Allowance) -> (BudgetMetric, u64) {
    match allowance {
        Allowance::Tokens(tokens) => (BudgetMetric::Tokens, tokens),
        Allowance::Microusd(microusd) => (BudgetMetric::Money, microusd),
    }
}

fn amounts(metric: BudgetMetric, amount: u64) -> Amounts {
    let mut amounts = Amounts::default();
    match metric {
        BudgetMetric::Requests => amounts.requests = amount,
        BudgetMetric::Tokens => amounts.tokens = amount,
        BudgetMetric::Money => amounts.microusd = amount,
    }
    amounts
}

fn told(metric: BudgetMetric, amount: u64) -> String {
    match metric {
        BudgetMetric::Requests => format!("{amount} requests"),
        BudgetMetric::Tokens => format!("{amount} tokens"),
        BudgetMetric::Money => format!("{} cents", amount / 10_000),
    }
}

impl Office {
    /// Sets aside what a task may use, where the session that delegates it works under the budget of a task itself.
    pub(crate) async fn set_aside(
        &self,
        key: SessionKey,
        own: Option<&Message>,
        task: MessageId,
        given: Option<Allowance>,
        seconds: u64,
    ) -> Result<(), String> {
        let failed = |error: StoreError| error.to_string();
        let Some(own) = own.filter(|own| own.letter.task.as_ref().is_some_and(|task| task.max_budget.is_some())) else {
            return Ok(());
        };
        let id = budget(own.letter.id, key.session);
        // The task it worked on has ended: nothing limits it any more.
        let Some(limit) = self.metering.budget(key.workspace, id).await.map_err(failed)? else {
            return Ok(());
        };
        let left = told(limit.metric, limit.room());
        let Some((metric, amount)) = given.map(parts) else {
            return Err(format!(
                "max_budget: what you do is limited itself, and {left} are left; say how much of it this task may use"
            ));
        };
        if metric != limit.metric {
            return Err(format!(
                "max_budget: what you do is limited to {left}: give a part of that, in the same unit"
            ));
        }
        let payer = Payer {
            workspace: key.workspace,
            session: Some(key.session),
            agent: None,
            key: None,
            aside: true,
        };
        let deadline = seconds.saturating_mul(1000).saturating_add(limits::ASIDE_MILLIS);
        let reserved = self
            .metering
            .reserve(reservation(task), &payer, amounts(metric, amount), deadline)
            .await;
        match reserved {
            Ok(_) => Ok(()),
            Err(ReserveError::Exhausted { budget, .. }) => Err(format!(
                "max_budget: only {} are left of what you may use yourself",
                told(budget.metric, budget.room())
            )),
            Err(ReserveError::Store(error)) => Err(error.to_string()),
        }
    }

    /// Puts the ceiling up in the session that is about to get the task.
    pub(crate) async fn allow(&self, task: &Message, session: SessionId) -> Result<(), AppendError> {
        let Some(allowance) = task.letter.task.as_ref().and_then(|task| task.max_budget) else {
            return Ok(());
        };
        let (metric, limit) = parts(allowance);
        let new = NewBudget {
            id: budget(task.letter.id, session),
            workspace: task.workspace,
            scope: BudgetScope::Session(session),
            metric,
            period: BudgetPeriod::Total,
            limit,
            warn_percent: None,
        };
        self.metering.create_budget(new).await?;
        Ok(())
    }

    /// The task has ended: what it used is counted where it was set aside, and its ceiling is taken down.
    pub(crate) async fn disallow(&self, task: &Message) -> Result<(), StoreError> {
        let Some(allowance) = task.letter.task.as_ref().and_then(|task| task.max_budget) else {
            return Ok(());
        };
        let (workspace, (metric, _)) = (task.workspace, parts(allowance));
        let id = task.session.map(|session| budget(task.letter.id, session));
        let used = match id {
            Some(id) => self
                .metering
                .budget(workspace, id)
                .await?
                .map(|budget| budget.used + budget.reserved),
            // Nobody has begun with it.
            None => Some(0),
        };
        if let Some(used) = used {
            let settled = self
                .metering
                .settle(workspace, reservation(task.letter.id), amounts(metric, used));
            settled.await?;
        }
        if let Some(id) = id {
            self.metering.delete_budget(workspace, id).await?;
        }
        Ok(())
    }
}
