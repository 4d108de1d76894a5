//! `perennial executor search EXECUTOR`

use clap::Args;
use serde::Deserialize;

use super::id_of;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::sanitize;
use crate::verbs::Context;

/// Look for files of a machine by their names or by their text; what git ignores is left out
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Its id, or its name if no other has it
    executor: String,
    /// Files whose path fits this pattern; one without a slash is of the name alone
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// Files with lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    text: Option<String>,
    /// A folder there [default: the one that it offers]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    files: Vec<FoundFile>,
    truncated: bool,
}

#[derive(Deserialize)]
struct FoundFile {
    path: String,
    #[serde(default)]
    lines: Vec<FoundLine>,
}

#[derive(Deserialize)]
struct FoundLine {
    number: u64,
    text: String,
}

/// Prints paths, or `path:line:text`.
pub async fn run(context: &Context, args: SearchArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = id_of(&client, &args.executor).await?;
    let given = [("name", args.name), ("text", args.text), ("path", args.path)];
    let query: Vec<_> = given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    let answer = client.get(&format!("/v1/executors/{id}/search"), &query).await?;
    if context.json {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let found: Found = answer.parse()?;
    for file in found.files {
        let path = sanitize(&file.path).replace('\n', " ");
        if file.lines.is_empty() {
            output::line(&path)?;
        }
        for line in file.lines {
            output::line(&format!("{path}:{}:{}", line.number, sanitize(&line.text)))?;
        }
    }
    if found.truncated {
        output::note("there is more, or not everything was looked through: name a --path");
    }
    Ok(Exit::Done)
}
