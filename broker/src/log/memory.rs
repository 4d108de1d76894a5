//! The log without a disk: the same rules over maps behind one mutex. For the simulation, for tests, and for whoever embeds
//! the kernel and wants nothing durable. Nothing here awaits, so it needs no runtime.

mod create;
mod leases;
mod list;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, ChangeCursor, Claimed, Clock, EventFilter, ForkFrom, Held, Leases, Log,
    NewSession, Past, Reach, ReadFrom, Ready, ReadyCount, RenewError, SessionFilter, SessionKey, SessionRow, Sessions,
    StoreError,
};
use perennial_schema::event::Record;
use perennial_schema::{EventId, OwnerId, Timestamp, WorkspaceId};

use super::rules::{self, ToolUse};
use crate::limits;
use state::{Owner, State};

/// The memory store. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Memory {
    clock: Arc<dyn Clock>,
    workspace_slots: Option<u32>,
    state: Arc<Mutex<State>>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            workspace_slots: None,
            state: Arc::default(),
        }
    }

    /// At most so many sessions of a workspace are held at once.
    #[must_use]
    pub fn with_workspace_slots(self, slots: u32) -> Self {
        Self {
            workspace_slots: Some(slots),
            ..self
        }
    }

    /// Sessions that rest for a budget and have no time to go on at yet.
    pub(crate) fn held(&self) -> Vec<(SessionKey, perennial_engine::ports::BudgetHold)> {
        let now = self.clock.now();
        let state = self.state();
        let held = state.sessions.iter().filter_map(|(key, session)| {
            let waits = session.head.owner.is_none() && session.head.ready_at.is_none_or(|at| at > now);
            session.head.hold.filter(|_| waits).map(|hold| (*key, hold))
        });
        held.collect()
    }

    /// Readies those of them that are chosen; how many.
    pub(crate) fn ready_held(&self, chosen: impl Fn(&SessionKey, &perennial_engine::ports::BudgetHold) -> bool) -> u64 {
        let now = self.clock.now();
        let held = self.held().into_iter().filter(|(key, hold)| chosen(key, hold));
        held.map(|(key, _)| self.state().change(key, |session| session.head.wake_up(now)))
            .filter(|changed| *changed == Some(true))
            .count() as u64
    }

    /// How many sessions an owner holds, or anybody does.
    pub(crate) fn held_by(&self, owner: Option<OwnerId>) -> u64 {
        let state = self.state();
        let owners = state.sessions.values().filter_map(|session| session.head.owner);
        owners
            .filter(|holder| owner.is_none_or(|owner| owner == *holder))
            .count() as u64
    }

    /// Each session that may be claimed now and is held by nobody: whose it is, the harness its agent wants, since when.
    pub(crate) fn waiting(&self) -> Vec<(WorkspaceId, String, Timestamp)> {
        let now = self.clock.now();
        let state = self.state();
        let free = state
            .sessions
            .iter()
            .filter(|(_, session)| session.head.owner.is_none());
        let ready = free.filter_map(|(key, session)| {
            let at = leases::claimable_at(&session.head).filter(|at| *at <= now)?;
            Some((key.workspace, session.details.agent.harness.to_string(), at))
        });
        ready.collect()
    }

    /// Each session that is held: whose it is, and the harness its agent wants.
    pub(crate) fn running(&self) -> Vec<(WorkspaceId, String)> {
        let state = self.state();
        let held = state
            .sessions
            .iter()
            .filter(|(_, session)| session.head.owner.is_some());
        held.map(|(key, session)| (key.workspace, session.details.agent.harness.to_string()))
            .collect()
    }

    /// How many sessions a workspace gets at once.
    pub(crate) const fn workspace_slots(&self) -> Option<u32> {
        self.workspace_slots
    }

    /// Whether an owner claims anything, as whoever runs the servers wants it; nobody waits for one that does not.
    pub(crate) fn stands(&self, owner: OwnerId, claims: bool) {
        if let Some(owner) = self.state().owners.get_mut(&owner) {
            owner.claims = claims;
        }
    }

    /// A panic while the lock was held cannot leave a half-applied append: rules check first and write last.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for Memory {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let now = self.clock.now();
        let mut state = self.state();
        let session = state.sessions.get(&append.key).ok_or(AppendError::NotFound)?;
        if let Some(outcome) = session.appends.get(&append.append_id) {
            return Ok(outcome.appended(append.key.session, true));
        }
        let idempotency = match &append.authority {
            Authority::Client { idempotency, .. } => idempotency.as_ref(),
            Authority::Holder { .. } => None,
        };
        if let Some(asked) = idempotency {
            let stored = state.remembered(append.key.workspace, asked);
            if let Some(earlier) = rules::recall(asked, stored, Some(append.key.session), now)? {
                return Ok(earlier);
            }
        }
        session.head.admit(&append)?;
        let mut tools: Vec<(EventId, ToolUse)> = rules::tool_uses(&append)
            .into_iter()
            .map(|id| (id, session.tool_use(id)))
            .collect();
        rules::check_answers(&append, &mut tools)?;
        rules::check_ids(append.key, &append.events)?;

        if let Some(asked) = idempotency {
            let outcome = session.head.clone().advance(&append, now);
            state.remember(append.key, asked, outcome);
        }
        let outcome = state.change(append.key, |session| {
            let outcome = session.head.advance(&append, now);
            session.store(&append.events, &append.projection.processed, outcome);
            session.appends.insert(append.append_id, outcome);
            outcome
        });
        let outcome = outcome.ok_or(AppendError::NotFound)?;
        state.patch(append.key, &append.projection.patch);
        Ok(outcome.appended(append.key.session, false))
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        let state = self.state();
        let Some(session) = state.sessions.get(&key) else {
            return Ok(Vec::new());
        };
        let after = usize::try_from(from.after)
            .unwrap_or(usize::MAX)
            .min(session.events.len());
        let mut bytes = 0;
        let within = |(index, event): &(usize, &state::Event)| {
            bytes += event.record.payload.len() + event.record.private.as_ref().map_or(0, String::len);
            *index == 0 || bytes <= limits::READ_BYTES
        };
        let rows = session.events[after..].iter().take(from.limit as usize).enumerate();
        Ok(rows.take_while(within).map(|(_, event)| event.record.clone()).collect())
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        let state = self.state();
        Ok(state
            .sessions
            .get(&key)
            .and_then(|session| session.by_id(id))
            .map(|event| event.record.clone()))
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        let state = self.state();
        Ok(state
            .sessions
            .get(&key)
            .map(|session| list::events(session, &filter))
            .unwrap_or_default())
    }
}

