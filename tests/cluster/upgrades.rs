//! F28: a rolling upgrade. Old and new workers side by side, in numbers that change, while processes are killed, frozen and cut
//! off; half of the sessions have an event that the old ones do not know.
//!
//! An old worker is this build told to know less: which types of events it knows is what divides one version from the next here,
//! and what a worker says its version is.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use perennial_proof::prove::{self, Fault, House, Plan, Until};
use perennial_tests::client::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::place::{Place, either, say, seed};

/// What old workers do not know.
const LATER: &str = "system.message";
const PATIENCE: Duration = Duration::from_secs(60);
/// A worker that did not pass by what it yielded would claim it again with every sweep, and every wake-up.
const A_WHILE: i64 = 1_000;
/// Times that one session may be yielded by one worker within that: it looks at it once, and once more each time it was killed and
/// started again.
const AGAIN: usize = 4;

fn later() -> Value {
    json!({"type": LATER, "content": [{"type": "text", "text": "Be brief."}]})
}

#[tokio::test]
async fn old_and_new_workers_side_by_side() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house(2, 3).await?.with_outages(place.outages());
    let house = house.with_older(LATER).await?;
    let counts = [
        (Fault::ReplaceWorker, either(60, 4)),
        (Fault::KillWorker, either(150, 6)),
        (Fault::KillServer, either(40, 2)),
        (Fault::Freeze, either(20, 1)),
        (Fault::CutCommit, either(40, 2)),
        (Fault::IsolateWorker, either(20, 0)),
        (Fault::CrashDatabase, either(10, 0)),
        (Fault::CrashBus, either(10, 0)),
    ];
    let plan = Plan {
        seed: seed("upgrades"),
        sessions: 8,
        until: Until::Counts(counts.into()),
        sabotage: None,
        opening: Some(later()),
    };
    let verdict = prove::run(&plan, house, &|_| {}).await?;
    for line in verdict.table().lines() {
        say(format_args!("{line}"));
    }
    assert!(verdict.is_clean(), "{:#?}", verdict.violations);
    ensure!(verdict.yielded > 0, "no session was ever yielded: the rig is vacuous");
    let most = most_at_once(&place)?;
    say(format_args!(
        "upgrades: {} sessions yielded by old workers, one worker the same one at most {most} times a second",
        verdict.yielded
    ));
    ensure!(most <= AGAIN, "an old worker claimed a session again and again: {most}");
    Ok(())
}

/// How often one worker yielded one session within a while, at most.
fn most_at_once(place: &Place) -> Result<usize> {
    let mut yielded: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    for entry in std::fs::read_dir(place.dir.path())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.contains("-worker-") && name.ends_with(".log")) {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            if !line.contains("yielding a session") {
                continue;
            }
            let at = line
                .split_whitespace()
                .next()
                .and_then(|at| at.parse::<DateTime<Utc>>().ok());
            let session = line
                .split("session.id=")
                .nth(1)
                .and_then(|rest| rest.split([' ', '}']).next());
            let (at, session) = at.zip(session).with_context(|| line.to_owned())?;
            yielded
                .entry((name.clone(), session.to_owned()))
                .or_default()
                .push(at.timestamp_millis());
        }
    }
    let within = |times: &Vec<i64>| {
        let following = |first: &i64| {
            let window = times.iter().filter(|at| (*first..*first + A_WHILE).contains(*at));
            window.count()
        };
        times.iter().map(following).max().unwrap_or(0)
    };
    Ok(yielded.values().map(within).max().unwrap_or(0))
}

/// Nobody is there who knows: the session waits for a while, and is then set aside with a word of what to do. Whoever does it finds
/// it whole. And a schema that a later version has changed: who runs goes on, who starts says what is wrong.
#[tokio::test]
async fn what_nobody_knows_is_set_aside_until_somebody_does() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let mut house = place.house(1, 1).await?.with_older(LATER).await?;
    let door = house.doors().requests.first().context("no node")?.clone();
    let (agent, environment) = door.agent_and_environment("rehearsal-1").await?;
    let plain = door.session(&agent, &environment).await?;
    let odd = door.session(&agent, &environment).await?;
    let path = format!("/v1/sessions/{odd}");
    door.post(&format!("{path}/events"), &json!({"events": [later()]}))
        .await?
        .ok()?;
    door.say(&plain, "/say known").await?;
    door.until_idle(&plain, 0, PATIENCE).await?;

    let (events, last) = door.until_idle(&odd, 0, PATIENCE).await?;
    let told = events
        .iter()
        .find(|event| event["type"] == "session.error")
        .with_context(|| format!("{events:#?}"))?;
    let why = told["error"]["message"].as_str().context("a message")?;
    ensure!(
        why.contains(&format!("does not know the event {LATER} at seq 1; upgrade")),
        "{why}"
    );
    ensure!(
        door.get(&format!("{path}?include=extensions")).await?.ok()?["perennial"]["quarantined"] == json!(true),
        "it is not set aside"
    );

    house.upgrade().await?;
    door.post(&format!("{path}/retry"), &json!({})).await?.ok()?;
    door.say(&odd, "/say understood").await?;
    let (events, _) = door.until_idle(&odd, last, PATIENCE).await?;
    ensure!(
        events.iter().any(|event| event["type"] == "agent.message"),
        "it does not go on: {events:#?}"
    );

    one_migration_ahead(&place, &mut house, &door, &plain).await?;
    house.close().await;
    Ok(())
}

/// As a later version would leave it: tables have columns more, and a migration is noted that this version does not have.
async fn one_migration_ahead(place: &Place, house: &mut House, door: &Client, session: &str) -> Result<()> {
    let mut database = PgConnection::connect(place.urls().0).await?;
    let schema = house.schema().context("a cluster has a schema")?.to_owned();
    for statement in [
        format!("SET search_path TO {schema}"),
        "ALTER TABLE sessions ADD COLUMN later text".to_owned(),
        "ALTER TABLE session_details ADD COLUMN later text".to_owned(),
        "ALTER TABLE owners ADD COLUMN later text".to_owned(),
        "ALTER TABLE workers ADD COLUMN later text".to_owned(),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'later', true, '', 0)"
            .to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut database)
            .await?;
    }
    database.close().await?;
    let after = door.log(session).await?.len() as u64;
    door.say(session, "/say on\n/tool glob {\"pattern\":\"*\"}\n/then\n/say and on")
        .await?;
    let (events, _) = door.until_idle(session, after, PATIENCE).await?;
    ensure!(
        events.iter().any(|event| event["type"] == "agent.tool_result"),
        "who ran before does not go on: {events:#?}"
    );
    let refused = house
        .restart_node(0)
        .await
        .err()
        .context("an old server started on a newer schema")?;
    let refused = format!("{refused:#}");
    ensure!(
        refused.contains("the database's schema is newer than this program"),
        "{refused}"
    );
    Ok(())
}
