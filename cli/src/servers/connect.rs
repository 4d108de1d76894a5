//! `perennial connect` = this machine as a hand of somebody's workspace: it dials the server, and sessions there run their tools
//! in the folder it offers, on the terms of its owner.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use perennial_executor::tunnel::{Ended, Home, Told, keep};
use perennial_executor::{Ask, Config, Executor, Policy, probe};
use perennial_schema::tool::Builtin;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::owner::Owner;
use super::service;
use crate::client;
use crate::config::environment;
use crate::error::Error;
use crate::exit::Exit;
use crate::house::{Connection, Registry, Signals, Terms};
use crate::output::note;
use crate::paths;

/// Connect this machine to a server: sessions there can run their tools in a folder here.
///
/// The first time with a code (`perennial executor code`, where the server is); after that `connect` alone, in the same folder,
/// is enough. It dials out only, so it works behind NAT, and it dials again when the network or the server was away.
///
/// What is offered is decided here, whatever the server asks: the folder, and with --tools, --read-only and --ask what is done in
/// it. These are remembered for the folder until others are named.
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
    /// A folder to offer; nothing outside of it may be named as a workspace [default: where you are]. With several, the first is
    /// for what names none
    #[arg(long = "dir", value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Offer only these of bash, read, write, edit, glob, grep
    #[arg(long, value_name = "TOOL,…", value_delimiter = ',')]
    tools: Option<Vec<String>>,
    /// Offer only tools that change nothing
    #[arg(long)]
    read_only: bool,
    /// Ask here, on the terminal, before each call
    #[arg(long)]
    ask: bool,
    /// Lift what earlier --tools, --read-only and --ask in this folder asked for
    #[arg(long, conflicts_with_all = ["tools", "read_only", "ask"])]
    unrestricted: bool,
    /// Instead of connecting, have a service of yours do so from now on (systemd, launchd)
    #[arg(long)]
    install: bool,
    /// Stop and remove the service of this folder
    #[arg(long, conflicts_with_all = ["install", "code"])]
    uninstall: bool,
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
    let mut dirs = folders(&args.dirs)?;
    let dir = dirs.remove(0);
    if args.uninstall {
        service::uninstall(&dir, args.server.as_deref(), &environment())?;
        return Ok(Exit::Done);
    }
    let state = paths::default_state_dir(&environment())
        .ok_or_else(|| Error::Usage("no place for this machine's registry: set HOME or XDG_STATE_HOME".into()))?;
    let registry = Registry::open(&state)?;
    let terms = named(&args)?;
    let mut connection = match &args.code {
        Some(code) => register(&args, code, &dir, &registry).await?,
        None => known(&args, &dir, &registry)?,
    };
    let before = connection.clone();
    connection.terms = terms.unwrap_or(connection.terms);
    if !args.dirs.is_empty() {
        connection.more = dirs;
    }
    if connection != before {
        registry.remember(&connection)?;
    }
    if args.install {
        service::install(&connection, &environment())?;
        return Ok(Exit::Done);
    }
    let executor = open(&connection, &registry, args.name).await?;
    let home = Home::new(&connection.server, &connection.token)?;
    note(&format!(
        "perennial {} offers {} to {} as {} ({})",
        env!("CARGO_PKG_VERSION"),
        roots(&connection),
        connection.server,
        connection.name,
        connection.executor_id
    ));
    if let Some(reason) = executor.uncontained_reason() {
        note(&format!(
            "warning: tools are not contained here ({reason}): they can do what you can"
        ));
    }
    let (stop, connected) = (CancellationToken::new(), Notify::new());
    let told = |told: Told| match told {
        Told::Connected => {
            note("connected");
            connected.notify_one();
        }
        Told::Lost(why) => note(&format!("the line is down ({why}); dialling again")),
        Told::Unreached(why) => note(&format!("the server is not reached ({why}); trying again")),
    };
    let keeping = keep(&executor, &home, &stop, told);
    tokio::pin!(keeping);
    let refreshing = refresh(&executor, &connected, &connection.dir);
    let ended = tokio::select! {
        ended = &mut keeping => ended,
        () = refreshing => Ended::Stopped,
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
        Ended::Removed => {
            // Its token opens nothing any more, anywhere.
            registry.forget(&connection.executor_id)?;
            Err(Error::Failed(format!(
                "{} was removed from {} and is forgotten here: register again with --server and --code",
                connection.executor_id, connection.server
            ))
            .into())
        }
        Ended::Replaced => Err(Error::Failed(format!(
            "another process connected as {}: only one can be it",
            connection.executor_id
        ))
        .into()),
    }
}

