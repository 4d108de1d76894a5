//! The kill rig on one machine: SIGKILL at every failpoint of a turn and at random moments. After the restart every session
//! rests, and the oracle finds nothing lost, repeated or out of order.
//!
//! `PERENNIAL_TORTURE=1` runs the full counts; `make test` runs a tenth.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use perennial_tests::client::{Client, message};
use perennial_tests::oracle::{Counters, Evidence, Post, View, Violation, check};
use perennial_tests::server::{Server, Up};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Longest a session may take to rest after the restart.
const PATIENCE: Duration = Duration::from_secs(60);

const FAILPOINTS: &[&str] = &[
    "worker.claim.before",
    "worker.claim.after",
    "worker.model.before",
    "worker.model.after",
    "worker.append.before",
    "worker.append.after",
    "worker.dispatch.before",
    "worker.dispatch.after",
    "worker.result.before",
    "worker.result.after",
    "worker.rest.before",
    "worker.rest.after",
    "executor.start.before",
    "executor.start.after",
    "executor.end.before",
    "executor.end.after",
    "broker.commit.before",
    "broker.commit.after",
    "api.send.before",
    "api.send.after",
];

fn torture() -> bool {
    std::env::var_os("PERENNIAL_TORTURE").is_some()
}

/// A turn with three model steps, two of them with side effects, one of those with two calls in parallel.
const SCRIPT: &str = r#"/say beginning
/tool bash {"command":"echo MARK-a >> ledger; sleep 0.05"}
/then
/tokens 5 5
/tool bash {"command":"echo MARK-b >> ledger"}
/tool bash {"command":"echo MARK-c >> ledger; sleep 0.1"}
/then
/say done"#;

/// One world: a data directory, a session in it, and what its client was told.
struct World {
    dir: tempfile::TempDir,
    session: String,
    agent: String,
    environment: String,
    posts: Vec<Post>,
    seen: Vec<(u64, Value)>,
    turns: u32,
}

