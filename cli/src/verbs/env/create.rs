//! `perennial env create NAME`

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

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
    /// A machine that dialled in, by id or name: its tools run there (local), or there beside the sandbox (cloud, several)
    #[arg(long = "executor", value_name = "EXECUTOR")]
    executors: Vec<String>,
    /// Absolute path of a folder on that machine, or on the server's; without it a session gets the folder that the machine
    /// offers, or a fresh one on the server's (local only)
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
    /// The container image of its sandboxes (cloud only, like the next three)
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Processors of a sandbox, like 1.5
    #[arg(long, value_name = "N")]
    cpu: Option<f64>,
    /// Memory of a sandbox, like 512m or 2g
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Seconds without a call after which a sandbox is paused
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u32>,
    /// A host that its sandboxes may reach, like pypi.org or *.example.com; may be repeated [default: none] (cloud only)
    #[arg(long = "allow-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Its sandboxes may reach every public host (cloud only)
    #[arg(long, conflicts_with = "hosts")]
    unrestricted: bool,
    /// A variable of every command, NAME=VALUE; may be repeated
    #[arg(short = 'e', long = "variable", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// A bash script that runs once in a session's folder before its first call
    #[arg(long, value_name = "FILE")]
    setup: Option<std::path::PathBuf>,
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
        Kind::Cloud if args.unrestricted => json!({"type": "cloud", "networking": {"type": "unrestricted"}}),
        Kind::Cloud => json!({"type": "cloud", "networking": {"type": "limited", "allowed_hosts": args.hosts}}),
        Kind::SelfHosted => json!({"type": "self_hosted"}),
    };
    if args.kind != Kind::Cloud && (args.unrestricted || !args.hosts.is_empty()) {
        return Err(Error::Usage(
            "--allow-host and --unrestricted need --type cloud".to_owned(),
        ));
    }
    if let Some(dir) = args.dir {
        if args.kind != Kind::Local {
            return Err(Error::Usage("--dir needs --type local".to_owned()));
        }
        config["dir"] = json!(dir);
    }
    for (key, value) in [
        ("image", args.image.map(Value::from)),
        ("cpu", args.cpu.map(Value::from)),
        ("memory", args.memory.map(Value::from)),
        ("idle_timeout", args.idle_timeout.map(Value::from)),
    ] {
        let Some(value) = value else { continue };
        if args.kind != Kind::Cloud {
            return Err(Error::Usage(format!("--{} needs --type cloud", key.replace('_', "-"))));
        }
        config[key] = value;
    }
    for variable in &args.variables {
        let named = variable.split_once('=');
        let (name, value) = named.ok_or_else(|| Error::Usage(format!("--variable {variable}: expected NAME=VALUE")))?;
        config["variables"][name] = json!(value);
    }
    if let Some(path) = &args.setup {
        let script = std::fs::read_to_string(path);
        let script = script.map_err(|error| Error::Usage(format!("--setup {}: {error}", path.display())))?;
        config["setup"] = json!(script);
    }
    let client = context.client()?;
    let mut ids = Vec::with_capacity(args.executors.len());
    for named in &args.executors {
        ids.push(executor::id_of(&client, named).await?);
    }
    match (args.kind, ids.as_slice()) {
        (_, []) => {}
        (Kind::Local, [only]) => config["executor_id"] = json!(only),
        (Kind::Cloud, all) => {
            let all: Vec<Value> = all.iter().map(|id| json!({"executor_id": id})).collect();
            config["executors"] = json!(all);
        }
        (Kind::Local, _) => {
            return Err(Error::Usage(
                "a local environment is on one machine: name one".to_owned(),
            ));
        }
        (Kind::SelfHosted, _) => return Err(Error::Usage("--executor needs --type local or cloud".to_owned())),
    }
    let mut body = json!({"name": args.name, "config": config});
    if let Some(description) = args.description {
        body["description"] = json!(description);
    }
    let environment = client.post("/v1/environments", &body).await?;
    super::print(context, &environment)
}
