//! Databases of earlier versions.

use perennial_broker::log::postgres::migrate;
use perennial_engine::ports::{Log as _, ReadFrom, Ready, SessionKey};
use perennial_schema::{AppendId, SessionId, WorkspaceId};
use perennial_tests::postgres::Shared;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::{open, rig};
use crate::fixture::client;

static ALL: Migrator = sqlx::migrate!("../schema/migrations/postgres");

/// Logs that were stored a row per event are read as they were, and go on.
#[tokio::test]
async fn old_rows_are_carried_over() {
    let Some(server) = Shared::get().unwrap() else { return };
    let name = format!("u{}", Uuid::now_v7().simple());
    let url = server.database(&name, None).await.unwrap();
    let mut old = PgConnection::connect(&url).await.unwrap();
    let before = ALL.iter().filter(|migration| migration.version < 4).cloned().collect();
    Migrator::with_migrations(before).run(&mut old).await.unwrap();
    let key = SessionKey {
        workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
        session: SessionId::from_uuid(Uuid::from_u128(2)),
    };
    old.execute(
        "INSERT INTO sessions (number, agent_version, created_at, workspace_id, id, agent_id, head, updated_at, turn)
         VALUES (1, 1, now(), '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002',
            '00000000-0000-0000-0000-000000000003', 2, now(), 3);
         INSERT INTO events (session, seq, turn, created_at, appended, id, workspace_id, append_id, kind, actor, thread_id,
            payload, private)
         VALUES (1, 1, 0, to_timestamp(7), 2, '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001',
                '00000000-0000-0000-0000-00000000000c', 'user.message', '\"w\\u0000h\"', NULL, '\\x7b2261223a22c3a900227d', NULL),
            (1, 2, 3, to_timestamp(7), NULL, '00000000-0000-0000-0000-00000000000b', '00000000-0000-0000-0000-000000000001',
                NULL, 'agent.message', NULL, 'thread', '{\"b\":2}', '{\"native_id\":\"x\"}');",
    )
    .await
    .unwrap();
    old.close().await.unwrap();
    migrate(&url, None).await.unwrap();
    let store = open(&url).await;
    let rig = rig(&store);
    let log = store.read(key, ReadFrom { after: 0, limit: 10 }).await.unwrap();
    assert_eq!(log.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2]);
    let (one, two) = (&log[0], &log[1]);
    assert_eq!(
        (one.payload.as_str(), one.actor.as_deref()),
        ("{\"a\":\"é\0\"}", Some("w\0h"))
    );
    assert_eq!(
        (one.kind.as_str(), one.turn, one.created_at.micros()),
        ("user.message", 0, 7_000_000)
    );
    assert_eq!(
        (two.payload.as_str(), two.private.as_deref()),
        ("{\"b\":2}", Some("{\"native_id\":\"x\"}"))
    );
    assert_eq!((two.thread_id.as_deref(), two.turn), (Some("thread"), 3));
    let mut again = client(key, vec![rig.message("again")], Ready::Keep);
    again.append_id = AppendId::from_uuid(Uuid::from_u128(12));
    // This process has not seen the session: it looks before it writes.
    let again = store.append(again).await.unwrap();
    assert_eq!((again.replayed, again.first_seq, again.last_seq), (true, 1, 2));
    let next = store
        .append(client(key, vec![rig.message("next")], Ready::Keep))
        .await
        .unwrap();
    assert_eq!(next.first_seq, 3);
}