impl World {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    async fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let server = Up::on(&dir.path().join("data")).start().await?;
        let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
        let session = server.client.session(&agent, &environment).await?;
        server.kill().await?;
        Ok(Self {
            dir,
            session,
            agent,
            environment,
            posts: Vec::new(),
            seen: Vec::new(),
            turns: 0,
        })
    }

    /// Sends one message, however often the server dies meanwhile: the same idempotency key until it is acknowledged.
    async fn send(&mut self, client: &Client) -> Result<()> {
        let mark = format!("t{}", self.turns);
        let body = message(&SCRIPT.replace("MARK", &mark));
        let answer = client
            .post_once(&format!("/v1/sessions/{}/events", self.session), &mark, &body)
            .await?
            .ok()?;
        self.posts.push(Post {
            key: mark,
            ids: vec![answer["data"][0]["id"].as_str().context("no id")?.to_owned()],
        });
        self.turns += 1;
        Ok(())
    }

    /// What is known of the session, streams aside.
    fn evidence(&self, log: Vec<Value>) -> Evidence {
        Evidence {
            log,
            posts: self.posts.clone(),
            effects: self.effects(),
            journal: self.journal(),
            at_rest: true,
            ..Evidence::default()
        }
    }

    fn journal(&self) -> Vec<Value> {
        let path = self.data().join(format!("executor/journal/{}.jsonl", self.session));
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn effects(&self) -> Vec<String> {
        let path = self.data().join("workspaces").join(&self.session).join("ledger");
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// Follows the stream, remembering what was seen, until the connection breaks or the session rests.
async fn follow(client: Client, session: String, view: Arc<Mutex<Vec<(u64, Value)>>>) -> Result<()> {
    let last = view.lock().await.last().map_or(0, |(seq, _)| *seq);
    let mut stream = client.stream(&session, "?include=extensions", Some(last)).await?;
    while let Some(frame) = stream.next().await? {
        if let Some(seq) = frame.seq {
            view.lock().await.push((seq, frame.data));
        }
    }
    Ok(())
}

/// One life of the server that is to end by SIGKILL, then one that is to bring the session to rest.
async fn die_and_recover(
    world: &mut World,
    kill_at: Option<&str>,
    kill_after: Option<Duration>,
) -> Result<Vec<Violation>> {
    let view = Arc::new(Mutex::new(std::mem::take(&mut world.seen)));
    let mut up = Up::on(&world.data());
    if let Some(point) = kill_at {
        up = up.env("PERENNIAL_KILL_AT", point);
    }
    // The failpoint may be hit while the server starts, before it listens.
    let first = up.start().await;
    let mut acknowledged = false;
    if let Ok(mut server) = first {
        let follower = tokio::spawn(follow(server.client.clone(), world.session.clone(), view.clone()));
        acknowledged = world.send(&server.client.clone()).await.is_ok();
        match kill_after {
            Some(delay) => tokio::time::sleep(delay).await,
            None => server
                .ended(Duration::from_secs(10))
                .await
                .with_context(|| format!("{kill_at:?} was never hit"))?,
        }
        if !server.is_gone() {
            server.kill().await?;
        }
        follower.await?.ok();
    }
    let server = Up::on(&world.data()).start().await?;
    let follower = tokio::spawn(follow(server.client.clone(), world.session.clone(), view.clone()));
    if !acknowledged {
        world.send(&server.client).await?;
    }
    let verdict = recovered(world, &server, &view).await;
    let log = Up::on(&world.data()).log();
    follower.abort();
    server.kill().await?;
    world.seen = std::mem::take(&mut *view.lock().await);
    verdict.with_context(|| format!("server log:\n{log}"))
}

/// Waits for rest and for the stream to have shown the whole log, then asks the oracle.
async fn recovered(world: &World, server: &Server, view: &Arc<Mutex<Vec<(u64, Value)>>>) -> Result<Vec<Violation>> {
    server.client.until_idle(&world.session, 0, PATIENCE).await?;
    let log = server.client.log(&world.session).await?;
    let head = log.last().and_then(|event| event["seq"].as_u64()).unwrap_or(0);
    let started = Instant::now();
    while view.lock().await.last().map(|(seq, _)| *seq) != Some(head) {
        if started.elapsed() > PATIENCE {
            bail!(
                "the resumed stream stays at {:?}, the log is at {head}",
                view.lock().await.last().map(|(seq, _)| *seq)
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let view = View {
        after: 0,
        seen: view.lock().await.clone(),
        complete: true,
    };
    let evidence = Evidence {
        views: vec![view],
        ..world.evidence(log)
    };
    COUNTERS.with_borrow_mut(|counters| Ok(check(&evidence, counters)))
}

thread_local! {
    static COUNTERS: std::cell::RefCell<Counters> = std::cell::RefCell::default();
}

fn report(what: &str, kills: usize, violations: &[String]) {
    COUNTERS.with_borrow(|counters| {
        println!(
            // The test runner has not ended the line with the test's name.
            "\n{what}: {kills} SIGKILLs, {counters:?}, {} violations",
            violations.len()
        );
    });
    assert!(violations.is_empty(), "{violations:#?}");
}

#[tokio::test]
async fn sigkill_at_every_failpoint_of_a_turn() -> Result<()> {
    let mut violations = Vec::new();
    let mut kills = 0;
    let hits: &[u32] = if torture() { &[1, 2, 3, 4, 5] } else { &[1, 3] };
    for point in FAILPOINTS {
        let mut world = World::new().await?;
        for hit in hits.iter().filter(|hit| reachable(point, **hit)) {
            let kill_at = format!("{point}={hit}");
            let found = die_and_recover(&mut world, Some(&kill_at), None)
                .await
                .with_context(|| kill_at.clone())?;
            violations.extend(found.into_iter().map(|violation| format!("{kill_at}: {violation}")));
            kills += 1;
        }
    }
    report("failpoints", kills, &violations);
    COUNTERS.with_borrow(|counters| {
        assert!(counters.in_doubt > 0, "no call was ever in doubt: the rig is vacuous");
        assert!(
            counters.abandoned > 0,
            "no model request was ever abandoned: the rig is vacuous"
        );
    });
    Ok(())
}

/// How often one turn passes a failpoint, at least.
fn reachable(point: &str, hit: u32) -> bool {
    match point {
        "api.send.before" | "api.send.after" | "worker.rest.before" | "worker.rest.after" => hit <= 1,
        "worker.dispatch.before" | "worker.dispatch.after" => hit <= 2,
        "worker.claim.after" => hit <= 1,
        "worker.result.before" | "worker.result.after" => hit <= 2,
        _ => hit <= 3,
    }
}

#[tokio::test]
async fn sigkill_at_random_moments() -> Result<()> {
    let seed = std::env::var("PERENNIAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    let kills = if torture() { 200 } else { 20 };
    println!("\nseed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut violations = Vec::new();
    let mut world = World::new().await?;
    for kill in 0..kills {
        let delay = Duration::from_millis(rng.random_range(0..500));
        let found = die_and_recover(&mut world, None, Some(delay))
            .await
            .with_context(|| format!("seed {seed}, kill {kill} after {delay:?}"))?;
        violations.extend(
            found
                .into_iter()
                .map(|violation| format!("seed {seed}, kill {kill}: {violation}")),
        );
        if kill % 10 == 9 {
            world = World::new().await?;
        }
    }
    report("random moments", kills, &violations);
    Ok(())
}

/// SIGTERM: no new work, leases released, calls stay on their journal; the next process goes on at once.
#[tokio::test]
async fn sigterm_drains_and_the_turn_goes_on() -> Result<()> {
    let mut world = World::new().await?;
    let server = Up::on(&world.data()).start().await?;
    world.send(&server.client.clone()).await?;
    let status = server.stop(Duration::from_secs(25)).await?;
    assert!(status.success(), "{status}");
    let server = Up::on(&world.data()).start().await?;
    server.client.until_idle(&world.session, 0, PATIENCE).await?;
    let log = server.client.log(&world.session).await?;
    assert_eq!(check(&world.evidence(log), &mut Counters::default()), []);
    // The agent and environment of the world are still there.
    assert_eq!(
        server.client.get(&format!("/v1/agents/{}", world.agent)).await?.ok()?["id"],
        json!(world.agent)
    );
    assert_eq!(
        server
            .client
            .get(&format!("/v1/environments/{}", world.environment))
            .await?
            .ok()?["id"],
        json!(world.environment)
    );
    server.kill().await
}

/// A session that takes its worker down each time is tried again later and later, and after eight deaths set aside, visibly,
/// until somebody retries it (I15). `make test` goes as far as the first delay.
#[tokio::test]
async fn a_session_that_kills_its_worker_is_retried_later_and_then_set_aside() -> Result<()> {
    let deaths = if torture() { 8 } else { 3 };
    let world = World::new().await?;
    let mut server = Up::on(&world.data())
        .env("PERENNIAL_KILL_AT", "worker.claim.after=1")
        .start()
        .await?;
    // The answer may be lost with the server; that it was claimed shows that the message is in the log.
    let path = format!("/v1/sessions/{}/events", world.session);
    server
        .client
        .post_once(&path, "poison", &message("/say survived"))
        .await
        .ok();
    server.ended(Duration::from_secs(10)).await?;
    for death in 2..=deaths {
        let mut server = Up::on(&world.data())
            .env("PERENNIAL_KILL_AT", "worker.claim.after=1")
            .start()
            .await?;
        server
            .ended(Duration::from_secs(40))
            .await
            .with_context(|| format!("death {death}"))?;
    }
    let server = Up::on(&world.data()).start().await?;
    let (events, last) = server.client.until_idle(&world.session, 0, PATIENCE).await?;
    let has = |events: &[Value], kind: &str| events.iter().any(|event| event["type"] == kind);
    if !torture() {
        assert!(
            has(&events, "session.status_rescheduled") && has(&events, "agent.message"),
            "{events:#?}"
        );
        return server.kill().await;
    }
    assert!(
        has(&events, "session.error") && !has(&events, "agent.message"),
        "{events:#?}"
    );
    let row = server
        .client
        .get(&format!("/v1/sessions/{}?include=extensions", world.session))
        .await?
        .ok()?;
    assert_eq!(row["perennial"]["quarantined"], json!(true), "{row}");
    server
        .client
        .post(&format!("/v1/sessions/{}/retry", world.session), &json!({}))
        .await?
        .ok()?;
    let (events, _) = server.client.until_idle(&world.session, last, PATIENCE).await?;
    assert!(has(&events, "agent.message"), "{events:#?}");
    server.kill().await
}
