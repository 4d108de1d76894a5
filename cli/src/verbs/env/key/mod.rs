//! `perennial env key …`: keys of the workers of a self-hosted environment.

pub mod create;
pub mod list;
pub mod revoke;

use clap::Subcommand;
use serde::Deserialize;

use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Verbs of such a key.
#[derive(Debug, Subcommand)]
pub enum EnvKeyVerb {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Revoke(revoke::RevokeArgs),
}

#[derive(Debug, Deserialize)]
struct Key {
    id: String,
    name: String,
    created_at: String,
    secret: Option<String>,
}

/// Where an environment's keys are.
fn path(environment: &str) -> String {
    format!("/v1/environments/{environment}/keys")
}

/// Runs one of them.
pub async fn run(context: &Context, verb: EnvKeyVerb) -> Result<Exit, Error> {
    match verb {
        EnvKeyVerb::Create(args) => create::run(context, args).await,
        EnvKeyVerb::List(args) => list::run(context, args).await,
        EnvKeyVerb::Revoke(args) => revoke::run(context, args).await,
    }
}
