//! `perennial env create NAME`

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::{Context, executor};

/// Create an environment
#[derive(Debug, Args)]
pub struct CreateArgs {
    name: String,
    /// Where its tools run
    #[arg(long = "type", value_enum, default_value = "local")]
    kind: Kind,
    /// A machine that dialled in, by id or name: its tools run there (local only)
    #[arg(long, value_name = "EXECUTOR")]
    executor: Option<String>,
    /// Absolute path of a folder on that machine, or on the server's; without it a session gets the folder that the machine
    /// offers, or a fresh one on the server's (local only)
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A folder on the server's machine
    Local,
    /// Sandboxes the server provisions
    Cloud,
    /// Your own worker queue
    SelfHosted,
}

/// Creates it.
pub async fn run(context: &Context, args: CreateArgs) -> Result<Exit, Error> {
    let mut config = match args.kind {
        Kind::Local => json!({"type": "local"}),
        Kind::Cloud => json!({"type": "cloud", "networking": {"type": "unrestricted"}}),
        Kind::SelfHosted => json!({"type": "self_hosted"}),
    };
    if let Some(dir) = args.dir {
        if args.kind != Kind::Local {
            return Err(Error::Usage("--dir needs --type local".to_owned()));
        }
        config["dir"] = json!(dir);
    }
    let client = context.client()?;
    if let Some(executor) = args.executor {
        if args.kind != Kind::Local {
            return Err(Error::Usage("--executor needs --type local".to_owned()));
        }
        config["executor_id"] = json!(executor::id_of(&client, &executor).await?);
    }
    let mut body = json!({"name": args.name, "config": config});
    if let Some(description) = args.description {
        body["description"] = json!(description);
    }
    let environment = client.post("/v1/environments", &body).await?;
    super::print(context, &environment)
}
