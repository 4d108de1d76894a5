//! `perennial env create NAME`

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Create an environment
#[derive(Debug, Args)]
pub struct CreateArgs {
    name: String,
    /// Where its tools run
    #[arg(long = "type", value_enum, default_value = "local")]
    kind: Kind,
    /// Absolute path of a folder on the server's machine; without it each session gets a fresh folder (local only)
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
    let mut body = json!({"name": args.name, "config": config});
    if let Some(description) = args.description {
        body["description"] = json!(description);
    }
    let environment = context.client()?.post("/v1/environments", &body).await?;
    super::print(context, &environment)
}
