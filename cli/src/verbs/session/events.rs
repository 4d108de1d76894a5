//! `perennial session events SESSION`

use std::collections::BTreeSet;

use clap::Args;
use serde_json::Value;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::Transcript;
use crate::verbs::Context;

/// Print a session's events, as a transcript or with --json as they are
#[derive(Debug, Args)]
pub struct EventsArgs {
    session: String,
    /// Only these types (may be repeated)
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Newest first (with --json)
    #[arg(long)]
    desc: bool,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Extension events too (with --json)
    #[arg(long)]
    extensions: bool,
}

/// Prints them.
pub async fn run(context: &Context, args: EventsArgs) -> Result<Exit, Error> {
    if (args.desc || args.extensions) && !context.json {
        return Err(Error::Usage("--desc and --extensions need --json".to_owned()));
    }
    let mut query: Vec<(&str, String)> = args.types.into_iter().map(|kind| ("types[]", kind)).collect();
    query.extend(args.desc.then(|| ("order", "desc".to_owned())));
    query.extend(args.extensions.then(|| ("include", "extensions".to_owned())));
    let limit = args
        .limit
        .map_or(100_000, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let path = format!("/v1/sessions/{}/events", args.session);
    let mut transcript = Transcript::new(context.style, BTreeSet::new());
    for item in context.client()?.list(&path, &query, limit).await? {
        if context.json {
            output::line(item.get())?;
            continue;
        }
        let event: Value = serde_json::from_str(item.get()).unwrap_or_default();
        output::raw(&transcript.event(event["type"].as_str().unwrap_or_default(), &event))?;
    }
    Ok(Exit::Done)
}
