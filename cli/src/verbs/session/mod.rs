//! `perennial session …`

pub mod archive;
pub mod delete;
pub mod diff;
pub mod events;
pub mod export;
pub mod fork;
pub mod hands;
pub mod import;
pub mod interrupt;
pub mod list;
pub mod progress;
pub mod pull;
pub mod retry;
pub mod show;
mod switch;
pub mod update;

use clap::{Args, Subcommand};

use super::Context;
use crate::client::Body;
use crate::client::resources::Session;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Verbs of a session.
#[derive(Debug, Subcommand)]
pub enum SessionVerb {
    /// List sessions, newest first
    List(list::ListArgs),
    /// Show one session
    Show(SessionArg),
    Events(events::EventsArgs),
    Update(update::UpdateArgs),
    Attach(hands::AttachArgs),
    Detach(hands::DetachArgs),
    Diff(diff::DiffArgs),
    Pull(pull::PullArgs),
    Fork(fork::ForkArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    /// Stop the turn at the next safe point
    Interrupt(SessionArg),
    /// Make a session read-only
    Archive(SessionArg),
    /// Delete a session
    Delete(SessionArg),
    /// Lift a quarantine: try again
    Retry(SessionArg),
}

/// Just a session.
#[derive(Debug, Args)]
pub struct SessionArg {
    pub session: String,
}

/// Runs one of them.
pub async fn run(context: &Context, verb: SessionVerb) -> Result<Exit, Error> {
    match verb {
        SessionVerb::List(args) => list::run(context, args).await,
        SessionVerb::Show(args) => show::run(context, args).await,
        SessionVerb::Events(args) => events::run(context, args).await,
        SessionVerb::Update(args) => update::run(context, args).await,
        SessionVerb::Attach(args) => hands::attach(context, args).await,
        SessionVerb::Detach(args) => hands::detach(context, args).await,
        SessionVerb::Diff(args) => diff::run(context, args).await,
        SessionVerb::Pull(args) => pull::run(context, args).await,
        SessionVerb::Fork(args) => fork::run(context, args).await,
        SessionVerb::Export(args) => export::run(context, args).await,
        SessionVerb::Import(args) => import::run(context, args).await,
        SessionVerb::Interrupt(args) => interrupt::run(context, args).await,
        SessionVerb::Archive(args) => archive::run(context, args).await,
        SessionVerb::Delete(args) => delete::run(context, args).await,
        SessionVerb::Retry(args) => retry::run(context, args).await,
    }
}

/// A session as facts, or as the server's JSON.
fn print(context: &Context, body: &Body) -> Result<Exit, Error> {
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let session: Session = body.parse()?;
    let agent = &session.agent;
    let tokens = |name: &str| session.usage[name].as_u64().unwrap_or(0);
    let state = session.state().to_owned();
    let head = session.perennial.as_ref().map(|extension| extension.head.to_string());
    let mut rows = vec![
        ("id", session.id),
        ("status", state),
        ("title", session.title.unwrap_or_default()),
        (
            "agent",
            format!("{} ({}, version {})", agent.name, agent.id, agent.version),
        ),
        ("model", agent.model.id.clone()),
        ("harness", agent.harness.clone().unwrap_or_else(|| "native".to_owned())),
        ("environment", session.environment_id),
        (
            "tokens",
            format!("{} in, {} out", tokens("input_tokens"), tokens("output_tokens")),
        ),
        ("created", session.created_at),
        ("updated", session.updated_at),
    ];
    rows.extend(
        agent
            .executors
            .iter()
            .map(|attached| ("attached", attached.to_string())),
    );
    rows.extend(head.map(|head| ("events", head)));
    rows.extend(session.archived_at.map(|at| ("archived", at)));
    output::facts(&rows)?;
    Ok(Exit::Done)
}
