//! The meter without a disk: the same rules over maps behind one mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, BudgetHold, BudgetScope, Clock, GatewayKey, GatewayKeyKind, MeterListing, NewBudget,
    NewGatewayKey, Payer, ReserveError, Reserved, StoreError, Swept, Trace, TraceQuery, UsageBy, UsageQuery, UsageRow,
};
use perennial_schema::{
    AgentId, BudgetId, GatewayKeyId, ReservationId, SessionId, Timestamp, TraceId, VirtualKeyHash, WorkspaceId,
};

use super::books::Books;
use super::counter::{self, Counter};
use crate::log::memory::Memory as Sessions;

/// Books in memory, beside the sessions they ready.
pub(super) struct Memory {
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    budgets: BTreeMap<(WorkspaceId, BudgetId), Counter>,
    reservations: BTreeMap<(WorkspaceId, ReservationId), Reservation>,
    keys: BTreeMap<GatewayKeyId, GatewayKey>,
    traces: BTreeMap<TraceId, Trace>,
    days: BTreeMap<Cell, UsageRow>,
}

/// Day, session, agent and model of a sum.
type Cell = (WorkspaceId, i64, Option<SessionId>, Option<AgentId>, String);

struct Reservation {
    deadline: Timestamp,
    /// Per budget: the day it was taken from, and how much.
    taken: Vec<(BudgetId, i64, u64)>,
}

