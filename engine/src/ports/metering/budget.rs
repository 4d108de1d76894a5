//! Budgets: how much of what may be used, and a request's place in them.

use perennial_schema::{BudgetId, GatewayKeyId, SessionId, Timestamp, WorkspaceId};

use crate::ports::StoreError;

/// How much of everything a budget may limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Model requests.
    pub requests: u64,
    /// Tokens read and written, cached ones included.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub microusd: u64,
}

impl Amounts {
    /// The one a budget looks at.
    #[must_use]
    pub const fn of(self, metric: BudgetMetric) -> u64 {
        match metric {
            BudgetMetric::Requests => self.requests,
            BudgetMetric::Tokens => self.tokens,
            BudgetMetric::Money => self.microusd,
        }
    }
}

/// Whose requests a budget covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetScope {
    /// All of the workspace.
    Workspace,
    /// Those made with a virtual key.
    Key(GatewayKeyId),
    /// Those of a session, whatever drives it.
    Session(SessionId),
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetMetric {
    /// Model requests.
    Requests,
    /// Tokens.
    Tokens,
    /// Millionths of a US dollar.
    Money,
}

/// When a budget begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetPeriod {
    /// Never.
    Total,
    /// At midnight UTC.
    Day,
}

/// How much of something may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Id.
    pub id: BudgetId,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Whose requests.
    pub scope: BudgetScope,
    /// What is counted.
    pub metric: BudgetMetric,
    /// Over which time.
    pub period: BudgetPeriod,
    /// So much may be used.
    pub limit: u64,
    /// So much was used in this period.
    pub used: u64,
    /// So much is set aside for requests under way.
    pub reserved: u64,
    /// From this share of the limit on somebody is warned, once a period.
    pub warn_percent: Option<u8>,
    /// When it begins anew.
    pub resets_at: Option<Timestamp>,
    /// Made at.
    pub created_at: Timestamp,
}

impl Budget {
    /// What is left to reserve.
    #[must_use]
    pub const fn room(&self) -> u64 {
        self.limit.saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

/// A budget to make.
#[derive(Clone, Debug)]
pub struct NewBudget {
    /// Chosen by the caller; making the same id again changes nothing.
    pub id: BudgetId,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Whose requests.
    pub scope: BudgetScope,
    /// What is counted.
    pub metric: BudgetMetric,
    /// Over which time.
    pub period: BudgetPeriod,
    /// So much may be used.
    pub limit: u64,
    /// From this share of the limit on somebody is warned.
    pub warn_percent: Option<u8>,
}

/// What may change about a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetChange {
    /// A new limit. Raised or not, every session held by this budget tries again.
    pub limit: Option<u64>,
    /// A new share to warn from (inner `None`: no warning).
    pub warn_percent: Option<Option<u8>>,
}

/// A model request has its place in every budget that covers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Budgets cover it, so it must be settled; otherwise nothing was written and settling is not needed (nor an error).
    pub counted: bool,
    /// Budgets that have just passed their warning share; each says so once a period.
    pub warnings: Vec<Budget>,
}

/// A model request that must not leave.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// A budget has no room for it. Nothing was reserved anywhere.
    #[error("budget {} has no room for {need} more", .budget.id)]
    Exhausted {
        /// The budget, as it was found.
        budget: Box<Budget>,
        /// What the request may need of it.
        need: u64,
    },
    /// Could not be asked: a request that cannot be counted does not leave.
    #[error(transparent)]
    Store(#[from] StoreError),
}