/// Every connection begins with what the machine is like now: the first one with what was probed before it, later ones say so as
/// soon as it is known; and whoever asks is told. Never ends.
async fn refresh(executor: &Executor, connected: &Notify, dir: &Path) {
    let path = Config::new(dir).path;
    let mut first = true;
    loop {
        tokio::select! {
            // What was probed before the first one is as new.
            () = connected.notified() => if std::mem::take(&mut first) { continue },
            () = executor.asked() => {}
        }
        executor.describe(probe::probe(&path, dir).await);
    }
}

/// The terms that are named now; none leaves those of earlier. Wrong ones are found before a code is used up.
fn named(args: &ConnectArgs) -> anyhow::Result<Option<Terms>> {
    if args.tools.is_none() && !args.read_only && !args.ask && !args.unrestricted {
        return Ok(None);
    }
    let terms = Terms {
        tools: args.tools.clone(),
        read_only: args.read_only,
        ask: args.ask,
    };
    offered(&terms)?;
    confirmable(&terms)?;
    Ok(Some(terms))
}

/// A question needs somebody who answers: without a terminal nothing is offered rather than everything.
fn confirmable(terms: &Terms) -> anyhow::Result<()> {
    if terms.ask && !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "calls in this folder are confirmed on the terminal (--ask), and this is none: nothing is offered".into(),
        )
        .into());
    }
    Ok(())
}

fn offered(terms: &Terms) -> anyhow::Result<Option<Vec<Builtin>>> {
    let Some(names) = &terms.tools else { return Ok(None) };
    let tools = names.iter().map(|name| {
        let tool = Builtin::by_name(name.trim());
        tool.ok_or_else(|| Error::Usage(format!("there is no tool {name:?} to offer")))
    });
    Ok(Some(tools.collect::<Result<_, _>>()?))
}

fn policy(terms: &Terms) -> anyhow::Result<Policy> {
    confirmable(terms)?;
    Ok(Policy {
        tools: offered(terms)?,
        read_only: terms.read_only,
        ask: terms.ask.then(|| Arc::new(Owner::at_terminal()) as Arc<dyn Ask>),
    })
}

/// The folders that are named, each once; the one where we are if none is.
fn folders(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut dirs = Vec::with_capacity(given.len() + 1);
    for given in given {
        let dir = folder(given)?;
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    if dirs.is_empty() {
        dirs.push(folder(Path::new("."))?);
    }
    Ok(dirs)
}

fn roots(connection: &Connection) -> String {
    let roots: Vec<String> = connection.roots().map(|dir| dir.display().to_string()).collect();
    roots.join(", ")
}

fn folder(given: &Path) -> anyhow::Result<PathBuf> {
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
        more: Vec::new(),
        workspace_id: registered.workspace_id,
        server,
        executor_id: registered.id,
        name: registered.name,
        token: registered.token,
        terms: Terms::default(),
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
    if let Some(dir) = connection.roots().find(|dir| home.starts_with(dir)) {
        return Err(Error::Usage(format!(
            "the folder {} holds this machine's registry and journals ({}): offer a smaller one",
            dir.display(),
            home.display()
        ))
        .into());
    }
    let config = Config {
        name: name.unwrap_or_else(|| connection.name.clone()),
        roots: connection.roots().cloned().collect(),
        policy: policy(&connection.terms)?,
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
