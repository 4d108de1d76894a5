//! `perennial key …`: virtual keys of the model gateway.

pub mod create;
pub mod list;
pub mod revoke;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Verbs of a virtual key.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    Create(create::CreateArgs),
    List(list::ListArgs),
    /// Make a key useless
    Revoke(KeyArg),
}

/// Just a key.
#[derive(Debug, Args)]
pub struct KeyArg {
    key: String,
}

#[derive(Debug, Deserialize)]
struct Key {
    id: String,
    kind: String,
    name: String,
    session_id: Option<String>,
    models: Option<Vec<String>>,
    providers: Option<Vec<String>>,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    secret: Option<String>,
}

/// Runs one of them.
pub async fn run(context: &Context, verb: KeyVerb) -> Result<Exit, Error> {
    match verb {
        KeyVerb::Create(args) => create::run(context, args).await,
        KeyVerb::List(args) => list::run(context, args).await,
        KeyVerb::Revoke(args) => revoke::run(context, args).await,
    }
}
