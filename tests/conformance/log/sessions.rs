//! Session rows: create, get, find.

use perennial_engine::ports::{Projection, Ready, SessionFilter, TimeBounds};
use perennial_schema::AgentId;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::event::Permission;
use perennial_schema::session::{Status, StopReason};
use uuid::Uuid;

use crate::fixture::{Rig, agent, client, event_id, holder, new_session};
use crate::on_every_store;

on_every_store![
    a_new_session_is_what_was_asked_for,
    first_events_come_with_the_creation,
    newest_first_unless_ascending,
    pages_with_equal_times_are_complete,
    find_by_agent_and_version,
    find_by_served_status,
    find_those_that_wait,
    find_within_times,
    find_those_that_were_confirmed,
    archived_ones_only_when_asked,
    deleted_ones_never,
];

/// Everything a client can list.
pub(crate) fn all() -> SessionFilter {
    SessionFilter {
        limit: 100,
        ..SessionFilter::default()
    }
}

async fn a_new_session_is_what_was_asked_for(rig: Rig) {
    let key = rig.key();
    let new = new_session(key);
    let made = rig.store.create(new.clone(), None).await.unwrap();
    assert_eq!(
        (made.first_seq, made.last_seq, made.replayed, made.session),
        (1, 0, false, key.session)
    );
    let row = rig.row(key).await;
    assert_eq!(row.key, key);
    assert_eq!(
        (row.agent, row.environment_id, row.environment),
        (new.agent, new.environment_id, new.environment)
    );
    assert_eq!(
        (row.title, row.resources, row.vault_ids),
        (new.title, new.resources, new.vault_ids)
    );
    assert_eq!(row.budget, new.budget);
    assert_eq!(
        row.metadata.keys().collect::<Vec<_>>(),
        ["zeta", "alpha"],
        "in the client's order"
    );
    assert_eq!(
        (row.head, row.epoch, row.held, row.turn, row.attempts),
        (0, 0, false, 0, 0)
    );
    assert_eq!((row.status, row.stop_reason, row.ready_at), (Status::Idle, None, None));
    assert_eq!((row.archived_at, row.deleted_at, row.quarantined), (None, None, false));
}

async fn first_events_come_with_the_creation(rig: Rig) {
    let key = rig.key();
    let mut new = new_session(key);
    new.events = vec![rig.message("one"), rig.message("two")];
    new.projection = Projection {
        ready: Ready::Now,
        ..Projection::of(&new.events)
    };
    let made = rig.store.create(new, None).await.unwrap();
    assert_eq!((made.first_seq, made.last_seq), (1, 2));
    let owner = rig.owner().await;
    assert_eq!(rig.claim(owner, 1).await[0].row.head, 2);
    assert_eq!(rig.log(key).await.len(), 2);
}

async fn newest_first_unless_ascending(rig: Rig) {
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(rig.session().await.session);
        rig.clock.advance(1);
    }
    let ascending = SessionFilter {
        ascending: true,
        ..all()
    };
    assert_eq!(rig.find(ascending).await, made);
    made.reverse();
    assert_eq!(rig.find(all()).await, made);
    let first = SessionFilter { limit: 1, ..all() };
    assert_eq!(rig.find(first).await, made[..1]);
}

async fn pages_with_equal_times_are_complete(rig: Rig) {
    let mut made = Vec::new();
    for n in 0..9 {
        made.push(rig.session().await.session);
        if n % 4 == 3 {
            rig.clock.advance(1);
        }
    }
    for ascending in [true, false] {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = SessionFilter {
                ascending,
                cursor,
                limit: 2,
                ..SessionFilter::default()
            };
            let rows = rig.store.find(rig.workspace, page).await.unwrap();
            let Some(last) = rows.last() else { break };
            cursor = Some((last.created_at, last.key.session));
            seen.extend(rows.iter().map(|row| row.key.session));
        }
        if !ascending {
            seen.reverse();
        }
        seen.sort_unstable();
        made.sort_unstable();
        assert_eq!(seen, made);
    }
}

