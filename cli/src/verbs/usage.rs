//! `perennial usage`

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Show what models were used for: requests, tokens, cost
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// Add up by
    #[arg(long, value_enum, default_value = "day")]
    by: By,
    /// From this UTC day on (2026-01-31, or a time)
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// Up to this time; a day counts whole
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// Single requests instead of sums, latest first
    #[arg(long, conflicts_with = "by")]
    requests: bool,
    /// Only requests of this session
    #[arg(long, value_name = "ID", requires = "requests")]
    session: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Day,
    Model,
    Session,
    Agent,
}

#[derive(Debug, Deserialize)]
struct Sum {
    group: Option<String>,
    requests: u64,
    errors: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cost_microusd: u64,
}

#[derive(Debug, Deserialize)]
struct Request {
    created_at: String,
    model: String,
    status: u16,
    error: Option<String>,
    usage: Tokens,
    cost_microusd: u64,
    ttft_ms: Option<u64>,
    duration_ms: u64,
    session_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
}

/// Prints a table.
pub async fn run(context: &Context, args: UsageArgs) -> Result<Exit, Error> {
    let mut query = Vec::new();
    query.extend(args.from.map(|from| ("from", from)));
    query.extend(args.to.map(|to| ("to", to)));
    query.extend(args.session.map(|session| ("session_id", session)));
    let path = if args.requests {
        "/v1/usage/requests"
    } else {
        "/v1/usage"
    };
    let (by, title) = match args.by {
        By::Day => ("day", "DAY"),
        By::Model => ("model", "MODEL"),
        By::Session => ("session", "SESSION"),
        By::Agent => ("agent", "AGENT"),
    };
    if !args.requests {
        query.push(("group_by", by.to_owned()));
    }
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let items = context.client()?.list(path, &query, limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
    } else if args.requests {
        requests(typed(&items)?)?;
    } else {
        sums(title, typed(&items)?)?;
    }
    Ok(Exit::Done)
}

fn sums(title: &str, sums: Vec<Sum>) -> Result<(), Error> {
    let row = |sum: Sum| {
        vec![
            sum.group.unwrap_or_else(|| "-".to_owned()),
            sum.requests.to_string(),
            sum.errors.to_string(),
            sum.input_tokens.to_string(),
            sum.output_tokens.to_string(),
            sum.cache_creation_input_tokens.to_string(),
            sum.cache_read_input_tokens.to_string(),
            dollars(sum.cost_microusd),
        ]
    };
    let rows: Vec<Vec<String>> = sums.into_iter().map(row).collect();
    let headers = [
        title,
        "REQUESTS",
        "ERRORS",
        "INPUT",
        "OUTPUT",
        "CACHE-WRITE",
        "CACHE-READ",
        "COST",
    ];
    output::table(&headers, &rows)
}

fn requests(requests: Vec<Request>) -> Result<(), Error> {
    let row = |request: Request| {
        vec![
            request.created_at,
            request.model,
            request.error.unwrap_or_else(|| request.status.to_string()),
            request.usage.input_tokens.to_string(),
            request.usage.output_tokens.to_string(),
            dollars(request.cost_microusd),
            request.ttft_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
            format!("{} ms", request.duration_ms),
            request.session_id.unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = requests.into_iter().map(row).collect();
    let headers = [
        "TIME", "MODEL", "STATUS", "INPUT", "OUTPUT", "COST", "FIRST", "WHOLE", "SESSION",
    ];
    output::table(&headers, &rows)
}

/// Millionths of a dollar in the words of a bill.
pub fn dollars(microusd: u64) -> String {
    format!("${}.{:06}", microusd / 1_000_000, microusd % 1_000_000)
}
