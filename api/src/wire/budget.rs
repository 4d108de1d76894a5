//! Budgets as clients write and see them. Ours counts in whole units (requests, tokens, millionths of a US dollar); the
//! adopted one of a session is a ceiling on list cost in cents.

use perennial_engine::ports::{Budget, BudgetChange, BudgetMetric, BudgetPeriod, BudgetScope, NewBudget};
use perennial_schema::event::Raw;
use perennial_schema::{BudgetId, SessionId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::nullable;
use crate::error::ApiError;
use crate::query::kind_of;

/// The largest limit: what is larger limits nothing.
const MOST: u64 = 1_000_000_000_000_000;
/// Millionths of a dollar in a cent.
const CENT: u64 = 10_000;

/// `POST /v1/budgets`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    scope: Option<Value>,
    metric: String,
    period: Option<String>,
    limit: Value,
    warn_percent: Option<u64>,
}

/// `POST /v1/budgets/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    limit: Option<Value>,
    #[serde(default, deserialize_with = "nullable")]
    warn_percent: Option<Option<u64>>,
}

/// A budget.
#[derive(Serialize)]
pub(crate) struct View {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    scope: Value,
    metric: &'static str,
    /// What `limit`, `used` and `reserved` count.
    unit: &'static str,
    period: &'static str,
    limit: u64,
    used: u64,
    reserved: u64,
    remaining: u64,
    warn_percent: Option<u8>,
    resets_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl Create {
    /// The budget this body describes.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn into_budget(self, id: BudgetId, workspace: WorkspaceId) -> Result<NewBudget, ApiError> {
        let metric = match self.metric.as_str() {
            "requests" => BudgetMetric::Requests,
            "tokens" => BudgetMetric::Tokens,
            "money" => BudgetMetric::Money,
            other => {
                return Err(ApiError::field(
                    "metric",
                    format!("{other:?} is none of requests, tokens, money"),
                ));
            }
        };
        let period = match self.period.as_deref() {
            None | Some("total") => BudgetPeriod::Total,
            Some("day") => BudgetPeriod::Day,
            Some(other) => return Err(ApiError::field("period", format!("{other:?} is neither total nor day"))),
        };
        Ok(NewBudget {
            id,
            workspace,
            scope: scope(self.scope.as_ref())?,
            metric,
            period,
            limit: limit(&self.limit, metric)?,
            warn_percent: percent(self.warn_percent)?,
        })
    }
}

impl Update {
    /// What changes of a budget.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn into_change(self, budget: &Budget) -> Result<BudgetChange, ApiError> {
        let given = self.limit.as_ref();
        Ok(BudgetChange {
            limit: given.map(|given| limit(given, budget.metric)).transpose()?,
            warn_percent: self.warn_percent.map(percent).transpose()?,
        })
    }
}

