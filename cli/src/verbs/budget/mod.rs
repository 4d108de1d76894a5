//! `perennial budget …`

pub mod create;
pub mod delete;
pub mod list;
pub mod raise;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::Context;
use super::usage::dollars;
use crate::client::Body;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Verbs of a budget.
#[derive(Debug, Subcommand)]
pub enum BudgetVerb {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Raise(raise::RaiseArgs),
    /// Delete a budget; sessions that rest for it go on
    Delete(BudgetArg),
}

/// Just a budget.
#[derive(Debug, Args)]
pub struct BudgetArg {
    budget: String,
}

#[derive(Debug, Deserialize)]
struct Budget {
    id: String,
    scope: Scope,
    metric: String,
    period: String,
    limit: u64,
    used: u64,
    reserved: u64,
    resets_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Scope {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
}

impl Budget {
    fn amount(&self, amount: u64) -> String {
        if self.metric == "money" {
            dollars(amount)
        } else {
            amount.to_string()
        }
    }

    fn scope(&self) -> String {
        self.scope.id.clone().unwrap_or_else(|| self.scope.kind.clone())
    }
}

/// Runs one of them.
pub async fn run(context: &Context, verb: BudgetVerb) -> Result<Exit, Error> {
    match verb {
        BudgetVerb::Create(args) => create::run(context, args).await,
        BudgetVerb::List(args) => list::run(context, args).await,
        BudgetVerb::Raise(args) => raise::run(context, args).await,
        BudgetVerb::Delete(args) => delete::run(context, args).await,
    }
}

/// A budget as facts, or as the server's JSON.
fn print(context: &Context, body: &Body) -> Result<Exit, Error> {
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let budget: Budget = body.parse()?;
    let mut rows = vec![
        ("id", budget.id.clone()),
        ("for", budget.scope()),
        ("counts", budget.metric.clone()),
        ("period", budget.period.clone()),
        ("limit", budget.amount(budget.limit)),
        ("used", budget.amount(budget.used)),
        ("reserved", budget.amount(budget.reserved)),
    ];
    rows.extend(budget.resets_at.map(|at| ("begins anew", at)));
    output::facts(&rows)?;
    Ok(Exit::Done)
}

/// A limit as a person writes it: a whole number, or dollars like `25` or `2.50` for money.
fn limit(text: &str, money: bool) -> Result<u64, Error> {
    let wrong = || {
        let expected = if money {
            "dollars like 25 or 2.50"
        } else {
            "a whole number"
        };
        Error::Usage(format!("the limit {text:?} is not {expected}"))
    };
    if !money {
        return text.parse().map_err(|_| wrong());
    }
    let (whole, cents) = text
        .trim_start_matches('$')
        .split_once('.')
        .unwrap_or((text.trim_start_matches('$'), ""));
    if cents.len() > 6 || !cents.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let parts: u64 = format!("{cents:0<6}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1_000_000)
        .and_then(|whole| whole.checked_add(parts))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::limit;

    #[test]
    fn money_is_written_in_dollars() {
        for (text, microusd) in [
            ("25", 25_000_000),
            ("$2.50", 2_500_000),
            ("0.000001", 1),
            ("1.", 1_000_000),
        ] {
            assert_eq!(limit(text, true).ok(), Some(microusd), "{text}");
        }
        for text in ["", "-1", "2,50", "1.0000001", "x", "1.x", "1.-5"] {
            assert!(limit(text, true).is_err(), "{text}");
        }
        assert_eq!(limit("25", false).ok(), Some(25));
        assert!(limit("2.5", false).is_err());
    }
}