impl Memory {
    pub(super) fn new(sessions: Sessions, clock: Arc<dyn Clock>) -> Self {
        Self {
            sessions,
            clock,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready_held_by(&self, workspace: WorkspaceId, id: BudgetId) -> u64 {
        self.sessions
            .ready_held(|key, hold| key.workspace == workspace && hold.budget == id)
    }
}

impl State {
    fn settle(&mut self, workspace: WorkspaceId, id: ReservationId, actual: Option<Amounts>) -> bool {
        let Some(reservation) = self.reservations.remove(&(workspace, id)) else {
            return false;
        };
        for (budget, day, amount) in reservation.taken {
            if let Some(counter) = self.budgets.get_mut(&(workspace, budget)) {
                let used = actual.map_or(amount, |actual| actual.of(counter.budget.metric));
                counter.settle(day, amount, used);
            }
        }
        true
    }

    fn add(&mut self, trace: &Trace) {
        if self.traces.contains_key(&trace.id) {
            return;
        }
        let payer = trace.payer;
        let cell = (
            payer.workspace,
            counter::day_of(trace.at),
            payer.session,
            payer.agent,
            trace.model.clone(),
        );
        let sum = self.days.entry(cell).or_default();
        sum.requests += 1;
        sum.errors += u64::from(trace.error.is_some());
        sum.usage.add(trace.usage);
        sum.microusd += trace.microusd;
        self.traces.insert(trace.id, trace.clone());
    }
}

#[async_trait]
impl Books for Memory {
    async fn covered(&self, workspace: WorkspaceId, limit: u32) -> Result<Vec<BudgetScope>, StoreError> {
        let state = self.state();
        let of = state
            .budgets
            .values()
            .filter(|counter| counter.budget.workspace == workspace);
        Ok(of
            .map(|counter| counter.budget.scope)
            .take(limit as usize + 1)
            .collect())
    }

    async fn reserve(
        &self,
        id: ReservationId,
        payer: &Payer,
        estimate: Amounts,
        deadline_millis: u64,
    ) -> Result<Reserved, ReserveError> {
        let now = self.clock.now();
        let targets = counter::targets(payer);
        let mut state = self.state();
        let known = state.reservations.contains_key(&(payer.workspace, id));
        let mut mine: Vec<Counter> = state
            .budgets
            .values()
            .filter(|counter| {
                let budget = &counter.budget;
                budget.workspace == payer.workspace
                    && targets.contains(&counter::target(payer.workspace.uuid(), budget.scope))
            })
            .map(|counter| counter.clone().on(counter::day_of(now)))
            .collect();
        if known || mine.is_empty() {
            return Ok(Reserved {
                counted: !mine.is_empty(),
                warnings: Vec::new(),
            });
        }
        if let Some(short) = mine
            .iter()
            .find(|counter| counter.need(estimate) > counter.budget.room())
        {
            return Err(ReserveError::Exhausted {
                need: short.need(estimate),
                budget: Box::new(short.budget.clone()),
            });
        }
        let mut warnings = Vec::new();
        let mut taken = Vec::new();
        for counter in &mut mine {
            let need = counter.need(estimate);
            if counter.take(need) {
                warnings.push(counter.budget.clone());
            }
            taken.push((counter.budget.id, counter.day, need));
        }
        let deadline = now.plus_millis(deadline_millis);
        state
            .reservations
            .insert((payer.workspace, id), Reservation { deadline, taken });
        for counter in mine {
            state.budgets.insert((payer.workspace, counter.budget.id), counter);
        }
        Ok(Reserved {
            counted: true,
            warnings,
        })
    }

    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError> {
        self.state().settle(workspace, id, Some(actual));
        Ok(())
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let late: Vec<_> = state
            .reservations
            .iter()
            .filter(|(_, reservation)| reservation.deadline <= now)
            .map(|(key, _)| *key)
            .collect();
        for (workspace, id) in &late {
            state.settle(*workspace, *id, None);
        }
        let mut rooms: BTreeMap<(WorkspaceId, BudgetId), u64> = state
            .budgets
            .iter()
            .map(|(key, counter)| (*key, counter.clone().on(counter::day_of(now)).budget.room()))
            .collect();
        let mut held = self.sessions.held();
        held.sort_by_key(|(_, hold)| hold.need);
        let mut free = Vec::new();
        for (key, BudgetHold { budget, need }) in held {
            match rooms.get_mut(&(key.workspace, budget)) {
                Some(room) if *room < need.max(1) => {}
                Some(room) => {
                    *room -= need.max(1);
                    free.push(key);
                }
                None => free.push(key),
            }
        }
        Ok(Swept {
            expired: late.len() as u64,
            readied: self.sessions.ready_held(|key, _| free.contains(key)),
        })
    }

    async fn write(&self, traces: &[Trace]) -> Result<(), StoreError> {
        let mut state = self.state();
        for trace in traces {
            state.add(trace);
        }
        Ok(())
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let from = query.from.map_or(i64::MIN, counter::day_of);
        let mut groups: BTreeMap<String, UsageRow> = BTreeMap::new();
        for ((workspace, day, session, agent, model), sum) in &self.state().days {
            let begin = counter::begin_of(*day);
            if *workspace != query.workspace || *day < from || query.to.is_some_and(|to| begin >= to) {
                continue;
            }
            let group = match query.by {
                UsageBy::Day => counter::date(*day),
                UsageBy::Model => model.clone(),
                UsageBy::Session => session.map(|id| id.to_string()).unwrap_or_default(),
                UsageBy::Agent => agent.map(|id| id.to_string()).unwrap_or_default(),
            };
            let row = groups.entry(group.clone()).or_default();
            row.group = group;
            row.requests += sum.requests;
            row.errors += sum.errors;
            row.usage.add(sum.usage);
            row.microusd += sum.microusd;
        }
        let mut rows: Vec<UsageRow> = groups.into_values().collect();
        match query.by {
            UsageBy::Day => rows.reverse(),
            UsageBy::Model | UsageBy::Session | UsageBy::Agent => {
                rows.sort_by_key(|row| std::cmp::Reverse((row.microusd, counter::tokens(&row.usage), row.requests)));
            }
        }
        rows.truncate(query.limit as usize);
        Ok(rows)
    }

    async fn traces(&self, query: TraceQuery) -> Result<Vec<Trace>, StoreError> {
        let mut traces: Vec<Trace> = self
            .state()
            .traces
            .values()
            .filter(|trace| {
                trace.payer.workspace == query.workspace
                    && query.session.is_none_or(|id| trace.payer.session == Some(id))
                    && query.key.is_none_or(|id| trace.payer.key == Some(id))
                    && query.model.as_ref().is_none_or(|model| trace.model == *model)
                    && query.from.is_none_or(|from| trace.at >= from)
                    && query.to.is_none_or(|to| trace.at < to)
                    && query.cursor.is_none_or(|cursor| (trace.at, trace.id) < cursor)
            })
            .cloned()
            .collect();
        traces.sort_by_key(|trace| std::cmp::Reverse((trace.at, trace.id)));
        traces.truncate(query.limit as usize);
        Ok(traces)
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut state = self.state();
        let rows = state.traces.len() + state.keys.len();
        state.traces.retain(|_, trace| trace.at >= before);
        let good = |at: Option<Timestamp>| at.is_none_or(|at| at >= before);
        state.keys.retain(|_, key| good(key.expires_at) && good(key.revoked_at));
        Ok((rows - state.traces.len() - state.keys.len()) as u64)
    }

    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError> {
        let now = self.clock.now();
        let today = counter::day_of(now);
        let mut state = self.state();
        let counter = state
            .budgets
            .entry((budget.workspace, budget.id))
            .or_insert_with(|| Counter::new(&budget, now));
        Ok(counter.clone().on(today).budget)
    }

    async fn budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>, StoreError> {
        let today = counter::day_of(self.clock.now());
        let state = self.state();
        let counter = state.budgets.get(&(workspace, id));
        Ok(counter.map(|counter| counter.clone().on(today).budget))
    }

    async fn budgets(&self, listing: MeterListing<BudgetId>) -> Result<Vec<Budget>, StoreError> {
        let today = counter::day_of(self.clock.now());
        let state = self.state();
        let mut budgets: Vec<Budget> = state
            .budgets
            .values()
            .filter(|counter| counter.budget.workspace == listing.workspace)
            .filter(|counter| {
                let place = (counter.budget.created_at, counter.budget.id);
                listing.cursor.is_none_or(|cursor| place < cursor)
            })
            .map(|counter| counter.clone().on(today).budget)
            .collect();
        budgets.sort_by_key(|budget| std::cmp::Reverse((budget.created_at, budget.id)));
        budgets.truncate(listing.limit as usize);
        Ok(budgets)
    }

    async fn change_budget(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<Option<Budget>, StoreError> {
        let today = counter::day_of(self.clock.now());
        let mut state = self.state();
        let Some(counter) = state.budgets.get_mut(&(workspace, id)) else {
            return Ok(None);
        };
        counter.change(change);
        let budget = counter.clone().on(today).budget;
        self.ready_held_by(workspace, id);
        Ok(Some(budget))
    }

    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError> {
        let mut state = self.state();
        let there = state.budgets.remove(&(workspace, id)).is_some();
        self.ready_held_by(workspace, id);
        Ok(there)
    }

    async fn add_key(
        &self,
        id: GatewayKeyId,
        hash: VirtualKeyHash,
        key: NewGatewayKey,
    ) -> Result<(GatewayKey, bool), StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(key) = state.keys.get(&id) {
            return Ok((key.clone(), false));
        }
        let key = GatewayKey {
            id,
            workspace: key.workspace,
            kind: key.kind,
            name: key.name,
            session: key.session,
            agent: key.agent,
            models: key.models,
            providers: key.providers,
            hash,
            expires_at: key.ttl_millis.map(|ttl| now.plus_millis(ttl)),
            revoked_at: None,
            created_at: now,
        };
        state.keys.insert(id, key.clone());
        Ok((key, true))
    }

    async fn key(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        Ok(self.state().keys.get(&id).cloned())
    }

    async fn keys(&self, listing: MeterListing<GatewayKeyId>) -> Result<Vec<GatewayKey>, StoreError> {
        let state = self.state();
        let mut keys: Vec<GatewayKey> = state
            .keys
            .values()
            .filter(|key| key.workspace == listing.workspace && key.kind != GatewayKeyKind::Turn)
            .filter(|key| listing.cursor.is_none_or(|cursor| (key.created_at, key.id) < cursor))
            .cloned()
            .collect();
        keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.id)));
        keys.truncate(listing.limit as usize);
        Ok(keys)
    }

    async fn revoke(&self, workspace: WorkspaceId, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(key) = state.keys.get_mut(&id).filter(|key| key.workspace == workspace) else {
            return Ok(None);
        };
        key.revoked_at.get_or_insert(now);
        Ok(Some(key.clone()))
    }
}