fn percent(given: Option<u64>) -> Result<Option<u8>, ApiError> {
    match given {
        None => Ok(None),
        Some(percent @ 1..=100) => Ok(u8::try_from(percent).ok()),
        Some(_) => Err(ApiError::field("warn_percent", "must be between 1 and 100")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Money {
    amount: String,
    currency: String,
}

/// A whole number of units, or for money an amount in cents.
fn limit(given: &Value, metric: BudgetMetric) -> Result<u64, ApiError> {
    let number = match given {
        Value::Number(number) => number.as_u64(),
        Value::Object(_) if metric == BudgetMetric::Money => return cents("limit", given),
        other => {
            return Err(ApiError::field(
                "limit",
                format!("must be a whole number, not {}", kind_of(other)),
            ));
        }
    };
    number
        .filter(|number| *number <= MOST)
        .ok_or_else(|| ApiError::field("limit", format!("must be a whole number between 0 and {MOST}")))
}

/// `{"amount": "2500", "currency": "USD"}` in millionths of a dollar.
fn cents(path: &str, given: &Value) -> Result<u64, ApiError> {
    let money = Money::deserialize(given).map_err(|error| ApiError::field(path, error))?;
    if money.currency != "USD" {
        return Err(ApiError::field(format!("{path}.currency"), "only USD is supported"));
    }
    let digits = !money.amount.is_empty() && money.amount.bytes().all(|byte| byte.is_ascii_digit());
    let cents: Option<u64> = money.amount.parse().ok().filter(|_| digits);
    cents
        .and_then(|cents| cents.checked_mul(CENT))
        .filter(|amount| *amount <= MOST)
        .ok_or_else(|| ApiError::field(format!("{path}.amount"), "must be whole cents as text, like \"2500\""))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
}

fn scope(given: Option<&Value>) -> Result<BudgetScope, ApiError> {
    let scope = match given {
        None => return Ok(BudgetScope::Workspace),
        Some(Value::String(text)) if text == "workspace" => return Ok(BudgetScope::Workspace),
        Some(Value::String(text)) if text.starts_with("vkey_") => Scope {
            kind: "key".into(),
            id: Some(text.clone()),
        },
        Some(Value::String(text)) => Scope {
            kind: "session".into(),
            id: Some(text.clone()),
        },
        Some(given) => Scope::deserialize(given).map_err(|error| ApiError::field("scope", error))?,
    };
    let id = scope.id.as_deref().unwrap_or_default();
    let wrong = |error| ApiError::field("scope.id", error);
    match scope.kind.as_str() {
        "workspace" => Ok(BudgetScope::Workspace),
        "key" => Ok(BudgetScope::Key(id.parse().map_err(wrong)?)),
        "session" => Ok(BudgetScope::Session(id.parse().map_err(wrong)?)),
        other => Err(ApiError::field(
            "scope.type",
            format!("{other:?} is none of workspace, key, session"),
        )),
    }
}

impl From<Budget> for View {
    fn from(budget: Budget) -> Self {
        let (metric, unit) = match budget.metric {
            BudgetMetric::Requests => ("requests", "requests"),
            BudgetMetric::Tokens => ("tokens", "tokens"),
            BudgetMetric::Money => ("money", "microusd"),
        };
        Self {
            id: budget.id.to_string(),
            kind: "budget",
            scope: match budget.scope {
                BudgetScope::Workspace => json!({"type": "workspace"}),
                BudgetScope::Key(id) => json!({"type": "key", "id": id}),
                BudgetScope::Session(id) => json!({"type": "session", "id": id}),
            },
            metric,
            unit,
            period: match budget.period {
                BudgetPeriod::Total => "total",
                BudgetPeriod::Day => "day",
            },
            limit: budget.limit,
            used: budget.used,
            reserved: budget.reserved,
            remaining: budget.room(),
            warn_percent: budget.warn_percent,
            resets_at: budget.resets_at,
            created_at: budget.created_at,
        }
    }
}

/// A session's own budget in the adopted form, and as it is enforced.
#[derive(Clone, Debug)]
pub(crate) struct SessionBudget {
    /// As shown.
    pub(crate) shown: Raw,
    /// Millionths of a dollar.
    pub(crate) limit: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(rename = "type")]
    kind: String,
    max_list_cost: Value,
}

impl SessionBudget {
    /// Reads the `budget` of a session's creation or update; null is none.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn read(given: &Value) -> Result<Option<Self>, ApiError> {
        if given.is_null() {
            return Ok(None);
        }
        let budget = Limit::deserialize(given).map_err(|error| ApiError::field("budget", error))?;
        if budget.kind != "limit" {
            return Err(ApiError::field(
                "budget.type",
                format!("{:?} is not \"limit\"", budget.kind),
            ));
        }
        let limit = cents("budget.max_list_cost", &budget.max_list_cost)?;
        let amount = (limit / CENT).to_string();
        let shown = json!({"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}});
        Ok(Some(Self {
            shown: Raw::of(&shown),
            limit,
        }))
    }

    /// The budget it is enforced by, under the session's own id.
    pub(crate) fn enforced(&self, workspace: WorkspaceId, session: SessionId) -> NewBudget {
        NewBudget {
            id: session_budget(session),
            workspace,
            scope: BudgetScope::Session(session),
            metric: BudgetMetric::Money,
            period: BudgetPeriod::Total,
            limit: self.limit,
            warn_percent: Some(80),
        }
    }
}

/// The id of the budget a session's own `budget` is enforced by.
pub(crate) const fn session_budget(session: SessionId) -> BudgetId {
    BudgetId::from_uuid(session.uuid())
}
