//! What a process was started for.

use perennial_engine::ports::ToolSpec;
use perennial_schema::AgentId;

use super::Think;

/// What a process or a thread was started for; with anything else it is of no use.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    agent: AgentId,
    model: String,
    /// As the harness is told it.
    pub(super) effort: Option<String>,
    /// None when it is blank.
    pub(super) system: Option<String>,
    pub(super) tools: Vec<ToolSpec>,
}

impl Asked {
    /// What this asks for, with an effort the harness knows.
    pub(super) fn of(ask: &Think<'_>, effort: Option<String>) -> Self {
        Self {
            agent: ask.agent.id,
            model: ask.agent.model.id.clone(),
            effort,
            system: ask.agent.system.clone().filter(|system| !system.trim().is_empty()),
            tools: ask.tools.to_vec(),
        }
    }
}
