//! `perennial executor show EXECUTOR`

use clap::Args;

use super::{Card, Executor, Program, id_of};
use crate::client::Body;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Show an executor and what its machine has
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its id, or its name if no other has it
    executor: String,
    /// Have it look at its machine again first
    #[arg(long)]
    refresh: bool,
}

/// Prints it.
pub async fn run(context: &Context, args: ShowArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = id_of(&client, &args.executor).await?;
    let refresh: &[_] = if args.refresh {
        &[("refresh", "true".to_owned())]
    } else {
        &[]
    };
    print(context, &client.get(&format!("/v1/executors/{id}"), refresh).await?)
}

/// An executor as facts, or as the server's JSON.
pub(super) fn print(context: &Context, body: &Body) -> Result<Exit, Error> {
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let executor: Executor = body.parse()?;
    let mut rows = vec![
        ("id", executor.id),
        ("name", executor.name),
        ("status", executor.status),
        ("last seen", executor.last_seen_at.unwrap_or_else(|| "never".to_owned())),
        ("registered", executor.created_at),
    ];
    rows.extend(executor.card.map(facts).unwrap_or_default());
    output::facts(&rows)?;
    Ok(Exit::Done)
}

/// What a machine is like.
pub(super) fn facts(card: Card) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    rows.push(("machine", format!("{} {}", card.os, card.arch)));
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    rows.extend(card.contained.map(|contained| ("contained", word(contained))));
    rows.extend(card.probed_at.map(|at| ("as of", at)));
    rows.extend(card.hostname.map(|name| ("hostname", name)));
    rows.extend(card.cpus.map(|cpus| ("cpus", cpus.to_string())));
    rows.extend(card.memory_bytes.map(|bytes| ("memory", gibibytes(bytes))));
    rows.extend(card.disk_free_bytes.map(|bytes| ("disk free", gibibytes(bytes))));
    rows.extend(card.gpus.into_iter().map(|gpu| ("gpu", gpu)));
    let others = card.roots.into_iter().filter(|root| Some(root) != card.cwd.as_ref());
    let others: Vec<String> = others.collect();
    rows.extend(card.cwd.map(|cwd| ("folder", cwd)));
    rows.extend(others.into_iter().map(|root| ("folder", root)));
    rows.extend(card.git_remote.map(|remote| ("git remote", remote)));
    let program = |program: Program| match program.path {
        Some(path) => format!("{}: {} ({path})", program.name, program.version),
        None => format!("{}: {}", program.name, program.version),
    };
    rows.extend(card.programs.into_iter().map(|tool| ("has", program(tool))));
    rows.extend(card.harnesses.into_iter().map(|harness| ("harness", program(harness))));

    rows
}
