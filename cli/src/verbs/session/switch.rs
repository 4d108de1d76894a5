//! What runs a session's turns from here on, as flags.

use clap::Args;
use perennial_schema::agent::Harness;
use serde_json::{Map, Value, json};

/// Other brains for the same session.
#[derive(Debug, Default, Args)]
pub struct Switch {
    /// Go on with this model
    #[arg(long)]
    model: Option<String>,
    /// Go on with this brain: native, claude-code, codex or acp:NAME
    #[arg(long)]
    harness: Option<Harness>,
    /// Go on with this system prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
}

impl Switch {
    /// The members of a request's `agent`; empty when nothing is to change.
    pub fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.extend(self.model.as_ref().map(|model| ("model".to_owned(), json!(model))));
        members.extend(
            self.harness
                .as_ref()
                .map(|harness| ("harness".to_owned(), json!(harness))),
        );
        members.extend(self.system.as_ref().map(|system| ("system".to_owned(), json!(system))));
        members
    }
}
