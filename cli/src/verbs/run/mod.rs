//! `perennial run PROMPT`: a session from nothing to its answer.

pub mod defaults;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use perennial_schema::agent::Harness;
use serde_json::{Value, json};

use super::{Context, executor};
use crate::client::Client;
use crate::client::resources::Session;
use crate::error::Error;
use crate::exit::Exit;
use crate::follow::{CtrlC, OnCtrlC, Options, follow};
use crate::output;

use defaults::Where;
pub use defaults::model_of_server;

/// Start a session with a prompt and show it until it rests
///
/// On a terminal it asks before a tool that wants confirmation runs; elsewhere it prints the commands that answer and ends
/// with exit code 4. Ctrl-C interrupts the turn, a second Ctrl-C leaves at once. The last line is the session's id.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What the agent is to do; `-` reads it from standard input
    prompt: String,
    /// Work in this folder of the server's machine instead of a fresh one; with --executor, of the first one's machine
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Work on this machine that dialled in, by id or name; several, or one beside --env, and the model chooses
    #[arg(long = "executor", value_name = "EXECUTOR")]
    executors: Vec<String>,
    /// Model [default: the server's]
    #[arg(long)]
    model: Option<String>,
    /// Which brain runs the turns: native, claude-code, codex or acp:NAME [default: native]
    #[arg(long)]
    harness: Option<Harness>,
    /// Go on with this session instead of a new one; --model and --harness change what runs its turns from here on
    #[arg(long, value_name = "ID", conflicts_with_all = ["dir", "executors", "agent", "env", "title"])]
    session: Option<String>,
    /// An agent of the server instead of the default one
    #[arg(long, value_name = "ID", conflicts_with = "harness")]
    agent: Option<String>,
    /// An environment of the server instead of the default one
    #[arg(long, value_name = "ID")]
    env: Option<String>,
    /// Title of the session
    #[arg(long)]
    title: Option<String>,
    /// Print the session's id and leave it running
    #[arg(long)]
    detach: bool,
    /// Allow every tool that asks
    #[arg(long)]
    auto_approve: bool,
}

/// Creates the session, sends the prompt, follows.
pub async fn run(context: &Context, args: RunArgs) -> Result<Exit, Error> {
    let prompt = prompt(&args.prompt)?;
    let client = context.client()?;
    let mut ctrl_c = CtrlC::listen()?;
    let started = async {
        match &args.session {
            Some(id) => go_on(&client, id, &args, &prompt).await,
            None => start(&client, &args, &prompt).await,
        }
    };
    let (session, own) = tokio::select! {
        started = started => started?,
        () = ctrl_c.pressed() => return Ok(Exit::Interrupted),
    };
    if args.detach {
        return detached(context, &session);
    }
    output::note(&format!(
        "session {} · {} · {}",
        session.id, session.agent.name, session.agent.model.id
    ));
    let options = Options {
        after: session.head(),
        own: BTreeSet::from([own]),
        on_ctrl_c: OnCtrlC::Interrupt,
        json: context.json,
        style: context.style,
        auto_approve: args.auto_approve,
        stay: false,
        extensions: false,
    };
    let exit = follow(&client.patient(), &session.id, ctrl_c, options).await?;
    if !context.json {
        output::line(&session.id)?;
    }
    Ok(exit)
}

/// A new session, and the id of its first message.
async fn start(client: &Client, args: &RunArgs, prompt: &str) -> Result<(Session, String), Error> {
    let agent = match &args.agent {
        Some(id) => with_model(id, args.model.as_deref()),
        None => defaults::agent(client, args.model.as_deref(), args.harness.as_ref()).await?,
    };
    let (environment, attached) = place(client, args).await?;
    let mut body = json!({"agent": agent, "environment_id": environment});
    if !attached.is_empty() {
        body["executors"] = json!(attached);
    }
    if let Some(title) = &args.title {
        body["title"] = json!(title);
    }
    let session: Session = client.post("/v1/sessions", &body).await?.parse()?;
    let own = say(client, &session, prompt).await?;
    Ok((session, own))
}

/// Where the tools run: an environment, and what is attached beside it.
async fn place(client: &Client, args: &RunArgs) -> Result<(String, Vec<Value>), Error> {
    let mut executors = Vec::with_capacity(args.executors.len());
    for named in &args.executors {
        executors.push(executor::id_of(client, named).await?);
    }
    let dir = args.dir.as_deref();
    let attached = |id: String| json!({"executor_id": id});
    match &args.env {
        Some(_) if dir.is_some() && executors.is_empty() => {
            Err(Error::Usage("--dir beside --env needs --executor".to_owned()))
        }
        Some(environment) => {
            let mut attached: Vec<Value> = executors.into_iter().map(attached).collect();
            if let (Some(first), Some(dir)) = (attached.first_mut(), dir) {
                first["dir"] = json!(defaults::absolute_there(dir)?);
            }
            Ok((environment.clone(), attached))
        }
        None if executors.is_empty() => {
            let environment = defaults::environment(client, &Where::here(dir)?).await?;
            Ok((environment, Vec::new()))
        }
        None => {
            let first = executors.remove(0);
            let environment = defaults::environment(client, &Where::on(first, dir)?).await?;
            Ok((environment, executors.into_iter().map(attached).collect()))
        }
    }
}

/// A session that is there already, perhaps with another model or harness from here on, and the id of the message.
async fn go_on(client: &Client, id: &str, args: &RunArgs, prompt: &str) -> Result<(Session, String), Error> {
    let mut agent = serde_json::Map::new();
    agent.extend(args.model.as_ref().map(|model| ("model".to_owned(), json!(model))));
    agent.extend(
        args.harness
            .as_ref()
            .map(|harness| ("harness".to_owned(), json!(harness))),
    );
    if !agent.is_empty() {
        client
            .post(&format!("/v1/sessions/{id}"), &json!({"agent": agent}))
            .await?;
    }
    let session = client.session(id).await?;
    let own = say(client, &session, prompt).await?;
    Ok((session, own))
}

/// Sends the prompt and gives its id. The session is there, so a server that restarts now is waited for.
async fn say(client: &Client, session: &Session, prompt: &str) -> Result<String, Error> {
    super::send::message(&client.clone().patient(), &session.id, prompt).await
}

fn prompt(argument: &str) -> Result<String, Error> {
    let text = if argument == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(Error::io("cannot read the prompt from standard input"))?;
        text
    } else {
        argument.to_owned()
    };
    if text.trim().is_empty() {
        return Err(Error::Usage("the prompt is empty".to_owned()));
    }
    Ok(text)
}

fn with_model(agent: &str, model: Option<&str>) -> Value {
    match model {
        Some(model) => json!({"type": "agent_with_overrides", "id": agent, "model": model}),
        None => json!(agent),
    }
}

fn detached(context: &Context, session: &Session) -> Result<Exit, Error> {
    if context.json {
        output::line(&json!({"session_id": session.id}).to_string())?;
    } else {
        output::line(&session.id)?;
        output::note(&format!("follow it with: perennial attach {}", session.id));
    }
    Ok(Exit::Done)
}
