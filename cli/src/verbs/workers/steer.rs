//! `perennial workers cordon|uncordon|drain WORKER`

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{PATH, Worker, find};
use crate::client::{Body, Client};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Between two looks at a worker that gives back its sessions.
const LOOK: Duration = Duration::from_millis(500);

/// Have a worker claim no more sessions and give back those it drives; other workers go on with them
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// Its id, or its name if no other has it
    worker: String,
    /// Do not wait until it has none left
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// Wants a state of it.
pub(super) async fn run(context: &Context, given: &str, state: &str) -> Result<Exit, Error> {
    let client = context.client()?;
    let worker = find(&client, given).await?;
    print(context, &steer(&client, &worker.id, state).await?)
}

/// Drains it, and waits until it is.
pub(super) async fn drain(context: &Context, args: DrainArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = find(&client, &args.worker).await?.id;
    let told = steer(&client, &id, "draining").await?;
    if args.no_wait {
        return print(context, &told);
    }
    let mut left = told.parse::<Worker>()?.sessions;
    let looking = async {
        loop {
            let worker = find(&client, &id).await?;
            if worker.state != "draining" {
                return Ok::<_, Error>(worker);
            }
            if worker.sessions != left {
                left = worker.sessions;
                output::note(&format!("{left} sessions left"));
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(args.timeout), looking).await;
    let worker: Worker = waited.map_err(|_| {
        Error::Usage(format!(
            "{id} still had sessions after {} s; it goes on giving them back (`perennial workers`)",
            args.timeout
        ))
    })??;
    if worker.state != "drained" {
        return Err(Error::Usage(format!(
            "somebody else made {id} {} meanwhile",
            worker.state
        )));
    }
    // As of now, in the server's words.
    print(context, &steer(&client, &id, "draining").await?)
}

async fn steer(client: &Client, id: &str, state: &str) -> Result<Body, Error> {
    client.patch(&format!("{PATH}/{id}"), &json!({"state": state})).await
}

fn print(context: &Context, body: &Body) -> Result<Exit, Error> {
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let worker: Worker = body.parse()?;
    output::facts(&[
        ("id", worker.id),
        ("name", worker.name),
        ("state", worker.state),
        ("sessions", format!("{} of {}", worker.sessions, worker.slots)),
    ])?;
    Ok(Exit::Done)
}
