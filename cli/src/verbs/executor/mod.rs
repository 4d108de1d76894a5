//! `perennial executor …`: machines that dial in. Without a verb it is the hands of a data directory ([`crate::servers`]).

pub mod code;
pub mod diff;
pub mod list;
pub mod probe;
pub mod remove;
pub mod rename;
pub mod repositories;
pub mod search;
pub mod show;
pub mod upload;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::Context;
use crate::client::Client;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;

/// Verbs of an executor.
#[derive(Debug, Subcommand)]
pub enum ExecutorVerb {
    /// Make a code with which one machine can connect: `perennial connect --server URL --code CODE` there
    Code,
    List(list::ListArgs),
    Show(show::ShowArgs),
    Probe(probe::ProbeArgs),
    /// Remove an executor: its token opens nothing from now on
    Remove(ExecutorArg),
    Rename(rename::RenameArgs),
    Search(search::SearchArgs),
    Repositories(repositories::RepositoriesArgs),
    Diff(diff::DiffArgs),
    Upload(upload::UploadArgs),
}

/// Just an executor.
#[derive(Debug, Args)]
pub struct ExecutorArg {
    /// Its id, or its name if no other has it
    executor: String,
}

#[derive(Debug, Deserialize)]
struct Executor {
    id: String,
    name: String,
    status: String,
    card: Option<Card>,
    last_seen_at: Option<String>,
    created_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Card {
    os: String,
    arch: String,
    contained: Option<bool>,
    hostname: Option<String>,
    cpus: Option<u32>,
    memory_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    probed_at: Option<String>,
    programs: Vec<Program>,
    harnesses: Vec<Program>,
    gpus: Vec<String>,
    roots: Vec<String>,
    cwd: Option<String>,
    git_remote: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Program {
    name: String,
    version: String,
    path: Option<String>,
}

/// Runs one of them.
pub async fn run(context: &Context, verb: ExecutorVerb) -> Result<Exit, Error> {
    match verb {
        ExecutorVerb::Code => code::run(context).await,
        ExecutorVerb::List(args) => list::run(context, args).await,
        ExecutorVerb::Show(args) => show::run(context, args).await,
        ExecutorVerb::Probe(args) => probe::run(context, args).await,
        ExecutorVerb::Remove(args) => remove::run(context, args).await,
        ExecutorVerb::Rename(args) => rename::run(context, args).await,
        ExecutorVerb::Search(args) => search::run(context, args).await,
        ExecutorVerb::Repositories(args) => repositories::run(context, args).await,
        ExecutorVerb::Diff(args) => diff::run(context, args).await,
        ExecutorVerb::Upload(args) => upload::run(context, args).await,
    }
}

/// The id of an executor that is named by id or name.
pub(super) async fn id_of(client: &Client, named: &str) -> Result<String, Error> {
    if named.starts_with("exec_") {
        return Ok(named.to_owned());
    }
    let known: Vec<Executor> = typed(&client.list("/v1/executors", &[], usize::MAX).await?)?;
    let mut found = known.into_iter().filter(|executor| executor.name == named);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.id),
        (None, _) => Err(Error::Failed(format!(
            "no executor is called {named:?}: see `perennial executor list`"
        ))),
        (Some(_), Some(_)) => Err(Error::Usage(format!(
            "several executors are called {named:?}: name one by its id"
        ))),
    }
}
