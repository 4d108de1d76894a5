//! Claim, renew and count.

use std::collections::BTreeMap;

use perennial_engine::ports::{Claimed, Held, ReadyCount, SessionKey, SessionRow};
use perennial_schema::{ExecutorId, OwnerId, Timestamp, WorkspaceId};

use super::state::{Owner, State};
use crate::log::rules::Head;

/// Frees what dead owners held, then takes ready sessions, fairly across tenants: each tenant's longest waiting session
/// first, tenants in the order in which they were last served.
pub(super) fn claim(state: &mut State, owner: OwnerId, limit: u32, now: Timestamp) -> Vec<Claimed> {
    free_dead(state, now);
    if !state.is_alive(owner, now) {
        return Vec::new();
    }
    let place = state.owners.get(&owner).and_then(|owner| owner.place);
    let chosen = choose(state, place, limit as usize, now);
    let mut claimed = Vec::with_capacity(chosen.len());
    let mut served: Vec<WorkspaceId> = Vec::new();
    for key in chosen {
        if let Some(session) = state.sessions.get_mut(&key) {
            session.head.epoch += 1;
            session.head.owner = Some(owner);
        }
        if !served.contains(&key.workspace) {
            served.push(key.workspace);
            state.served.0 += 1;
            state.served.1.insert(key.workspace, state.served.0);
        }
        if let Some(session) = state.sessions.get(&key) {
            let row = SessionRow {
                last_event: None,
                ..state.row(key, session, now)
            };
            claimed.push(Claimed { row });
        }
    }
    claimed
}

fn free_dead(state: &mut State, now: Timestamp) {
    state.owners.retain(|_, owner| owner.expires_at > now);
    for session in state.sessions.values_mut() {
        if session
            .head
            .owner
            .is_some_and(|owner| !state.owners.contains_key(&owner))
        {
            session.head.free_after_death(now);
        }
    }
}

fn choose(state: &State, place: Option<ExecutorId>, limit: usize, now: Timestamp) -> Vec<SessionKey> {
    let mut waiting: BTreeMap<WorkspaceId, Vec<(Timestamp, SessionKey)>> = BTreeMap::new();
    for (key, session) in &state.sessions {
        let head = &session.head;
        let within_reach = head.place.is_none() || head.place == place;
        if let Some(at) = claimable_at(head).filter(|at| *at <= now && head.owner.is_none() && within_reach) {
            waiting.entry(key.workspace).or_default().push((at, *key));
        }
    }
    let mut ordered = Vec::new();
    for (workspace, sessions) in &mut waiting {
        sessions.sort_unstable();
        let served = state.served.1.get(workspace).copied().unwrap_or(0);
        ordered.extend(
            sessions
                .iter()
                .enumerate()
                .map(|(place, (at, key))| (place, served, *at, *key)),
        );
    }
    ordered.sort_unstable();
    ordered.into_iter().take(limit).map(|(.., key)| key).collect()
}

/// When it may be claimed, if ever.
pub(super) fn claimable_at(head: &Head) -> Option<Timestamp> {
    let open = !head.quarantined && head.archived_at.is_none() && head.deleted_at.is_none();
    head.ready_at.filter(|_| open)
}

/// Extends an owner; none when its time is over.
pub(super) fn renew(state: &mut State, owner: OwnerId, ttl_millis: u64, now: Timestamp) -> Option<Vec<Held>> {
    if !state.is_alive(owner, now) {
        return None;
    }
    if let Some(Owner { expires_at, .. }) = state.owners.get_mut(&owner) {
        *expires_at = now.plus_millis(ttl_millis);
    }
    let held = state
        .sessions
        .iter()
        .filter(|(_, session)| session.head.owner == Some(owner));
    let held = held.map(|(key, session)| Held {
        key: *key,
        epoch: session.head.epoch,
        head: session.head.head,
    });
    Some(held.collect())
}

/// Ends an owner; no attempt is counted.
pub(super) fn unregister(state: &mut State, owner: OwnerId) {
    state.owners.remove(&owner);
    for session in state.sessions.values_mut() {
        if session.head.owner == Some(owner) {
            session.head.owner = None;
        }
    }
}

/// What there is to claim, held by nobody or by the dead.
pub(super) fn ready(state: &State, now: Timestamp) -> ReadyCount {
    let free = state
        .sessions
        .values()
        .filter(|session| !state.is_held(&session.head, now));
    let times: Vec<Timestamp> = free.filter_map(|session| claimable_at(&session.head)).collect();
    let ready = times.iter().filter(|at| **at <= now).count() as u64;
    let until = |at: Timestamp| {
        u64::try_from(at.micros().saturating_sub(now.micros()))
            .unwrap_or(0)
            .div_ceil(1000)
    };
    ReadyCount {
        now: ready,
        next_millis: if ready > 0 {
            None
        } else {
            times.into_iter().min().map(until)
        },
    }
}
