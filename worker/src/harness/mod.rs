//! Harnesses: what turns a rendered conversation into the model's next step.
//!
//! One call of [`Harness::think`] is one model step, whatever the harness, so the turn loop is the same for all: `native`
//! makes one model request; `claude-code` feeds the results into its live process and waits for its next message, or starts
//! a process from the rendered log. A harness holds nothing that the log does not: it may be thrown away at any time.

mod access;
pub mod acp;
mod asked;
pub mod claude_code;
pub mod codex;
mod fault;
mod held;
mod minted;
mod native;
mod process;
mod warm;

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::kernel::Message;
use perennial_engine::ports::{DeltaSink, Model, ModelError, ModelStep, SessionKey, ToolSpec};
use perennial_gateway::Providers;
use perennial_schema::agent::{self, AgentSnapshot};

use crate::model::{self, Windows};

pub use access::{Access, Direct, Gate, Wire};
pub use minted::Minted;
pub use native::Native;
pub use warm::Limits;

/// What a harness is asked: one step.
#[derive(Debug)]
pub struct Think<'a> {
    /// Whose session.
    pub key: SessionKey,
    /// Model, system prompt.
    pub agent: &'a AgentSnapshot,
    /// Tools on offer.
    pub tools: &'a [ToolSpec],
    /// The whole conversation, rendered from the settled log: provider-valid, ends with the user's side.
    pub messages: Vec<Message>,
}

/// A brain.
#[async_trait]
pub trait Harness: Send {
    /// The model's next step. Dropping the future stops the request; afterwards only `close` may be called.
    async fn think(&mut self, ask: Think<'_>, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError>;

    /// The turn is over: what the session's next turn can use may be kept for it, within the harness's bounds.
    async fn rest(&mut self) {
        self.close().await;
    }

    /// Ends whatever runs. Called when the session parks, is interrupted or given up.
    async fn close(&mut self);
}

/// Makes harnesses.
#[async_trait]
pub trait Harnesses: Send + Sync {
    /// A fresh one of a kind.
    ///
    /// # Errors
    /// When this worker has none; the message says what to do.
    fn open(&self, kind: &agent::Harness) -> Result<Box<dyn Harness>, ModelError>;

    /// Which kinds this worker has, as agents name them.
    fn names(&self) -> Vec<String> {
        vec![agent::Harness::Native.to_string()]
    }

    /// This worker ends: whatever was kept between turns goes with it.
    async fn close(&self) {}

    /// Whose native blocks this agent's model takes back, by the name they carry.
    fn provider(&self, agent: &AgentSnapshot) -> String {
        provider(&Providers::default(), agent)
    }

    /// Tokens beyond which the context of this agent's model is compacted before the next request.
    fn compact_at(&self, agent: &AgentSnapshot) -> u64 {
        Windows::default().compact_at(&agent.model.id)
    }
}

fn provider(providers: &Providers, agent: &AgentSnapshot) -> String {
    match &agent.harness {
        agent::Harness::Native => model::provider(providers, &agent.model.id).to_owned(),
        agent::Harness::ClaudeCode => model::anthropic::PROVIDER.to_owned(),
        agent::Harness::Codex => model::openai::PROVIDER.to_owned(),
        agent::Harness::Acp(_) => agent.harness.to_string(),
    }
}

/// The harnesses this worker has.
pub struct Installed {
    /// Models for the native loop.
    pub models: Arc<dyn Model>,
    /// Who serves them.
    pub providers: Providers,
    /// How much the models take.
    pub windows: Windows,
    /// How to run Claude Code.
    pub claude_code: claude_code::Settings,
    /// How to run Codex.
    pub codex: codex::Settings,
    /// How to run other agents, by the name in `acp:NAME`.
    pub acp: Vec<acp::Settings>,
}

#[async_trait]
impl Harnesses for Installed {
    fn open(&self, kind: &agent::Harness) -> Result<Box<dyn Harness>, ModelError> {
        Ok(match kind {
            agent::Harness::Native => Box::new(Native::within(self.models.clone(), self.windows.clone())),
            agent::Harness::ClaudeCode => Box::new(claude_code::ClaudeCode::new(self.claude_code.clone())),
            agent::Harness::Codex => Box::new(codex::Codex::new(self.codex.clone())),
            agent::Harness::Acp(name) => {
                let known = self.acp.iter().find(|settings| settings.name == *name);
                let settings = known.ok_or_else(|| {
                    fault::setup(format!(
                        "this worker has no harness {kind}: add [acp.{name}] with its command to the configuration, or give \
                         the agent native, claude-code or codex"
                    ))
                })?;
                Box::new(acp::Acp::new(settings.clone()))
            }
        })
    }

    fn names(&self) -> Vec<String> {
        let programs = [
            (agent::Harness::ClaudeCode, self.claude_code.binary.is_some()),
            (agent::Harness::Codex, self.codex.binary.is_some()),
        ];
        let programs = programs.into_iter().filter_map(|(kind, here)| here.then_some(kind));
        let agents = self.acp.iter().map(|agent| agent::Harness::Acp(agent.name.clone()));
        let all = std::iter::once(agent::Harness::Native).chain(programs).chain(agents);
        all.map(|kind| kind.to_string()).collect()
    }

    async fn close(&self) {
        self.claude_code.close().await;
        self.codex.close().await;
        for agent in &self.acp {
            agent.close().await;
        }
    }

    fn provider(&self, agent: &AgentSnapshot) -> String {
        provider(&self.providers, agent)
    }

    fn compact_at(&self, agent: &AgentSnapshot) -> u64 {
        self.windows.compact_at(&agent.model.id)
    }
}
