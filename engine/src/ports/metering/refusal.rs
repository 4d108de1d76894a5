//! What a used-up budget says, and how it is read back.

use perennial_schema::{BudgetId, Timestamp};
use serde::Deserialize as _;

use super::budget::{Budget, BudgetMetric, BudgetPeriod, BudgetScope};

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

#[cfg(test)]
mod tests {
    use perennial_schema::WorkspaceId;
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
