//! `perennial executor repositories EXECUTOR`

use clap::Args;
use serde::Deserialize;

use super::id_of;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List the repositories of git on a machine, and what is checked out in them
#[derive(Debug, Args)]
pub struct RepositoriesArgs {
    /// Its id, or its name if no other has it
    executor: String,
    /// A folder there [default: the one that it offers]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    repositories: Vec<Repository>,
    truncated: bool,
}

#[derive(Deserialize)]
struct Repository {
    path: String,
    branch: Option<String>,
    commit: Option<String>,
}

/// Prints a table.
pub async fn run(context: &Context, args: RepositoriesArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = id_of(&client, &args.executor).await?;
    let query: Vec<_> = args.path.map(|path| ("path", path)).into_iter().collect();
    let answer = client.get(&format!("/v1/executors/{id}/repositories"), &query).await?;
    if context.json {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let listed: Listed = answer.parse()?;
    let row = |one: Repository| vec![one.path, one.branch.unwrap_or_default(), one.commit.unwrap_or_default()];
    let rows: Vec<_> = listed.repositories.into_iter().map(row).collect();
    output::table(&["PATH", "BRANCH", "COMMIT"], &rows)?;
    if listed.truncated {
        output::note("not everything was looked through: name a --path");
    }
    Ok(Exit::Done)
}
