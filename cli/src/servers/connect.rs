//! `perennial connect` = this machine as a hand of somebody's workspace: it dials the server, and sessions there run their tools
//! in the folder it offers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use perennial_executor::tunnel::{Ended, Home, Told, keep};
use perennial_executor::{Config, Executor, probe};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::client;
use crate::config::environment;
use crate::error::Error;
use crate::exit::Exit;
use crate::house::{Connection, Registry, Signals};
use crate::output::note;
use crate::paths;

/// Connect this machine to a server: sessions there can run their tools in a folder here.
///
/// The first time with a code (`perennial executor code`, where the server is); after that `connect` alone, in the same folder,
/// is enough. It dials out only, so it works behind NAT, and it dials again when the network or the server was away.
#[derive(Debug, Default, Args)]
pub struct ConnectArgs {
    /// The server's address, http://… or https://…
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A code to register with
    #[arg(long, value_name = "CODE", requires = "server")]
    code: Option<String>,
    /// What this machine is called there [default: its hostname]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The folder to offer; nothing outside of it may be named as a workspace [default: where you are]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Registered {
    id: String,
    workspace_id: String,
    name: String,
    token: String,
}

/// Serves until it is told to stop (SIGINT, SIGTERM) or is not wanted any more. Calls that still run are stopped then, and the
/// journal says so.
pub async fn run(args: ConnectArgs) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let dir = folder(args.dir.as_deref())?;
    let state = paths::default_state_dir(&environment())
        .ok_or_else(|| Error::Usage("no place for this machine's registry: set HOME or XDG_STATE_HOME".into()))?;
    let registry = Registry::open(&state)?;
    let connection = match &args.code {
        Some(code) => register(&args, code, &dir, &registry).await?,
        None => known(&args, &dir, &registry)?,
    };
    let executor = open(&connection, &registry, args.name).await?;
    let home = Home::new(&connection.server, &connection.token)?;
    note(&format!(
        "perennial {} offers {} to {} as {} ({})",
        env!("CARGO_PKG_VERSION"),
        dir.display(),
        connection.server,
        connection.name,
        connection.executor_id
    ));
    if let Some(reason) = executor.uncontained_reason() {
        note(&format!(
            "warning: tools are not contained here ({reason}): they can do what you can"
        ));
    }
    let stop = CancellationToken::new();
    let told = |told: Told| match told {
        Told::Connected => note("connected"),
        Told::Lost(why) => note(&format!("the line is down ({why}); dialling again")),
        Told::Unreached(why) => note(&format!("the server is not reached ({why}); trying again")),
    };
    let keeping = keep(&executor, &home, &stop, told);
    tokio::pin!(keeping);
    let ended = tokio::select! {
        ended = &mut keeping => ended,
        () = signals.stop() => {
            // Known ends are better than doubts: what runs is stopped, and the server hears of it while the line is up.
            let closing = async {
                executor.close().await;
                stop.cancel();
            };
            let ((), ended) = tokio::join!(closing, keeping);
            ended
        }
    };
    executor.close().await;
    match ended {
        Ended::Stopped => Ok(Exit::Done),
        Ended::Unknown => Err(Error::Failed(format!(
            "{} does not know this executor (any more): register again with --server and --code",
            connection.server
        ))
        .into()),
        Ended::Replaced => Err(Error::Failed(format!(
            "another process connected as {}: only one can be it",
            connection.executor_id
        ))
        .into()),
    }
}

fn folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let given = given.unwrap_or_else(|| Path::new("."));
    let dir = given
        .canonicalize()
        .with_context(|| format!("cannot open the folder {}", given.display()))?;
    if !dir.is_dir() {
        return Err(Error::Usage(format!("{} is not a folder", dir.display())).into());
    }
    Ok(dir)
}

/// Registers this machine; its part of the token never was anywhere else, so that a lost answer is asked for again.
async fn register(args: &ConnectArgs, code: &str, dir: &Path, registry: &Registry) -> anyhow::Result<Connection> {
    let server = args.server.clone().unwrap_or_default();
    let server = server.trim_end_matches('/').to_owned();
    // Wrong addresses are found before the code is used up.
    Home::new(&server, "")?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => probe::hostname().unwrap_or_else(|| "unnamed".into()),
    };
    let secret = format!("{}{}", random(), random());
    let body = json!({"code": code, "name": name, "secret": secret});
    let registered: Registered = client::register(&server, &body).await?.parse()?;
    let connection = Connection {
        dir: dir.to_owned(),
        workspace_id: registered.workspace_id,
        server,
        executor_id: registered.id,
        name: registered.name,
        token: registered.token,
    };
    registry.remember(&connection)?;
    Ok(connection)
}

/// 122 random bits as 32 digits; two of them are what a secret needs.
fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn known(args: &ConnectArgs, dir: &Path, registry: &Registry) -> anyhow::Result<Connection> {
    let mut known = registry.of_dir(dir)?;
    if let Some(server) = &args.server {
        known.retain(|connection| connection.server == server.trim_end_matches('/'));
    }
    match known.len() {
        0 => Err(Error::Usage(format!(
            "{} is not registered yet: run `perennial executor code` where the server is, and here `perennial connect --server \
             URL --code CODE`",
            dir.display()
        ))
        .into()),
        1 => Ok(known.remove(0)),
        _ => Err(Error::Usage(format!(
            "{} is registered with several servers: name one with --server",
            dir.display()
        ))
        .into()),
    }
}

async fn open(connection: &Connection, registry: &Registry, name: Option<String>) -> anyhow::Result<Arc<Executor>> {
    let id = connection.executor_id.parse();
    let home = registry.home_of(&connection.executor_id);
    if home.starts_with(&connection.dir) {
        return Err(Error::Usage(format!(
            "the folder {} holds this machine's registry and journals ({}): offer a smaller one",
            connection.dir.display(),
            home.display()
        ))
        .into());
    }
    let config = Config {
        name: name.unwrap_or_else(|| connection.name.clone()),
        root: Some(connection.dir.clone()),
        executor_id: Some(id.context("the registry holds an executor id that is none")?),
        ..Config::new(home)
    };
    let found = probe::probe(&config.path, &connection.dir).await;
    let executor = Executor::open(config)
        .await
        .context("this machine's hands cannot be opened")?;
    executor.describe(found);
    Ok(Arc::new(executor))
}
