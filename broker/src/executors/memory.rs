//! The registry without a disk: the same rules over maps behind one mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    Clock, CodeError, EXECUTOR_CODE_MILLIS, EXECUTOR_ONLINE_MILLIS, EXECUTOR_PASS_MILLIS, EXECUTOR_VISIT_MILLIS,
    Executor, ExecutorListing, Executors, HeldTunnel, MintedCode, NewExecutor, NewSandboxHost, RegisterError, Sandbox,
    StoreError, StoredCode,
};
use perennial_schema::frame::Card;
use perennial_schema::{ExecutorId, ExecutorPass, ExecutorSecretHash, ExecutorTicket, OwnerId, Timestamp, WorkspaceId};
use uuid::Uuid;

use super::{fresh_code, fresh_pass, fresh_ticket};
use crate::limits::CODE_KEEP_MILLIS;

/// A registry in memory.
pub struct Memory {
    pub(super) clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Each with the one process that uses it.
    pub(super) sandboxes: Mutex<BTreeMap<ExecutorId, (Sandbox, Option<OwnerId>)>>,
    /// Each with when it was heard of.
    hosts: Mutex<BTreeMap<ExecutorId, (NewSandboxHost, Timestamp)>>,
}

#[derive(Default)]
struct State {
    executors: BTreeMap<ExecutorId, Executor>,
    /// And whether they are used.
    codes: BTreeMap<(WorkspaceId, Uuid), (StoredCode, bool)>,
    /// Each for one executor, until then.
    passes: BTreeMap<ExecutorSecretHash, (ExecutorId, Timestamp)>,
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            sandboxes: Mutex::default(),
            hosts: Mutex::default(),
        }
    }

    fn add_pass(&self, id: ExecutorId, hash: ExecutorSecretHash, millis: u64) {
        let now = self.clock.now();
        let mut state = self.state();
        state.passes.retain(|_, (_, end)| now < *end);
        state.passes.insert(hash, (id, now.plus_millis(millis)));
    }

    pub(super) fn hosts(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, (NewSandboxHost, Timestamp)>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    fn seen(&self, executor: &Executor) -> Executor {
        let fresh = |at: Timestamp| self.clock.now() < at.plus_millis(EXECUTOR_ONLINE_MILLIS);
        Executor {
            online: executor.node.is_some() && executor.last_seen_at.is_some_and(fresh),
            ..executor.clone()
        }
    }
}

impl State {
    fn mine(&mut self, workspace: WorkspaceId, id: ExecutorId) -> Option<&mut Executor> {
        self.executors
            .get_mut(&id)
            .filter(|executor| executor.workspace == workspace)
    }
}

#[async_trait]
impl Executors for Memory {
    async fn mint_code(&self, workspace: WorkspaceId, id: Uuid) -> Result<MintedCode, CodeError> {
        let (code, now) = (fresh_code()?, self.clock.now());
        let mut state = self.state();
        state
            .codes
            .retain(|_, (code, _)| now < code.expires_at.plus_millis(CODE_KEEP_MILLIS));
        if let Some((stored, _)) = state.codes.get(&(workspace, id)) {
            return Err(CodeError::Exists(*stored));
        }
        let stored = StoredCode {
            id,
            workspace,
            hash: code.hash(),
            expires_at: now.plus_millis(EXECUTOR_CODE_MILLIS),
        };
        state.codes.insert((workspace, id), (stored, false));
        Ok(MintedCode { stored, code })
    }

    async fn code(&self, workspace: WorkspaceId, id: Uuid) -> Result<Option<StoredCode>, StoreError> {
        Ok(self.state().codes.get(&(workspace, id)).map(|(code, _)| *code))
    }

    async fn register(&self, code: ExecutorSecretHash, new: NewExecutor) -> Result<Executor, RegisterError> {
        let now = self.clock.now();
        let mut state = self.state();
        let open = state
            .codes
            .values_mut()
            .find(|(stored, used)| stored.hash == code && !used && now < stored.expires_at);
        let Some((stored, used)) = open else {
            let found = state.executors.get(&new.id);
            let same = found.filter(|executor| executor.hash == new.hash);
            return same
                .map(|executor| self.seen(executor))
                .ok_or(RegisterError::NoSuchCode);
        };
        *used = true;
        let executor = Executor {
            id: new.id,
            workspace: stored.workspace,
            name: new.name,
            kind: new.kind,
            card: None,
            hash: new.hash,
            generation: 0,
            node: None,
            node_url: None,
            online: false,
            last_seen_at: None,
            created_at: now,
        };
        state.executors.insert(new.id, executor.clone());
        Ok(executor)
    }

