//! `perennial workers …`: the pool that drives sessions.

mod list;
mod steer;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::Context;
use crate::client::Client;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;

/// See who drives sessions, and whether they go on
#[derive(Debug, Args)]
pub struct WorkersArgs {
    #[command(subcommand)]
    verb: Option<WorkersVerb>,
}

/// Verbs of the pool.
#[derive(Debug, Subcommand)]
enum WorkersVerb {
    /// List workers: slots, sessions they hold, harnesses they have
    List,
    /// Have a worker claim no more sessions; it finishes what it drives
    Cordon(WorkerArg),
    /// Have it claim sessions again
    Uncordon(WorkerArg),
    Drain(steer::DrainArgs),
}

/// Just a worker.
#[derive(Debug, Args)]
struct WorkerArg {
    /// Its id, or its name if no other has it
    worker: String,
}

#[derive(Debug, Deserialize)]
struct Worker {
    id: String,
    name: String,
    state: String,
    slots: u32,
    sessions: u64,
    harnesses: Vec<String>,
    version: String,
    joined_at: String,
}

const PATH: &str = "/v1/workers";
/// A pool is on one page.
const MOST: usize = 10_000;

/// Runs one of them.
pub async fn run(context: &Context, args: WorkersArgs) -> Result<Exit, Error> {
    match args.verb {
        None | Some(WorkersVerb::List) => list::run(context).await,
        Some(WorkersVerb::Cordon(arg)) => steer::run(context, &arg.worker, "cordoned").await,
        Some(WorkersVerb::Uncordon(arg)) => steer::run(context, &arg.worker, "active").await,
        Some(WorkersVerb::Drain(args)) => steer::drain(context, args).await,
    }
}

/// The worker that is meant.
async fn find(client: &Client, given: &str) -> Result<Worker, Error> {
    let workers = typed::<Worker>(&client.list(PATH, &[], MOST).await?)?;
    let mut meant: Vec<Worker> = workers
        .into_iter()
        .filter(|worker| worker.id == given || worker.name == given)
        .collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(worker), true) => Ok(worker),
        (None, _) => Err(Error::Usage(format!(
            "there is no worker {given}: `perennial workers` lists them"
        ))),
        (Some(_), false) => Err(Error::Usage(format!(
            "several workers are called {given}: give its id (`perennial workers`)"
        ))),
    }
}
