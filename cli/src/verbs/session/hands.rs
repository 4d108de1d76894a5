//! `perennial session attach|detach SESSION EXECUTOR`: the machines a session has beside its environment.

use clap::Args;
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::{Context, executor};

/// Attach a machine that dialled in to an idle session: the model may run its tools there, too
///
/// Attaching it again changes its name and folder.
#[derive(Debug, Args)]
pub struct AttachArgs {
    session: String,
    /// Its id, or its name if no other has it
    executor: String,
    /// A folder there; without it the one that the machine offers
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
    /// What the model calls it [default: its name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Detach a machine from an idle session
#[derive(Debug, Args)]
pub struct DetachArgs {
    session: String,
    /// Its id, or its name if no other has it
    executor: String,
}

/// Attaches.
pub async fn attach(context: &Context, args: AttachArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let mut body = json!({"executor_id": executor::id_of(&client, &args.executor).await?});
    for (key, value) in [("dir", args.dir), ("name", args.name)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    let path = format!("/v1/sessions/{}/executors", args.session);
    super::print(context, &client.post(&path, &body).await?)
}

/// Detaches.
pub async fn detach(context: &Context, args: DetachArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = executor::id_of(&client, &args.executor).await?;
    let path = format!("/v1/sessions/{}/executors/{id}", args.session);
    super::print(context, &client.delete(&path).await?)
}
