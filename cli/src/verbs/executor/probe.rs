//! `perennial executor probe`: what the card of this machine would say. Needs no server.

use std::path::{Path, PathBuf};

use clap::Args;
use perennial_executor::{Config, probe};

use super::show;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// What an executor decides, and a machine alone does not say.
const DECIDED: [&str; 3] = ["name", "tools", "contained"];

/// Show what this machine's card would say of it; no server is asked
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The folder that would be offered [default: where you are]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints it.
pub async fn run(context: &Context, args: ProbeArgs) -> Result<Exit, Error> {
    let given = args.dir.as_deref().unwrap_or(Path::new("."));
    let dir = given
        .canonicalize()
        .map_err(Error::io(format!("cannot open the folder {}", given.display())))?;
    let card = probe::probe(&Config::new(&dir).path, &dir).await;
    let mut card = serde_json::to_value(card).map_err(|error| Error::Failed(error.to_string()))?;
    if let Some(said) = card.as_object_mut() {
        DECIDED.iter().for_each(|decided| drop(said.remove(*decided)));
    }
    if context.json {
        output::line(&card.to_string())?;
        return Ok(Exit::Done);
    }
    let card = serde_json::from_value(card).map_err(|error| Error::Failed(error.to_string()))?;
    output::facts(&show::facts(card))?;
    Ok(Exit::Done)
}
