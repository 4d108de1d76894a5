//! `perennial agent …`

pub mod archive;
pub mod create;
pub mod list;
mod mcp_config;
pub mod show;
pub mod update;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use perennial_schema::agent::Harness;
use serde_json::{Value, json};

use super::Context;
use crate::client::Body;
use crate::client::resources::Agent;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Verbs of an agent.
#[derive(Debug, Subcommand)]
pub enum AgentVerb {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Update(update::UpdateArgs),
    /// Make an agent unusable for new sessions
    Archive(AgentArg),
}

/// Just an agent.
#[derive(Debug, Args)]
pub struct AgentArg {
    agent: String,
}

/// Runs one of them.
pub async fn run(context: &Context, verb: AgentVerb) -> Result<Exit, Error> {
    match verb {
        AgentVerb::Create(args) => create::run(context, args).await,
        AgentVerb::List(args) => list::run(context, args).await,
        AgentVerb::Show(args) => show::run(context, args).await,
        AgentVerb::Update(args) => update::run(context, args).await,
        AgentVerb::Archive(args) => archive::run(context, args).await,
    }
}

/// What `create` and `update` can say of an agent.
#[derive(Debug, Args)]
pub struct Definition {
    /// The definition as JSON, as the API takes it; `-` reads standard input; other flags win over it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Model
    #[arg(long)]
    model: Option<String>,
    /// System prompt
    #[arg(long)]
    system: Option<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// Which brain runs the turns: native, claude-code, codex or acp:NAME
    #[arg(long)]
    harness: Option<Harness>,
    /// Take mail at agent/NAME, in sessions of this environment
    #[arg(long, value_name = "ENVIRONMENT")]
    mail: Option<String>,
    /// Which session a message goes to: per_thread, single or per_message
    #[arg(long, value_name = "POLICY", requires = "mail", value_parser = ["per_thread", "single", "per_message"])]
    mail_sessions: Option<String>,
}

impl Definition {
    /// The request body.
    fn body(&self, name: Option<&str>) -> Result<Value, Error> {
        let mut body = self.file.as_deref().map_or_else(|| Ok(json!({})), read)?;
        if !body.is_object() {
            return Err(Error::Usage("--file: the definition is not a JSON object".to_owned()));
        }
        let harness = self.harness.as_ref().map(Harness::to_string);
        let flags = [
            ("name", name),
            ("model", self.model.as_deref()),
            ("system", self.system.as_deref()),
            ("description", self.description.as_deref()),
            ("harness", harness.as_deref()),
        ];
        for (member, value) in flags {
            if let Some(value) = value {
                body[member] = json!(value);
            }
        }
        if let Some(environment) = &self.mail {
            body["mail"] = json!({"environment_id": environment});
            if let Some(policy) = &self.mail_sessions {
                body["mail"]["sessions"] = json!(policy);
            }
        }
        Ok(body)
    }
}

/// A file of JSON; `-` is the standard input.
fn read(path: &Path) -> Result<Value, Error> {
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(Error::io(format!("cannot read {}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| Error::Usage(format!("{}: not JSON: {error}", path.display())))
}

/// An agent as facts, or as the server's JSON.
fn print(context: &Context, body: &Body) -> Result<Exit, Error> {
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let agent: Agent = body.parse()?;
    let tools: Vec<&str> = agent
        .tools
        .iter()
        .filter_map(|tool| tool["name"].as_str().or_else(|| tool["type"].as_str()))
        .collect();
    let mut rows = vec![
        ("id", agent.snapshot.id),
        ("version", agent.snapshot.version.to_string()),
        ("name", agent.snapshot.name),
        ("model", agent.snapshot.model.id),
        ("harness", agent.snapshot.harness.unwrap_or_else(|| "native".to_owned())),
        ("tools", tools.join(", ")),
        ("system", agent.system.unwrap_or_default()),
        ("description", agent.description.unwrap_or_default()),
        ("updated", agent.updated_at),
    ];
    rows.extend(agent.archived_at.map(|at| ("archived", at)));
    output::facts(&rows)?;
    Ok(Exit::Done)
}
