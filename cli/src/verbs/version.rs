//! `perennial version`

use serde_json::json;

use super::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Prints the version.
pub fn run(context: &Context) -> Result<Exit, Error> {
    let version = env!("CARGO_PKG_VERSION");
    if context.json {
        output::line(&json!({"name": "perennial", "version": version}).to_string())?;
    } else {
        output::line(&format!("perennial {version}"))?;
    }
    Ok(Exit::Done)
}
