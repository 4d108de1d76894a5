//! Metering: what model requests cost, who pays, and how much may be used.
//!
//! A request reserves what it may need of every budget that covers it before it leaves, and settles what it did need when it
//! is over. Whether there is room is decided under the lock that takes it, so budgets hold under any concurrency. Days are
//! UTC days of the store's clock.

use async_trait::async_trait;
use perennial_schema::model::Usage;
use perennial_schema::{
    AgentId, BudgetId, GatewayKeyId, ReservationId, SessionId, Timestamp, TraceId, VirtualKey, VirtualKeyHash,
    WorkspaceId,
};

use serde::Deserialize as _;

use super::StoreError;

/// At whose expense a model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Payer {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// On behalf of this session.
    pub session: Option<SessionId>,
    /// On behalf of this agent.
    pub agent: Option<AgentId>,
    /// With this virtual key; the native loop needs none.
    pub key: Option<GatewayKeyId>,
}

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

/// A model request that a budget refused, as the turn loop is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRefusal {
    /// Which budget.
    pub budget: BudgetId,
    /// What the request may need of it; the session is tried again when there is so much room.
    pub need: u64,
    /// When the budget begins anew.
    pub resets_at: Option<Timestamp>,
}

impl BudgetRefusal {
    /// What a budget's refusal says, in every dialect. Vendor harnesses pass on no more than this text, so [`Self::find`]
    /// reads it back.
    #[must_use]
    pub fn message(budget: &Budget, need: u64) -> String {
        let amount = |amount: u64| match budget.metric {
            BudgetMetric::Requests => format!("{amount} requests"),
            BudgetMetric::Tokens => format!("{amount} tokens"),
            BudgetMetric::Money => format!("{}.{:06} US dollars", amount / 1_000_000, amount % 1_000_000),
        };
        let unit = match budget.metric {
            BudgetMetric::Requests => "requests",
            BudgetMetric::Tokens => "tokens",
            BudgetMetric::Money => "millionths of a dollar",
        };
        let scope = match budget.scope {
            BudgetScope::Workspace => "of this workspace".to_owned(),
            BudgetScope::Key(key) => format!("of virtual key {key}"),
            BudgetScope::Session(session) => format!("of session {session}"),
        };
        let period = match budget.period {
            BudgetPeriod::Total => "",
            BudgetPeriod::Day => " a day",
        };
        let under_way = match budget.reserved {
            0 => String::new(),
            reserved => format!(", {} are set aside for requests under way", amount(reserved)),
        };
        let resets = match budget.resets_at {
            Some(at) => format!(" It begins anew at {at}."),
            None => String::new(),
        };
        format!(
            "Budget {id} {scope} is used up: {used} of {limit}{period} are used{under_way}, and this request may need {need} \
             {unit} more.{resets} Raise it with `perennial budget raise {id} LIMIT` or POST /v1/budgets/{id}.",
            id = budget.id,
            used = amount(budget.used),
            limit = amount(budget.limit),
        )
    }

    /// Finds a refusal in what a provider is said to have answered.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let (_, text) = text.split_once("Budget ")?;
        let (id, text) = text.split_once(' ')?;
        let need = text
            .split_once("may need ")
            .and_then(|(_, need)| need.split(' ').next());
        Some(Self {
            budget: id.parse().ok()?,
            need: need.and_then(|need| need.parse().ok()).unwrap_or(0),
            resets_at: text.split_once("begins anew at ").and_then(|(_, at)| moment(at)),
        })
    }
}

/// A time at the beginning of a text, as it is printed.
fn moment(text: &str) -> Option<Timestamp> {
    let text = text.split_inclusive('Z').next()?;
    Timestamp::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text)).ok()
}

/// What a virtual key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayKeyKind {
    /// One process of a vendor harness.
    Turn,
    /// A session's tools.
    Session,
    /// A person or program of the workspace.
    Workspace,
    /// An executor's host.
    Executor,
}

