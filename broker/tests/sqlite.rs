//! What only the SQLite backend can suffer: a second server, a crash, a full or read-only disk, damaged rows.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it finds a fault")]

#[path = "../../tests/conformance/fixture.rs"]
#[expect(dead_code, reason = "the suite's fixture; these tests need a part of it")]
mod fixture;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fixture::{Hand, Rig, TTL, client, event_id, holder, open};
use perennial_broker::log::sqlite::{OpenError, Settings, Sqlite, migrate};
use perennial_engine::ports::{
    AppendError, Log as _, ReadFrom, Ready, SessionFilter, SessionKey, Sessions as _, StoreError,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};

/// A store on a directory, and a rig over it.
async fn store(dir: &Path) -> (Arc<Sqlite>, Rig) {
    let clock = Hand::new();
    let sqlite = Arc::new(open(dir, &clock).await);
    let rig = Rig::over(Arc::<Sqlite>::clone(&sqlite), clock);
    (sqlite, rig)
}

async fn try_open(dir: &Path) -> Result<Sqlite, OpenError> {
    Sqlite::open(dir, Settings::default()).await
}

/// A foreign hand on the database file.
async fn meddler(dir: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(dir.join("perennial.db"))
        .connect()
        .await
        .unwrap()
}

async fn meddle(dir: &Path, sql: &'static str) {
    meddler(dir).await.execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (first, rig) = store(dir.path()).await;
    let Err(OpenError::Held { path, by }) = try_open(dir.path()).await else {
        panic!("two servers on one data directory");
    };
    assert_eq!((path, by), (dir.path().join("lock"), std::process::id().to_string()));
    assert!(matches!(migrate(dir.path()).await, Err(OpenError::Held { .. })));
    rig.session().await;
    first.shutdown().await;
    try_open(dir.path()).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn dropping_the_store_gives_the_lock_back() {
    let dir = tempfile::tempdir().unwrap();
    drop(try_open(dir.path()).await.unwrap());
    for _ in 0..500 {
        match try_open(dir.path()).await {
            Ok(again) => return again.shutdown().await,
            Err(OpenError::Held { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("still locked");
}

#[tokio::test]
async fn a_child_does_not_inherit_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let first = try_open(dir.path()).await.unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    first.shutdown().await;
    let again = try_open(dir.path()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    again.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_place_that_is_no_directory_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let Err(error) = try_open(&file.path().join("data")).await else {
        panic!("opened inside a file");
    };
    assert!(matches!(&error, OpenError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("perennial.db"),
        "this is no database, but long enough to be taken for one".repeat(99),
    )
    .unwrap();
    let Err(error) = try_open(dir.path()).await else {
        panic!("opened a text file");
    };
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[tokio::test]
async fn migrating_twice_is_migrating_once() {
    let dir = tempfile::tempdir().unwrap();
    migrate(dir.path()).await.unwrap();
    migrate(dir.path()).await.unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    rig.session().await;
    sqlite.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_the_log_and_frees_the_leases() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let (key, _, epoch) = rig.held().await;
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
    let (rested, _, rested_epoch) = rig.held().await;
    rig.append(rig.rest(rested, rested_epoch, 1)).await.unwrap();
    let log = rig.log(key).await;
    sqlite.shutdown().await;

    let sqlite = Arc::new(open(dir.path(), &rig.clock).await);
    let rig = Rig {
        store: Arc::<Sqlite>::clone(&sqlite),
        ..rig
    };
    assert_eq!(rig.log(key).await, log);
    let row = rig.row(key).await;
    assert_eq!(
        (row.held, row.attempts, row.epoch),
        (false, 1, epoch),
        "the lock proves the owner dead"
    );
    assert_eq!(rig.row(rested).await.attempts, 0);
    let zombie = rig.append(holder(key, epoch, vec![rig.answer_text("boo")])).await;
    assert!(matches!(zombie, Err(AppendError::Fenced { .. })), "{zombie:?}");
    let owner = rig.owner().await;
    assert_eq!(
        rig.claim(owner, 10).await[0].row.epoch,
        epoch + 1,
        "at once, without waiting for {TTL} ms"
    );
    sqlite.shutdown().await;
}

#[tokio::test]
async fn after_shutdown_everything_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let key = rig.session().await;
    sqlite.shutdown().await;
    sqlite.shutdown().await;
    let append = rig.append(client(key, vec![rig.message("x")], Ready::Now)).await;
    assert!(
        matches!(append, Err(AppendError::Store(StoreError::Unavailable { .. }))),
        "{append:?}"
    );
    let read = sqlite.get(key).await;
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
}

#[tokio::test]
async fn shutdown_finishes_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let key = rig.session().await;
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move { rig.append(client(key, vec![rig.message("x")], Ready::Now)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    sqlite.shutdown().await;
    let mut acknowledged = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(AppendError::Store(StoreError::Unavailable { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let again = Arc::new(open(dir.path(), &rig.clock).await);
    assert_eq!(
        again.get(key).await.unwrap().unwrap().head,
        acknowledged,
        "every answer was true"
    );
    again.shutdown().await;
}

#[tokio::test]
async fn a_damaged_session_hurts_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let (bad, good) = (rig.session().await, rig.session().await);
    for key in [bad, good] {
        rig.say(key, "hi").await;
    }
    damage(
        dir.path(),
        "UPDATE session_details SET agent = '{nope' WHERE session = 1",
    )
    .await;
    told(sqlite.get(bad).await, "sessions", &bad.session.to_string());
    rig.row(good).await;
    let owner = rig.owner().await;
    let claimed = rig.claim(owner, 1).await;
    assert!(claimed.is_empty() || claimed[0].row.key == good);
    let rest = rig.claim(owner, 1).await;
    let all: Vec<SessionKey> = claimed.into_iter().chain(rest).map(|claimed| claimed.row.key).collect();
    assert_eq!(all, [good], "the damaged one does not stand in the way");
    told(
        sqlite
            .find(
                rig.workspace,
                SessionFilter {
                    limit: 9,
                    ..SessionFilter::default()
                },
            )
            .await,
        "sessions",
        "",
    );
    sqlite.shutdown().await;
}

#[tokio::test]
async fn a_damaged_head_refuses_its_own_appends_only() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let (bad, good) = (rig.session().await, rig.session().await);
    damage(dir.path(), "UPDATE sessions SET status = 'bogus' WHERE number = 1").await;
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (rig, key) = (rig.clone(), if n % 2 == 0 { bad } else { good });
            tokio::spawn(async move { (key, rig.append(client(key, vec![rig.message("x")], Ready::Now)).await) })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            (key, Ok(_)) => assert_eq!(key, good),
            (key, Err(AppendError::Store(error))) => {
                assert_eq!(key, bad);
                told::<()>(Err(error), "sessions", &bad.session.to_string());
            }
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(rig.row(good).await.head, 10);
    sqlite.shutdown().await;
}

#[tokio::test]
async fn a_damaged_event_is_told_and_never_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let key = rig.session().await;
    for _ in 0..3 {
        rig.say(key, "hi").await;
    }
    damage(
        dir.path(),
        "DROP TRIGGER commits_never_change; UPDATE commits SET events = x'ff' WHERE position & 4294967295 = 2",
    )
    .await;
    let read = |after, limit| sqlite.read(key, ReadFrom { after, limit });
    told(read(0, 10).await, "commits", &format!("{}/2", key.session));
    assert_eq!(read(2, 10).await.unwrap().len(), 1);
    rig.say(key, "the log goes on").await;
    sqlite.shutdown().await;
}

async fn damage(dir: &Path, sql: &'static str) {
    meddle(dir, sql).await;
}

fn told<T: std::fmt::Debug>(answer: Result<T, StoreError>, table: &str, key: &str) {
    match answer {
        Err(StoreError::Inconsistent { table: t, key: k, .. }) => {
            assert_eq!(t, table);
            assert!(k.contains(key), "{k}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stored_events_cannot_be_changed_or_removed_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let key = rig.session().await;
    rig.say(key, "hi").await;
    let mut hand = meddler(dir.path()).await;
    for sql in ["UPDATE commits SET events = x''", "DELETE FROM commits"] {
        let error = hand.execute(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    let mut delete = client(key, vec![], Ready::Keep);
    delete.projection.patch.delete = true;
    rig.append(delete).await.unwrap();
    hand.execute("DELETE FROM commits").await.unwrap();
    sqlite.shutdown().await;
}

#[tokio::test]
async fn a_foreign_writer_makes_it_busy_not_broken() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let key = rig.session().await;
    let mut hand = meddler(dir.path()).await;
    hand.execute("BEGIN IMMEDIATE").await.unwrap();
    let busy = rig.append(client(key, vec![rig.message("x")], Ready::Now)).await;
    let Err(AppendError::Store(StoreError::Unavailable { message, .. })) = busy else {
        panic!("{busy:?}");
    };
    assert!(message.contains("another program is writing"), "{message}");
    assert_eq!(rig.row(key).await.head, 0, "reading goes on");
    hand.execute("ROLLBACK").await.unwrap();
    rig.say(key, "y").await;
    sqlite.shutdown().await;
}

#[tokio::test]
async fn the_accounts_pool_and_the_writer_share_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let key = rig.session().await;
    let pool = sqlite.pool_for_accounts();
    pool.execute("CREATE TABLE t_accounts (n INTEGER)").await.unwrap();
    let writes = {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let mut connection = pool.acquire().await.unwrap();
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                connection.execute("INSERT INTO t_accounts VALUES (1)").await.unwrap();
                connection.execute("COMMIT").await.unwrap();
            }
        })
    };
    for _ in 0..50 {
        rig.say(key, "x").await;
    }
    writes.await.unwrap();
    // A transaction left open by a dropped handler does not reach the next borrower.
    for _ in 0..4 {
        let mut connection = pool.acquire().await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        connection.execute("INSERT INTO t_accounts VALUES (2)").await.unwrap();
        drop(connection);
        let mut next = pool.acquire().await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM t_accounts WHERE n = 2")
            .fetch_one(&mut *next)
            .await
            .unwrap();
        assert_eq!(left, 0);
    }
    assert_eq!(rig.row(key).await.head, 50);
    sqlite.shutdown().await;
}

/// The directory of a test that runs on the small disk: it calls itself again there.
const SMALL_DISK: &str = "PERENNIAL_TEST_DIR";

/// The small disk, once the test runs on it. Before, runs the test of that name again in a mount namespace with a small
/// tmpfs. Where the system allows no mounts at all there is no such disk to fill, and the test says so.
fn small_disk(test: &str, mount_options: &str) -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os(SMALL_DISK) {
        return Some(dir.into());
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o {mount_options} tmpfs \"${SMALL_DISK}\" || exit 77; exec \"$0\" --exact {test} --nocapture"
    );
    for namespace in ["-m", "-Urm"] {
        let output = Command::new("unshare")
            .args([namespace, "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(SMALL_DISK, dir.path())
            .output();
        let Ok(output) = output else { continue };
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) || text.contains("unshare failed") {
            continue;
        }
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return None;
    }
    println!("not tested: this system allows no mounts");
    None
}

#[tokio::test]
async fn a_read_only_directory_is_told() {
    let Some(dir) = small_disk("a_read_only_directory_is_told", "size=4m,ro") else {
        return;
    };
    let Err(error) = try_open(&dir).await else {
        panic!("opened on a read-only disk");
    };
    assert!(matches!(&error, OpenError::Directory { .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers() {
    let Some(dir) = small_disk("a_full_disk_refuses_writes_and_recovers", "size=6m") else {
        return;
    };
    let dir = dir.as_path();
    let ballast = dir.join("ballast");
    let reserve = dir.join("reserve");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    std::fs::write(&reserve, vec![0; 1 << 18]).unwrap();
    let (sqlite, rig) = store(dir).await;
    let key = rig.session().await;
    let mut acknowledged = 0;
    for round in 0..3 {
        let refused = loop {
            // What cannot be packed, so that it is the disk that ends.
            let noise: String = (0..625).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
            let append = client(key, vec![rig.message(&noise)], Ready::Now);
            match rig.append(append).await {
                Ok(done) => acknowledged = done.last_seq,
                Err(error) => break error,
            }
            assert!(acknowledged < 1000, "the disk never fills");
        };
        let AppendError::Store(StoreError::Unavailable { message, .. }) = &refused else {
            panic!("{refused:?}");
        };
        assert!(message.contains("free some space"), "{message}");
        assert_eq!(
            rig.row(key).await.head,
            acknowledged,
            "reading goes on, and nothing is torn"
        );
        if round == 0 {
            std::fs::remove_file(&ballast).unwrap();
        } else {
            break;
        }
        let done = rig
            .append(client(key, vec![rig.message("after")], Ready::Now))
            .await
            .unwrap();
        assert_eq!(
            done.first_seq,
            acknowledged + 1,
            "writing resumes by itself, without a gap"
        );
        acknowledged = done.last_seq;
    }
    assert_eq!(rig.log(key).await.len() as u64, acknowledged);
    sqlite.shutdown().await;
    // Opening writes a little.
    std::fs::remove_file(&reserve).unwrap();
    let again = Arc::new(open(dir, &rig.clock).await);
    assert_eq!(
        again.get(key).await.unwrap().unwrap().head,
        acknowledged,
        "every answer was true"
    );
    assert!(again.event(key, event_id()).await.unwrap().is_none());
    again.shutdown().await;
}

/// Logs that were stored a row per event are read as they were, and go on.
#[tokio::test]
async fn old_rows_are_carried_over() {
    static ALL: sqlx::migrate::Migrator = sqlx::migrate!("../schema/migrations/sqlite");
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(dir.path().join("perennial.db"));
    let mut old = options.create_if_missing(true).connect().await.unwrap();
    let before = ALL.iter().filter(|migration| migration.version < 5).cloned().collect();
    sqlx::migrate::Migrator::with_migrations(before)
        .run(&mut old)
        .await
        .unwrap();
    let key = SessionKey {
        workspace: perennial_schema::WorkspaceId::from_uuid(uuid::Uuid::from_u128(1)),
        session: perennial_schema::SessionId::from_uuid(uuid::Uuid::from_u128(2)),
    };
    old.execute(
        "INSERT INTO sessions (number, workspace_id, id, head, epoch, status, turn, attempts, quarantined, input_tokens,
            output_tokens, cache_creation_input_tokens, cache_read_input_tokens, agent_id, agent_version, created_at, updated_at)
         VALUES (1, x'00000000000000000000000000000001', x'00000000000000000000000000000002', 2, 0, 'idle', 3, 0, 0, 0, 0, 0, 0,
            x'00000000000000000000000000000003', 1, 0, 0);
         INSERT INTO events (position, session, workspace_id, seq, id, kind, turn, actor, thread_id, created_at, payload, private)
         VALUES (1 << 32 | 1, 1, x'00000000000000000000000000000001', 1, x'0000000000000000000000000000000a', 'user.message', 0,
                CAST(x'770068c3b0' AS TEXT), NULL, 7, CAST(x'7b2261223a22c3a900227d' AS TEXT), NULL),
            (1 << 32 | 2, 1, x'00000000000000000000000000000001', 2, x'0000000000000000000000000000000b', 'agent.message', 3,
                NULL, 'thread', 8, '{\"b\":2}', '{\"native_id\":\"x\"}');
         INSERT INTO appends (session, append_id, workspace_id, first_seq, last_seq, turn, at) VALUES (1,
            x'0000000000000000000000000000000c', x'00000000000000000000000000000001', 1, 2, 3, 8);",
    )
    .await
    .unwrap();
    old.close().await.unwrap();
    let (sqlite, rig) = store(dir.path()).await;
    let log = sqlite.read(key, ReadFrom { after: 0, limit: 10 }).await.unwrap();
    assert_eq!(log.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2]);
    let (one, two) = (&log[0], &log[1]);
    assert_eq!(
        (one.payload.as_str(), one.actor.as_deref()),
        ("{\"a\":\"é\0\"}", Some("w\0hð"))
    );
    assert_eq!(
        (one.kind.as_str(), one.turn, one.created_at.micros()),
        ("user.message", 0, 7)
    );
    assert_eq!(
        (two.payload.as_str(), two.private.as_deref()),
        ("{\"b\":2}", Some("{\"native_id\":\"x\"}"))
    );
    assert_eq!(
        (two.thread_id.as_deref(), two.turn, two.created_at.micros()),
        (Some("thread"), 3, 8)
    );
    let mut again = client(key, vec![rig.message("again")], Ready::Keep);
    again.append_id = perennial_schema::AppendId::from_uuid(uuid::Uuid::from_u128(12));
    let again = sqlite.append(again).await.unwrap();
    assert_eq!((again.replayed, again.first_seq, again.last_seq), (true, 1, 2));
    let next = sqlite
        .append(client(key, vec![rig.message("next")], Ready::Keep))
        .await
        .unwrap();
    assert_eq!(next.first_seq, 3);
    sqlite.shutdown().await;
}
