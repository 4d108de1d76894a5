//! The verbs that stay: each joins some parts of the house and runs them until it is told to stop.

pub mod acp;
mod banner;
pub mod connect;
pub mod executor;
mod owner;
pub mod rehearsal;
pub mod serve;
mod service;
pub mod up;
pub mod worker;

use crate::args::Verb;
use crate::config::Settings;
use crate::exit::Exit;

/// Whether a verb stays; the others talk to one that does.
pub const fn stays(verb: &Verb) -> bool {
    match verb {
        Verb::Up(_) | Verb::Serve(_) | Verb::Worker(_) | Verb::Connect(_) | Verb::Acp(_) | Verb::Rehearsal(_) => true,
        Verb::Executor(args) => args.verb.is_none(),
        _ => false,
    }
}

/// Runs a verb that stays; gives the others back. `json` is how data is wanted on stdout.
pub async fn run(verb: Verb, settings: &Settings, json: bool) -> Result<anyhow::Result<Exit>, Verb> {
    Ok(match verb {
        Verb::Up(args) => up::run(args, settings).await,
        Verb::Serve(args) => serve::run(args, settings).await,
        Verb::Worker(args) => worker::run(args, settings).await,
        Verb::Executor(args) if args.verb.is_none() => executor::run(args, settings).await,
        Verb::Connect(args) => connect::run(args).await,
        Verb::Acp(args) => acp::run(args, settings).await,
        Verb::Rehearsal(args) => rehearsal::run(args, json).await,
        other => return Err(other),
    })
}
