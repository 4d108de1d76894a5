//! `[acp.NAME]`: agents that speak the Agent Client Protocol.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perennial_gateway::Wire;
use perennial_schema::agent::Harness;
use serde::Deserialize;

use super::resolve::{Layers, wrong};
use super::{AcpAgent, ConfigError, Origin};

/// `[acp.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcpTable {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    pass: Vec<String>,
    wire: Option<String>,
    #[serde(default)]
    shows: Vec<PathBuf>,
}

/// Variables whose values no harness may see.
const OURS: [&str; 4] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_API_KEY_FILE",
    "OPENAI_API_KEY",
    "OPENAI_API_KEY_FILE",
];

impl Layers<'_> {
    /// Programs are looked up and passed variables read here, where `PATH` and the environment are.
    pub(super) fn acp(&self, tables: BTreeMap<String, AcpTable>) -> Result<Vec<AcpAgent>, ConfigError> {
        let read = |(name, table)| self.agent(name, table);
        tables.into_iter().map(read).collect()
    }

    fn agent(&self, name: String, table: AcpTable) -> Result<AcpAgent, ConfigError> {
        let key = |member: &str| Origin::Table(format!("acp.{name}.{member}"));
        if !matches!(format!("acp:{name}").parse(), Ok(Harness::Acp(_))) {
            let expected = "a name of 1 to 64 letters, digits, - and _";
            return Err(wrong(&Origin::Table("acp".to_owned()), &name, expected));
        }
        let Some((program, arguments)) = table.command.split_first() else {
            return Err(wrong(&key("command"), "", "a program and its arguments"));
        };
        let program = Path::new(program);
        let program = if program.components().count() == 1 {
            self.look_up(program).unwrap_or_else(|| program.to_owned())
        } else {
            program.to_owned()
        };
        if let Some(relative) = table.shows.iter().find(|path| path.is_relative()) {
            return Err(wrong(&key("shows"), &relative.display().to_string(), "absolute paths"));
        }
        let wire = table.wire.as_deref().unwrap_or("chat");
        let wire: Wire = wire
            .parse()
            .map_err(|_| wrong(&key("wire"), wire, "messages, responses or chat"))?;
        let is_ours = |name: &&String| OURS.contains(&name.as_str()) || name.starts_with("PERENNIAL_");
        if let Some(ours) = table.pass.iter().find(is_ours) {
            let expected = "no key of this server: an agent gets one of its own, {key} in env";
            return Err(wrong(&key("pass"), ours, expected));
        }
        let passed = table.pass.iter().filter_map(|variable| {
            let value = self.environment.get(variable)?;
            Some((variable.clone(), value.to_owned()))
        });
        let environment = passed.chain(table.env.clone()).collect();
        Ok(AcpAgent {
            program,
            arguments: arguments.to_vec(),
            environment,
            wire,
            shows: table.shows,
            name,
        })
    }
}
