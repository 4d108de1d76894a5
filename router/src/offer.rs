//! Which hands a session has now: what its environment says, what is attached to it, and what those say of themselves.
//!
//! An executor that is away is offered as it was when it connected last, so that the catalogue, and with it whatever a provider
//! has cached of a conversation, does not change with each line that drops; a call there waits for it, and then says that it
//! is away. One that was removed is not offered any more.

use std::sync::Arc;

use futures_util::future::join_all;
use perennial_engine::ports::{Executor, Executors, SessionKey};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::frame::{Card, ToExecutor};
use perennial_schema::{Attachment, ExecutorId, WorkspaceId};
use tokio::time::timeout;

use crate::exchange::Exchange;
use crate::hands::{Hand, summary};
use crate::limits;
use crate::policy::Reach;

/// What is known of an executor that dialled in.
struct Known {
    row: Option<Executor>,
    card: Option<Card>,
    reach: Reach,
}

impl Exchange {
    /// What executors say of themselves is read there from now on, also of those that are away.
    pub fn know(&self, registry: Arc<dyn Executors>) {
        // Said by whoever starts this process, perhaps by more than one of its parts.
        let _ = self.registry.set(registry);
    }

    /// The hands of a session, the one for calls that name none first: the machine its environment names, those that are
    /// attached in their order, and else its sandbox or folder.
    pub(crate) async fn hands_of(
        &self,
        key: SessionKey,
        agent: &AgentSnapshot,
        environment: &EnvironmentConfig,
    ) -> Vec<Hand> {
        self.know_hosts().await;
        let own = environment.executor();
        let alone = agent.executors.is_empty();
        let attached = agent.executors.iter().filter(|hand| Some(hand.executor_id) != own);
        let attached = join_all(attached.map(async |hand| (hand, self.known(key, hand.executor_id, alone).await)));
        let own_known = async {
            match own {
                Some(executor) => self.known(key, executor, alone).await,
                None => None,
            }
        };
        let (attached, own_known) = futures_util::join!(attached, own_known);
        let attached = attached
            .into_iter()
            .filter_map(|(hand, known)| Some(attached_hand(hand, known?)));
        let own_hand = self.own_hand(agent, environment, own_known);
        match own {
            Some(_) => std::iter::once(own_hand).chain(attached).collect(),
            None => attached.chain(std::iter::once(own_hand)).collect(),
        }
    }

    fn own_hand(&self, agent: &AgentSnapshot, environment: &EnvironmentConfig, known: Option<Known>) -> Hand {
        let (row, card) = known.map_or((None, None), |known| (known.row, known.card));
        let dir = match environment {
            EnvironmentConfig::Local { dir, .. } => dir.as_deref(),
            EnvironmentConfig::Cloud { .. } | EnvironmentConfig::SelfHosted => None,
        };
        let (name, summary) = match (self.sandboxes_of(environment), environment.executor()) {
            (Some((sandboxes, container)), _) => ("sandbox".to_owned(), sandboxes.describe(container)),
            (None, Some(_)) => {
                let name = row.as_ref().map_or("environment", |row| &row.name);
                let taken = agent.executors.iter().any(|hand| hand.name == name);
                let name = if taken {
                    format!("{name} (environment)")
                } else {
                    name.to_owned()
                };
                (name, summary(row.as_ref().map(|row| row.kind), card.as_ref(), dir))
            }
            (None, None) => {
                let card = self.home_card();
                ("server".to_owned(), summary(None, card.as_ref(), dir))
            }
        };
        Hand {
            name,
            attached: None,
            summary,
            tools: card.map(|card| card.tools),
            reach: self.reach(environment),
        }
    }

    /// None when it was removed, as far as anybody can say. Only with `alone` nobody asks what it is.
    async fn known(&self, key: SessionKey, executor: ExecutorId, alone: bool) -> Option<Known> {
        self.make_ready(key, executor).await;
        let live = self.live(executor).filter(|link| link.serves(key.workspace));
        let row = match self.registry.get() {
            Some(registry) if !alone => match registry.executor(key.workspace, executor).await {
                Ok(None) => return None,
                Ok(row) => row,
                Err(error) => {
                    tracing::warn!(executor.id = %executor, %error, "what an executor is cannot be read");
                    None
                }
            },
            _ => None,
        };
        let reach = self.reach_of(live.as_deref());
        let said = live.map(|link| link.card().clone());
        let card = said.or_else(|| row.as_ref().and_then(|row| row.card.clone()));
        Some(Known { row, card, reach })
    }

    /// Has an executor look at its machine again.
    pub(crate) async fn look_at(&self, workspace: WorkspaceId, executor: ExecutorId) -> Result<Card, String> {
        let link = self.line_of(executor, workspace).await;
        let link = link.ok_or_else(|| self.unreached(executor))?;
        if link.card().probed_at.is_none() {
            return Err("its program is of a version that looks only when it connects".into());
        }
        let mut cards = link.cards();
        cards.mark_unchanged();
        let told = async {
            link.send(ToExecutor::Probe).await.ok()?;
            cards.changed().await.ok()
        };
        match timeout(limits::PROBE_WAIT, told).await {
            Ok(Some(())) => Ok(cards.borrow().clone()),
            Ok(None) => Err("it hung up".into()),
            Err(_) => Err(format!("it did not answer within {} s", limits::PROBE_WAIT.as_secs())),
        }
    }

    /// Makes the way ready, in a bounded time, to a machine that dialled another process.
    pub(crate) async fn make_ready(&self, key: SessionKey, executor: ExecutorId) {
        let Some(trunks) = self.trunks() else { return };
        if self.live(executor).is_none() {
            let attempt = trunks.try_once(self, executor, key.workspace);
            let _ = timeout(limits::PREPARE_WAIT, attempt).await;
        }
    }
}

fn attached_hand(hand: &Attachment, known: Known) -> Hand {
    Hand {
        name: hand.name.clone(),
        summary: summary(
            known.row.as_ref().map(|row| row.kind),
            known.card.as_ref(),
            hand.dir.as_deref(),
        ),
        attached: Some(hand.clone()),
        tools: known.card.map(|card| card.tools),
        reach: known.reach,
    }
}