    async fn holder(&self, id: ExecutorId) -> Result<Option<Executor>, StoreError> {
        Ok(self.state().executors.get(&id).map(|executor| self.seen(executor)))
    }

    async fn executor(&self, workspace: WorkspaceId, id: ExecutorId) -> Result<Option<Executor>, StoreError> {
        Ok(self.state().mine(workspace, id).map(|executor| self.seen(executor)))
    }

    async fn executors(&self, listing: ExecutorListing) -> Result<Vec<Executor>, StoreError> {
        let state = self.state();
        let before = |executor: &&Executor| {
            executor.workspace == listing.workspace
                && listing
                    .cursor
                    .is_none_or(|cursor| (executor.created_at, executor.id) < cursor)
        };
        let mut found: Vec<Executor> = state
            .executors
            .values()
            .filter(before)
            .map(|executor| self.seen(executor))
            .collect();
        found.sort_by_key(|executor| std::cmp::Reverse((executor.created_at, executor.id)));
        found.truncate(listing.limit as usize);
        Ok(found)
    }

    async fn rename(&self, workspace: WorkspaceId, id: ExecutorId, name: &str) -> Result<Option<Executor>, StoreError> {
        let mut state = self.state();
        let renamed = state.mine(workspace, id).map(|executor| {
            name.clone_into(&mut executor.name);
            self.seen(executor)
        });
        Ok(renamed)
    }

    async fn remove(&self, workspace: WorkspaceId, id: ExecutorId) -> Result<bool, StoreError> {
        let mut state = self.state();
        let there = state.mine(workspace, id).is_some();
        if there {
            state.executors.remove(&id);
        }
        Ok(there)
    }

    async fn connect(
        &self,
        workspace: WorkspaceId,
        id: ExecutorId,
        node: OwnerId,
        url: Option<&str>,
        card: &Card,
    ) -> Result<Option<u64>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let connected = state.mine(workspace, id).map(|executor| {
            executor.generation += 1;
            (executor.node, executor.last_seen_at) = (Some(node), Some(now));
            executor.node_url = url.map(str::to_owned);
            executor.card = Some(card.clone());
            executor.generation
        });
        Ok(connected)
    }

    async fn describe(&self, held: HeldTunnel, card: &Card) -> Result<(), StoreError> {
        let mut state = self.state();
        let found = state.mine(held.workspace, held.executor);
        let counts = |executor: &&mut Executor| executor.node.is_some() && executor.generation == held.generation;
        if let Some(executor) = found.filter(counts) {
            executor.card = Some(card.clone());
        }
        Ok(())
    }

    async fn renew(&self, node: OwnerId) -> Result<Vec<HeldTunnel>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let mine = state
            .executors
            .values_mut()
            .filter(|executor| executor.node == Some(node));
        let held = mine.map(|executor| {
            executor.last_seen_at = Some(now);
            HeldTunnel {
                workspace: executor.workspace,
                executor: executor.id,
                generation: executor.generation,
            }
        });
        Ok(held.collect())
    }

    async fn disconnect(&self, held: HeldTunnel) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let found = state.mine(held.workspace, held.executor);
        if let Some(executor) = found.filter(|executor| executor.generation == held.generation) {
            (executor.node, executor.last_seen_at) = (None, Some(now));
            executor.node_url = None;
        }
        Ok(())
    }

    async fn mint_pass(&self, id: ExecutorId) -> Result<ExecutorPass, StoreError> {
        let pass = fresh_pass()?;
        self.add_pass(id, pass.hash(), EXECUTOR_PASS_MILLIS);
        Ok(pass)
    }

    async fn mint_ticket(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError> {
        let ticket = fresh_ticket()?;
        self.add_pass(id, ticket.hash(what), EXECUTOR_PASS_MILLIS);
        Ok(ticket)
    }

    async fn mint_visit(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError> {
        let visit = fresh_ticket()?;
        self.add_pass(id, visit.hash(what), EXECUTOR_VISIT_MILLIS);
        Ok(visit)
    }

    async fn is_visit(&self, id: ExecutorId, visit: ExecutorSecretHash) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let known = self.state().passes.get(&visit).copied();
        Ok(known.is_some_and(|(executor, end)| executor == id && now < end))
    }

    async fn use_pass(&self, id: ExecutorId, pass: ExecutorSecretHash) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let good = state
            .passes
            .get(&pass)
            .is_some_and(|(executor, end)| *executor == id && now < *end);
        if good {
            state.passes.remove(&pass);
        }
        Ok(good)
    }
}