#[async_trait]
impl Sessions for Memory {
    async fn create(&self, new: NewSession, fork: Option<ForkFrom>) -> Result<Appended, AppendError> {
        create::create(&mut self.state(), &new, fork, &[], self.clock.now())
    }

    async fn import(&self, new: NewSession, past: Vec<Past>) -> Result<Appended, AppendError> {
        create::create(&mut self.state(), &new, None, &past, self.clock.now())
    }

    async fn get(&self, key: SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let state = self.state();
        let now = self.clock.now();
        Ok(state.sessions.get(&key).map(|session| state.row(key, session, now)))
    }

    async fn find(&self, workspace: WorkspaceId, filter: SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        Ok(list::sessions(&self.state(), workspace, &filter, self.clock.now()))
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
        Ok(list::changes(&self.state(), workspace, after, limit, self.clock.now()))
    }
}

#[async_trait]
impl Leases for Memory {
    async fn register(&self, owner: OwnerId, ttl_millis: u64, reach: &Reach) -> Result<(), StoreError> {
        let expires_at = self.clock.now().plus_millis(ttl_millis);
        let mut state = self.state();
        let claims = state.owners.get(&owner).is_none_or(|known| known.claims);
        let reach = reach.clone();
        state.owners.insert(
            owner,
            Owner {
                expires_at,
                reach,
                claims,
            },
        );
        Ok(())
    }

    async fn claim(&self, owner: OwnerId, limit: u32, pass_by: &[SessionKey]) -> Result<Vec<Claimed>, StoreError> {
        let wanted = leases::Wanted {
            limit: limit as usize,
            pass_by,
            workspace_slots: self.workspace_slots,
        };
        Ok(leases::claim(&mut self.state(), owner, wanted, self.clock.now()))
    }

    async fn renew(&self, owner: OwnerId, ttl_millis: u64) -> Result<Vec<Held>, RenewError> {
        leases::renew(&mut self.state(), owner, ttl_millis, self.clock.now()).ok_or(RenewError::Expired)
    }

    async fn release(&self, key: SessionKey, epoch: u64, ready: Ready, only_at_head: u64) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.state().change(key, |session| {
            if session.head.epoch == epoch && session.head.owner.is_some() {
                session.head.release(ready, only_at_head, now);
            }
        });
        Ok(())
    }

    async fn unregister(&self, owner: OwnerId) -> Result<(), StoreError> {
        leases::unregister(&mut self.state(), owner);
        Ok(())
    }

    async fn ready(&self) -> Result<ReadyCount, StoreError> {
        Ok(leases::ready(&self.state(), self.clock.now()))
    }
}
