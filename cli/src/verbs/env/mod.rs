//! `perennial env …`

pub mod archive;
pub mod create;
pub mod delete;
pub mod key;
pub mod list;
pub mod show;

use clap::{Args, Subcommand};

use super::Context;
use crate::client::Body;
use crate::client::resources::Environment;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Verbs of an environment.
#[derive(Debug, Subcommand)]
pub enum EnvVerb {
    Create(Box<create::CreateArgs>),
    List(list::ListArgs),
    /// Show one environment
    Show(EnvArg),
    /// Make an environment unusable for new sessions
    Archive(EnvArg),
    /// Delete an environment
    Delete(EnvArg),
    /// Keys for the workers of a self-hosted environment
    #[command(subcommand)]
    Key(key::EnvKeyVerb),
}

/// Just an environment.
#[derive(Debug, Args)]
pub struct EnvArg {
    environment: String,
}

/// Runs one of them.
pub async fn run(context: &Context, verb: EnvVerb) -> Result<Exit, Error> {
    match verb {
        EnvVerb::Create(args) => create::run(context, *args).await,
        EnvVerb::List(args) => list::run(context, args).await,
        EnvVerb::Show(args) => show::run(context, args).await,
        EnvVerb::Archive(args) => archive::run(context, args).await,
        EnvVerb::Delete(args) => delete::run(context, args).await,
        EnvVerb::Key(verb) => key::run(context, verb).await,
    }
}

/// An environment as facts, or as the server's JSON.
fn print(context: &Context, body: &Body) -> Result<Exit, Error> {
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let environment: Environment = body.parse()?;
    let mut rows = vec![
        ("id", environment.id),
        ("name", environment.name),
        ("type", environment.config.kind),
    ];
    rows.extend(environment.config.dir.map(|dir| ("folder", dir)));
    rows.push(("created", environment.created_at));
    rows.extend(environment.archived_at.map(|at| ("archived", at)));
    output::facts(&rows)?;
    Ok(Exit::Done)
}