/// A virtual key as it is stored: its secret is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayKey {
    /// Id.
    pub id: GatewayKeyId,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// What for.
    pub kind: GatewayKeyKind,
    /// What a person calls it.
    pub name: String,
    /// On behalf of this session.
    pub session: Option<SessionId>,
    /// On behalf of this agent.
    pub agent: Option<AgentId>,
    /// Only these models.
    pub models: Option<Vec<String>>,
    /// Only these providers.
    pub providers: Option<Vec<String>>,
    /// SHA-256 of the whole secret.
    pub hash: VirtualKeyHash,
    /// No good from then on.
    pub expires_at: Option<Timestamp>,
    /// No good since.
    pub revoked_at: Option<Timestamp>,
    /// Made at.
    pub created_at: Timestamp,
}

impl GatewayKey {
    /// Whether it opens anything at this time.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// A virtual key to make.
#[derive(Clone, Debug)]
pub struct NewGatewayKey {
    /// Chosen by the caller; none makes a fresh one. Making the same id again is [`MintError::Exists`].
    pub id: Option<GatewayKeyId>,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// What for.
    pub kind: GatewayKeyKind,
    /// What a person calls it.
    pub name: String,
    /// On behalf of this session.
    pub session: Option<SessionId>,
    /// On behalf of this agent.
    pub agent: Option<AgentId>,
    /// Only these models.
    pub models: Option<Vec<String>>,
    /// Only these providers.
    pub providers: Option<Vec<String>>,
    /// How long it is good, by the store's clock.
    pub ttl_millis: Option<u64>,
}

/// A key that was not made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// An earlier request made it; its secret was shown then.
    #[error("this key exists already")]
    Exists(Box<GatewayKey>),
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A fresh virtual key, with the secret nobody will see again.
#[derive(Clone, Debug)]
pub struct Minted {
    /// As stored.
    pub key: GatewayKey,
    /// The plaintext.
    pub secret: VirtualKey,
}

/// One model request as it was traced.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Id.
    pub id: TraceId,
    /// When it began.
    pub at: Timestamp,
    /// At whose expense.
    pub payer: Payer,
    /// Provider's configured name.
    pub provider: String,
    /// Model as the provider knows it.
    pub model: String,
    /// The provider's wire: `messages`, `responses`, `chat` or `rehearsal`.
    pub wire: String,
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// What went wrong.
    pub error: Option<String>,
    /// Tokens, as far as known.
    pub usage: Usage,
    /// What that costs by the price table.
    pub microusd: u64,
    /// Until the first piece of the answer.
    pub ttft_ms: Option<u64>,
    /// Until the end.
    pub duration_ms: u64,
    /// The answer was a stream.
    pub streamed: bool,
}

/// By what usage is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageBy {
    /// UTC day.
    Day,
    /// Model.
    Model,
    /// Session.
    Session,
    /// Agent.
    Agent,
}

/// Which usage.
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Added up by.
    pub by: UsageBy,
    /// From the UTC day of this time on.
    pub from: Option<Timestamp>,
    /// Up to this time; a day it is within counts whole.
    pub to: Option<Timestamp>,
    /// At most so many groups: the latest days, else those that used most.
    pub limit: u32,
}

/// What one group used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// `2026-01-31`, a model, a session's or an agent's id; empty where a request had none.
    pub group: String,
    /// Requests.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Tokens.
    pub usage: Usage,
    /// What that costs by the price table.
    pub microusd: u64,
}

/// Which traces, latest first.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Only of this session.
    pub session: Option<SessionId>,
    /// Only made with this key.
    pub key: Option<GatewayKeyId>,
    /// Only of this model.
    pub model: Option<String>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Strictly beyond this one.
    pub cursor: Option<(Timestamp, TraceId)>,
    /// At most so many.
    pub limit: u32,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Reservations that nobody settled in time, counted as they were reserved.
    pub expired: u64,
    /// Sessions that may try again.
    pub readied: u64,
}

