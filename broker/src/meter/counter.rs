//! What a budget does with a request, as values.

use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, BudgetMetric, BudgetPeriod, BudgetScope, NewBudget, Payer,
};
use perennial_schema::Timestamp;
use perennial_schema::model::Usage;
use uuid::Uuid;

use crate::limits::MOST;

/// Microseconds of a day.
pub(super) const DAY: i64 = 86_400_000_000;

/// The UTC day of a time, counted from the epoch.
pub(super) const fn day_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(DAY)
}

/// When a day begins.
pub(super) fn begin_of(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(DAY))
}

/// A budget as stored, with the day its numbers are of.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) budget: Budget,
    pub(super) day: i64,
    pub(super) warned: bool,
}

impl Counter {
    /// A budget nobody has used yet.
    pub(super) fn new(new: &NewBudget, now: Timestamp) -> Self {
        Self {
            budget: Budget {
                id: new.id,
                workspace: new.workspace,
                scope: new.scope,
                metric: new.metric,
                period: new.period,
                limit: new.limit.min(MOST),
                used: 0,
                reserved: 0,
                warn_percent: new.warn_percent,
                resets_at: None,
                created_at: now,
            },
            day: 0,
            warned: false,
        }
    }

    /// Another limit may be passed again.
    pub(super) fn change(&mut self, change: BudgetChange) {
        self.budget.limit = change.limit.unwrap_or(self.budget.limit).min(MOST);
        self.budget.warn_percent = change.warn_percent.unwrap_or(self.budget.warn_percent);
        self.warned = false;
    }

    /// The same as of a day: a new one begins with nothing used.
    pub(super) fn on(mut self, today: i64) -> Self {
        if self.budget.period == BudgetPeriod::Total {
            self.budget.resets_at = None;
            return self;
        }
        if self.day != today {
            (self.day, self.warned) = (today, false);
            (self.budget.used, self.budget.reserved) = (0, 0);
        }
        self.budget.resets_at = Some(begin_of(today + 1));
        self
    }

    /// What a request needs of it.
    pub(super) fn need(&self, estimate: Amounts) -> u64 {
        estimate.of(self.budget.metric).min(MOST)
    }

    /// Sets an amount aside that fits; whether the warning share is passed by it.
    pub(super) fn take(&mut self, need: u64) -> bool {
        self.budget.reserved += need;
        let passed = self.passed() && !self.warned;
        self.warned |= passed;
        passed
    }

    fn passed(&self) -> bool {
        let taken = u128::from(self.budget.used) + u128::from(self.budget.reserved);
        self.budget
            .warn_percent
            .is_some_and(|percent| taken * 100 >= u128::from(self.budget.limit) * u128::from(percent))
    }

    /// Ends what was set aside on a day, and counts what was used instead.
    pub(super) fn settle(&mut self, day: i64, reserved: u64, used: u64) {
        if self.day == day {
            self.budget.reserved = self.budget.reserved.saturating_sub(reserved);
            self.budget.used = self.budget.used.saturating_add(used.min(MOST));
        }
    }
}

/// What a budget of this scope is found by.
pub(super) const fn target(workspace: Uuid, scope: BudgetScope) -> Uuid {
    match scope {
        BudgetScope::Workspace => workspace,
        BudgetScope::Key(key) => key.uuid(),
        BudgetScope::Session(session) => session.uuid(),
    }
}

/// By what the budgets of a payer are found.
pub(super) fn targets(payer: &Payer) -> Vec<Uuid> {
    if payer.aside {
        return payer
            .session
            .map(perennial_schema::SessionId::uuid)
            .into_iter()
            .collect();
    }
    let mut targets = vec![payer.workspace.uuid()];
    targets.extend(payer.session.map(perennial_schema::SessionId::uuid));
    targets.extend(payer.key.map(perennial_schema::GatewayKeyId::uuid));
    targets
}

pub(super) const fn scope_name(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Workspace => "workspace",
        BudgetScope::Key(_) => "key",
        BudgetScope::Session(_) => "session",
    }
}

pub(super) const fn metric_name(metric: BudgetMetric) -> &'static str {
    match metric {
        BudgetMetric::Requests => "requests",
        BudgetMetric::Tokens => "tokens",
        BudgetMetric::Money => "money",
    }
}

pub(super) const fn period_name(period: BudgetPeriod) -> &'static str {
    match period {
        BudgetPeriod::Total => "total",
        BudgetPeriod::Day => "day",
    }
}

/// A day as people write it.
pub(super) fn date(day: i64) -> String {
    begin_of(day).datetime().format("%Y-%m-%d").to_string()
}

/// All tokens of a sum.
pub(super) const fn tokens(usage: &Usage) -> u64 {
    usage
        .input_tokens
        .saturating_add(usage.output_tokens)
        .saturating_add(usage.cache_creation_input_tokens)
        .saturating_add(usage.cache_read_input_tokens)
}
