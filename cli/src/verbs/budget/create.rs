//! `perennial budget create METRIC LIMIT`

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Limit how much of models may be used
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What is counted
    #[arg(value_enum)]
    metric: Metric,
    /// How much may be used: a whole number, dollars for money
    limit: String,
    /// Begin anew each day at midnight UTC
    #[arg(long)]
    daily: bool,
    /// Only for this session or virtual key, instead of the whole workspace
    #[arg(long = "for", value_name = "ID")]
    scope: Option<String>,
    /// Say in the session when so many percent are used
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    warn: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Metric {
    Requests,
    Tokens,
    Money,
}

/// Creates it.
pub async fn run(context: &Context, args: CreateArgs) -> Result<Exit, Error> {
    let metric = match args.metric {
        Metric::Requests => "requests",
        Metric::Tokens => "tokens",
        Metric::Money => "money",
    };
    let mut body = json!({
        "metric": metric,
        "limit": super::limit(&args.limit, args.metric == Metric::Money)?,
        "period": if args.daily { "day" } else { "total" },
    });
    if let Some(scope) = args.scope {
        body["scope"] = json!(scope);
    }
    if let Some(percent) = args.warn {
        body["warn_percent"] = json!(percent);
    }
    let budget = context.client()?.post("/v1/budgets", &body).await?;
    super::print(context, &budget)
}
