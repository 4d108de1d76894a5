//! Claim, renew and count.

use std::collections::BTreeMap;

use perennial_engine::ports::{Claimed, HARNESS_PATIENCE_MILLIS, Held, Reach, ReadyCount, SessionKey, SessionRow};
use perennial_schema::{OwnerId, Timestamp, WorkspaceId};

use super::state::{Owner, Session, State};
use crate::log::rules::Head;

/// What a claim asks for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) limit: usize,
    /// Left for others.
    pub(super) pass_by: &'a [SessionKey],
    /// At most so many sessions of a workspace are held at once.
    pub(super) workspace_slots: Option<u32>,
}

/// Frees what dead owners held, then takes ready sessions, fairly across tenants: each tenant's longest waiting session
/// first, tenants in the order in which they were last served.
pub(super) fn claim(state: &mut State, owner: OwnerId, wanted: Wanted<'_>, now: Timestamp) -> Vec<Claimed> {
    free_dead(state, now);
    if !state.is_alive(owner, now) {
        return Vec::new();
    }
    let reach = state.owners.get(&owner).map(|owner| owner.reach.clone());
    let chosen = choose(state, &reach.unwrap_or_default(), wanted, now);
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

fn choose(state: &State, reach: &Reach, wanted: Wanted<'_>, now: Timestamp) -> Vec<SessionKey> {
    let mut waiting: BTreeMap<WorkspaceId, Vec<(Timestamp, SessionKey)>> = BTreeMap::new();
    for (key, session) in &state.sessions {
        let head = &session.head;
        let at = claimable_at(head).filter(|at| *at <= now && head.owner.is_none() && reach.reaches(head.place));
        if let Some(at) = at
            && !wanted.pass_by.contains(key)
            && is_for(state, reach, session, at, now)
        {
            waiting.entry(key.workspace).or_default().push((at, *key));
        }
    }
    let mut ordered = Vec::new();
    for (workspace, sessions) in &mut waiting {
        sessions.sort_unstable();
        let served = state.served.1.get(workspace).copied().unwrap_or(0);
        let room = room(state, *workspace, wanted.workspace_slots);
        ordered.extend(
            sessions
                .iter()
                .take(room)
                .enumerate()
                .map(|(place, (at, key))| (place, served, *at, *key)),
        );
    }
    ordered.sort_unstable();
    ordered.into_iter().take(wanted.limit).map(|(.., key)| key).collect()
}

/// Whether a session that is within reach is this owner's to take: it has the harness, or nobody has who could be waited for.
fn is_for(state: &State, reach: &Reach, session: &Session, ready_at: Timestamp, now: Timestamp) -> bool {
    let harness = session.details.agent.harness.to_string();
    if reach.has(&harness) {
        return true;
    }
    let able = |owner: &Owner| owner.claims && owner.reach.reaches(session.head.place) && owner.reach.has(&harness);
    ready_at.plus_millis(HARNESS_PATIENCE_MILLIS) <= now && !state.owners.values().any(able)
}

/// How many more sessions of a workspace may be held.
fn room(state: &State, workspace: WorkspaceId, slots: Option<u32>) -> usize {
    let Some(slots) = slots else { return usize::MAX };
    let held = state
        .sessions
        .iter()
        .filter(|(key, session)| key.workspace == workspace && session.head.owner.is_some());
    (slots as usize).saturating_sub(held.count())
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
