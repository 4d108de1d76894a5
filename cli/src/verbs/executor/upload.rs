//! `perennial executor upload EXECUTOR FILE…`

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::id_of;
use crate::client::Client;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::sanitize;
use crate::verbs::Context;

/// Store files in a folder of a machine, at most 500 of at most 50 MB each (`perennial cp` takes a larger one)
#[derive(Debug, Args)]
pub struct UploadArgs {
    /// Its id, or its name if no other has it
    executor: String,
    /// Files here
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A folder there, made if it is missing [default: the one that it offers]
    #[arg(long, value_name = "PATH")]
    to: Option<String>,
}

#[derive(Deserialize)]
struct Uploaded {
    files: Vec<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    path: String,
    bytes: u64,
}

/// Stores them.
pub async fn run(context: &Context, args: UploadArgs) -> Result<Exit, Error> {
    let client = Client::for_files(&context.settings)?;
    let id = id_of(&client, &args.executor).await?;
    let files = args.files.into_iter().map(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let fits = |name: &&str| !name.contains(['"', '\\']) && !name.chars().any(char::is_control);
        match name.filter(fits) {
            Some(name) => Ok((name.to_owned(), path)),
            None => Err(Error::Usage(format!("{}: a form cannot say this name", path.display()))),
        }
    });
    let files: Vec<_> = files.collect::<Result<_, _>>()?;
    let query: Vec<_> = args.to.map(|to| ("path", to)).into_iter().collect();
    let path = format!("/v1/executors/{id}/uploads");
    let answer = client.upload_form(&path, &query, &files).await?;
    if context.json {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    for stored in answer.parse::<Uploaded>()?.files {
        output::line(&format!("{}  {} bytes", sanitize(&stored.path), stored.bytes))?;
    }
    Ok(Exit::Done)
}