async fn find_by_agent_and_version(rig: Rig) {
    let other = AgentSnapshot {
        id: AgentId::from_uuid(Uuid::from_u128(77)),
        version: 3,
        ..agent()
    };
    let key = rig.key();
    let mut new = new_session(key);
    new.agent = other.clone();
    rig.store.create(new, None).await.unwrap();
    let plain = rig.session().await;
    let by = |agent, version| SessionFilter {
        agent_id: Some(agent),
        agent_version: version,
        ..all()
    };
    assert_eq!(rig.find(by(other.id, None)).await, [key.session]);
    assert_eq!(rig.find(by(other.id, Some(3))).await, [key.session]);
    assert!(rig.find(by(other.id, Some(1))).await.is_empty());
    assert_eq!(rig.find(by(agent().id, Some(1))).await, [plain.session]);
    let mut patch = client(plain, vec![], Ready::Keep);
    patch.projection.patch.agent = Some(other.clone());
    rig.append(patch).await.unwrap();
    assert_eq!(
        rig.find(by(other.id, Some(3))).await.len(),
        2,
        "a patched agent is found under its new name"
    );
}

async fn find_by_served_status(rig: Rig) {
    let (idle, ready) = (rig.session().await, rig.session().await);
    rig.say(ready, "hi").await;
    let by = |statuses: &[Status]| SessionFilter {
        statuses: statuses.to_vec(),
        ..all()
    };
    assert_eq!(rig.find(by(&[Status::Idle])).await, [idle.session]);
    assert_eq!(rig.find(by(&[Status::Running])).await, [ready.session]);
    assert_eq!(rig.find(by(&[Status::Running, Status::Idle])).await.len(), 2);
    assert!(rig.find(by(&[Status::Terminated])).await.is_empty());
}

async fn find_within_times(rig: Rig) {
    let first = rig.session().await.session;
    let at = rig.now();
    rig.clock.advance(10);
    let second = rig.session().await.session;
    let created = |created| SessionFilter { created, ..all() };
    let none = TimeBounds::default();
    assert_eq!(rig.find(created(TimeBounds { lte: Some(at), ..none })).await, [first]);
    assert_eq!(rig.find(created(TimeBounds { gt: Some(at), ..none })).await, [second]);
    assert_eq!(rig.find(created(TimeBounds { gte: Some(at), ..none })).await.len(), 2);
    assert!(rig.find(created(TimeBounds { lt: Some(at), ..none })).await.is_empty());
}

async fn find_those_that_wait(rig: Rig) {
    let (done, _, epoch) = rig.held().await;
    rig.append(holder(done, epoch, vec![rig.idle(StopReason::EndTurn)]))
        .await
        .unwrap();
    let (asks, _, epoch) = rig.held().await;
    let reason = StopReason::RequiresAction {
        event_ids: vec![event_id()],
    };
    rig.append(holder(asks, epoch, vec![rig.idle(reason)])).await.unwrap();
    rig.session().await;
    let waiting = SessionFilter { waiting: true, ..all() };
    assert_eq!(rig.find(waiting).await, [asks.session]);
    assert_eq!(rig.find(all()).await.len(), 3);
}

async fn find_those_that_were_confirmed(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let asks = rig.tool_use(Permission::Ask);
    let tool = asks.id;
    rig.append(holder(key, epoch, vec![asks])).await.unwrap();
    let confirmed = SessionFilter {
        confirmed: true,
        ..all()
    };
    rig.session().await;
    assert!(rig.find(confirmed.clone()).await.is_empty());
    rig.append(client(key, vec![rig.confirmation(tool)], Ready::Now))
        .await
        .unwrap();
    assert_eq!(rig.find(confirmed).await, [key.session]);
}

async fn archived_ones_only_when_asked(rig: Rig) {
    let (kept, archived) = (rig.session().await, rig.session().await);
    let mut archive = client(archived, vec![], Ready::Keep);
    archive.projection.patch.archive = true;
    rig.append(archive).await.unwrap();
    assert_eq!(rig.find(all()).await, [kept.session]);
    let with = SessionFilter {
        include_archived: true,
        ..all()
    };
    assert_eq!(rig.find(with).await.len(), 2);
}

async fn deleted_ones_never(rig: Rig) {
    let key = rig.session().await;
    rig.say(key, "hi").await;
    let mut delete = client(key, vec![], Ready::Keep);
    delete.projection.patch.delete = true;
    let done = rig.append(delete).await.unwrap();
    let with = SessionFilter {
        include_archived: true,
        ..all()
    };
    assert!(rig.find(with).await.is_empty());
    let row = rig.row(key).await;
    assert_eq!(
        (row.deleted_at, row.ready_at),
        (Some(done.at), None),
        "the tombstone stays readable"
    );
}