/// A page of budgets or keys, newest first.
#[derive(Clone, Debug)]
pub struct MeterListing<Id> {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Strictly beyond this one (creation time, id).
    pub cursor: Option<(Timestamp, Id)>,
    /// At most so many.
    pub limit: u32,
}

/// Budgets, virtual keys and what was used.
#[async_trait]
pub trait Metering: Send + Sync {
    /// Reserves an estimate in every budget that covers the payer, all or nothing. Not settled within the deadline, it is
    /// counted as reserved. Reserving the same id again changes nothing. Nothing is written when no budget covers the payer.
    async fn reserve(
        &self,
        id: ReservationId,
        payer: &Payer,
        estimate: Amounts,
        deadline_millis: u64,
    ) -> Result<Reserved, ReserveError>;

    /// Counts what a request did use and ends its reservation. A second time, or after the deadline's sweep, changes nothing.
    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError>;

    /// Ends reservations whose deadline passed, and readies sessions held by a budget that has room for them again.
    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// Notes requests that are over. Never waits: they are written in batches by a task of the store, a bounded number waits
    /// there, and what does not fit is dropped and counted in a metric.
    fn record(&self, traces: Vec<Trace>);

    /// Waits until what was recorded is written.
    async fn flush(&self) -> Result<(), StoreError>;

    /// What was used, added up.
    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError>;

    /// Traces.
    async fn traces(&self, query: TraceQuery) -> Result<Vec<Trace>, StoreError>;

    /// Forgets traces from before a time, and virtual keys that were no good by then; sums stay. How many rows went.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Makes a budget; what there is under the id already stays as it is. Requests from before are not counted.
    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError>;

    /// A budget.
    async fn budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>, StoreError>;

    /// Budgets.
    async fn budgets(&self, listing: MeterListing<BudgetId>) -> Result<Vec<Budget>, StoreError>;

    /// Changes a budget, and readies every session it holds in the same commit. None when there is no such budget.
    async fn change_budget(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<Option<Budget>, StoreError>;

    /// Removes a budget, and readies every session it holds in the same commit. False when it was not there.
    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError>;

    /// Makes a virtual key.
    async fn mint(&self, key: NewGatewayKey) -> Result<Minted, MintError>;

    /// A virtual key, good or not: its printed id names no tenant, so its row does.
    async fn key(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError>;

    /// Virtual keys, without those of turns.
    async fn keys(&self, listing: MeterListing<GatewayKeyId>) -> Result<Vec<GatewayKey>, StoreError>;

    /// Makes a virtual key useless; a second time changes nothing. None when there is no such key.
    async fn revoke(&self, workspace: WorkspaceId, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError>;
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_refusal_is_found_in_its_own_words() {
        for (metric, need) in [
            (BudgetMetric::Requests, 1),
            (BudgetMetric::Tokens, 4_096),
            (BudgetMetric::Money, 1_500_000),
        ] {
            let budget = Budget {
                id: BudgetId::from_uuid(Uuid::from_u128(9)),
                workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
                scope: BudgetScope::Workspace,
                metric,
                period: BudgetPeriod::Day,
                limit: 2_000_000,
                used: 1_999_999,
                reserved: 1,
                warn_percent: None,
                resets_at: Some(Timestamp::from_micros(0)),
                created_at: Timestamp::from_micros(0),
            };
            let text = format!("API Error: 429 {}", BudgetRefusal::message(&budget, need));
            let found = BudgetRefusal::find(&text).unwrap();
            assert_eq!(
                (found.budget, found.need, found.resets_at),
                (budget.id, need, budget.resets_at),
                "{text}"
            );
        }
        assert_eq!(BudgetRefusal::find("Budget bud_12 is used up"), None);
        assert_eq!(BudgetRefusal::find("rate limited"), None);
    }
}
