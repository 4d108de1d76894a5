//! One run: nodes, clients, faults; then everything is healed and must come to rest; then the oracle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perennial_engine::ports::{
    Append, Authority, Guard, Log, NewSession, Projection, ReadFrom, Ready, SessionKey, SessionRow, Sessions,
};
use perennial_proof::oracle::{self, Counters, Evidence, View};
use perennial_schema::agent::{self, AgentSnapshot, ModelConfig};
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::Record;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{AgentId, AppendId, EnvironmentId, WorkspaceId};
use perennial_worker::{Settings, Worker};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::front::Letter;
use crate::hands::{EXECUTOR, Hands};
use crate::people::{Town, key, script};
use crate::plan::{Fault, Faults, Plan, mix};
use crate::ports;
use crate::world::{Life, RENEW, SWEEP, Sabotage, TTL, World, sleep};

/// How long a healed world may take to come to rest, in its own time. Poisoned sessions wait out their delays.
const REST: u64 = 60_000;
/// The same where nobody was put off: what I10 allows, and the turns that are still to be played.
const PROMPT: u64 = TTL + SWEEP + 5_000 + 3_000;

/// What a run came to.
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    /// Some session was tried again later, for the deaths of its holders.
    pub(crate) put_off: bool,
    pub(crate) fired: Vec<(u64, Fault)>,
    pub(crate) hash: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) oracle: Counters,
    /// Until everything rested after the faults, in milliseconds.
    pub(crate) healed_in: u64,
}

/// Sessions as their last change told.
type Summaries = Arc<Mutex<BTreeMap<SessionKey, SessionRow>>>;

type Seen = Arc<Mutex<Vec<(u64, String)>>>;

/// Runs a seed.
pub(crate) fn run(seed: u64, faults: Faults, sabotage: Sabotage) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(Plan::new(seed, faults), sabotage);
        let hands = Hands::new(&world);
        let town = Town::new(&world, 2);
        for node in 0..2 + mix(seed, 0, 40) % 2 {
            tokio::spawn(keep(Arc::clone(&world), Arc::clone(&hands), node as usize));
        }
        let summaries = Summaries::default();
        for n in 1..=2 {
            tokio::spawn(feed(Arc::clone(&world), key(n, 0).workspace, Arc::clone(&summaries)));
        }
        let sessions = play(&world, &town).await;
        world.heal();
        let healed = Instant::now();
        let mut violations = come_to_rest(&world, &sessions).await;
        let healed_in = u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX);
        violations.extend(outdated(&world, &sessions, &summaries).await);
        let mut put_off = false;
        let mut counters = Counters::default();
        for (key, seen) in &sessions {
            let evidence = evidence(&world, &hands, &town, *key, seen).await;
            violations.extend(odd_errors(&evidence.log));
            put_off |= evidence
                .log
                .iter()
                .any(|event| event["type"] == "session.status_rescheduled");
            let found = oracle::check(&evidence, &mut counters);
            violations.extend(found.iter().map(|violation| format!("{}: {violation}", key.session)));
        }
        // Put off by a clock that leapt, or by deaths (I15), it may take longer.
        let leaps = world
            .fired()
            .iter()
            .filter(|(_, fault)| *fault == Fault::ClockLeaps)
            .count() as u64;
        if !put_off && healed_in > PROMPT + leaps * (TTL + 1) {
            violations.push(format!("I10: it took {healed_in} ms to come to rest"));
        }
        Verdict {
            violations,
            put_off,
            fired: world.fired(),
            hash: world.hash(),
            counts: world.counts(),
            oracle: counters,
            healed_in,
        }
    })
}

/// A worker node: started again whenever it ended.
async fn keep(world: Arc<World>, hands: Arc<Hands>, node: usize) {
    let settings = Settings {
        name: format!("node {node}"),
        slots: 2,
        ttl: Duration::from_millis(TTL),
        renew: Duration::from_millis(RENEW),
        sweep: Duration::from_millis(SWEEP),
        place: Some(EXECUTOR),
        sole: false,
    };
    loop {
        let life = Life::new(node);
        let worker = Worker::new(ports::worker(&world, &life, &hands), settings.clone());
        let root = tokio::spawn(worker.run(life.drain.clone()));
        life.lives_in(root.abort_handle());
        let _killed = root.await;
        let decision = world.chance();
        sleep(10 + world.roll(decision, 7) % 700).await;
    }
}

/// The clients' part, until all have what they wanted. Gives the sessions.
async fn play(world: &Arc<World>, town: &Town) -> Vec<(SessionKey, Seen)> {
    let seed = world.plan.seed;
    let mut sessions = Vec::new();
    let mut people = tokio::task::JoinSet::new();
    for n in 0..1 + mix(seed, 0, 41) % 3 {
        let key = key(1 + u128::from(n % 2), u128::from(n));
        let created = world.store.create(new_session(key), None).await;
        debug_assert!(created.is_ok());
        sessions.push((key, attend(town, key)));
        let town = town.clone();
        people.spawn(async move { talk(&town, key, n).await });
    }
    if mix(seed, 0, 42).is_multiple_of(40)
        && let Some((key, _)) = sessions.first()
    {
        world.poison(*key, 2 + (mix(seed, 0, 43) % 7) as u32);
    }
    while let Some(forked) = people.join_next().await {
        for key in forked.unwrap() {
            sessions.push((key, attend(town, key)));
        }
    }
    for _ in 0..600 {
        if !world.is_poisoned() {
            break;
        }
        sleep(100).await;
    }
    sessions
}

/// Somebody answers a session's questions, and somebody follows its stream.
fn attend(town: &Town, key: SessionKey) -> Seen {
    let seen = Seen::default();
    tokio::spawn(town.clone().answer(key));
    tokio::spawn(town.clone().follow(key, Arc::clone(&seen)));
    seen
}

/// One person's part; gives the forks that were made.
async fn talk(town: &Town, key: SessionKey, n: u64) -> Vec<SessionKey> {
    let seed = town.world.plan.seed;
    let mut forks = Vec::new();
    for step in 0..2 + mix(seed, n, 50) % 3 {
        let place = 1_000 + n * 100 + step;
        let chance = mix(seed, place, 51);
        sleep(chance % 700).await;
        let name = format!("{place}");
        match mix(seed, place, 52) % 12 {
            0 | 1 => {
                let interrupt = Letter::post(name, "user.interrupt", json!({}));
                town.send_often(key, interrupt, chance).await;
            }
            2 | 3 => {
                let id = Uuid::from_u128(7 << 100 | u128::from(place));
                let mail = Letter::mail(id, &script(seed, place));
                town.send_often(key, mail, chance).await;
            }
            4 => {
                let Some(fork) = town.fork(key, chance).await else {
                    continue;
                };
                forks.push(fork);
                let hello = Letter::text(format!("{place} fork"), &script(seed, place));
                town.send_often(fork, hello, chance).await;
            }
            _ => {
                let letter = Letter::text(name, &script(seed, place));
                town.send_often(key, letter, chance).await;
            }
        }
    }
    if mix(seed, n, 53).is_multiple_of(6) && town.send(key, Letter::archive(format!("{n} archive"))).await {
        town.world.count("archived");
    }
    forks
}

/// Everything rests, or that it does not is a violation (I10). Sessions that were set aside are tried again, as a person would.
async fn come_to_rest(world: &Arc<World>, sessions: &[(SessionKey, Seen)]) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_millis(REST);
    loop {
        let mut restless = Vec::new();
        for (key, _) in sessions {
            let Some(row) = world.store.get(*key).await.unwrap() else {
                continue;
            };
            if row.quarantined {
                world.count("quarantine lifted");
                world.store.append(lift(*key, row.epoch)).await.unwrap();
            }
            let over = row.archived_at.is_some();
            let done = row.status == Status::Idle && !row.stop_reason.as_ref().is_some_and(waits);
            if row.held || row.ready_at.is_some() || row.quarantined || !(over || done) {
                let (status, ready, epoch) = (row.status, row.ready_at, row.epoch);
                restless.push(format!(
                    "I10: {} does not rest: {status:?}, held {}, ready at {ready:?}, epoch {epoch}, attempts {}",
                    key.session, row.held, row.attempts
                ));
            }
        }
        if restless.is_empty() || Instant::now() > deadline {
            return restless;
        }
        sleep(50).await;
    }
}

/// As the retry endpoint does; an epoch is set aside at most once.
fn lift(key: SessionKey, epoch: u64) -> Append {
    Append {
        key,
        append_id: AppendId::from_uuid(Uuid::from_u128(8 << 100 | u128::from(epoch))),
        events: Vec::new(),
        authority: Authority::Client {
            guards: vec![Guard::Quarantined],
            idempotency: None,
        },
        projection: Projection {
            quarantined: Some(false),
            progress: true,
            ready: Ready::Now,
            ..Projection::default()
        },
    }
}

fn waits(stop: &StopReason) -> bool {
    matches!(stop, StopReason::RequiresAction { .. })
}

async fn evidence(world: &World, hands: &Hands, town: &Town, key: SessionKey, seen: &Seen) -> Evidence {
    let from = |after| ReadFrom { after, limit: 10_000 };
    let records = world.store.read(key, from(0)).await.unwrap();
    let facts = world.facts(key);
    for record in &records {
        world.trace(&(record.seq, record.id.uuid(), &record.payload));
    }
    let payload = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let envelope = |record: &Record| json!({"seq": record.seq, "id": record.id, "type": record.kind, "payload": payload(&record.payload)});
    let log: Vec<Value> = records.iter().map(envelope).collect();
    if std::env::var_os("PERENNIAL_LOGS").is_some() {
        for record in &records {
            let epoch = facts.epochs.get(&record.seq);
            println!("{} {} {epoch:?} {}", key.session, record.seq, record.payload);
        }
    }
    // The last connection of every follower lasts until it has seen everything.
    let mut seen: Vec<(u64, String)> = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let after = seen.last().map_or(0, |(seq, _)| *seq);
    let rest = world.store.read(key, from(after)).await.unwrap();
    seen.extend(rest.into_iter().map(|record| (record.seq, record.payload)));
    let view = View {
        after: 0,
        seen: seen.iter().map(|(seq, text)| (*seq, payload(text))).collect(),
        complete: true,
    };
    Evidence {
        epochs: records
            .iter()
            .map(|record| facts.epochs.get(&record.seq).copied())
            .collect(),
        posts: town.posts(key),
        views: vec![view],
        effects: effects(hands, key, &log),
        journal: hands.lines(key.session),
        stale: facts.stale,
        at_rest: true,
        log,
    }
}

/// What a session's tools did; a fork's log begins with calls that ran for the other session.
fn effects(hands: &Hands, key: SessionKey, log: &[Value]) -> Vec<String> {
    let mut effects = hands.effects(key.session);
    let cut = log
        .iter()
        .position(|event| event["type"] == "session.forked")
        .unwrap_or(0);
    let from = log
        .get(cut)
        .and_then(|event| event["payload"]["from_session"].as_str()?.parse().ok());
    if let Some(from) = from {
        let sent: Vec<&Value> = log[..cut]
            .iter()
            .filter(|event| event["type"] == "tool.dispatched")
            .map(|event| &event["payload"]["tool_use_id"])
            .collect();
        let calls = log[..cut].iter().filter(|event| sent.contains(&&event["id"]));
        let copied: Vec<&str> = calls
            .filter_map(|call| call["payload"]["input"]["command"].as_str())
            .collect();
        let is_copied = |mark: &String| {
            copied
                .iter()
                .any(|command| command.contains(&format!("echo {mark} >>")))
        };
        effects.extend(hands.effects(from).into_iter().filter(is_copied));
    }
    effects
}

/// Follows a workspace's stream of changes.
async fn feed(world: Arc<World>, workspace: WorkspaceId, summaries: Summaries) {
    let mut cursor = None;
    loop {
        let page = world.store.changes(workspace, cursor, 2).await.unwrap_or_default();
        if page.is_empty() {
            sleep(170).await;
        }
        for (at, row) in page {
            cursor = Some(at);
            summaries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(row.key, row);
        }
    }
}

/// I12: whoever followed the changes knows every session as it is.
async fn outdated(world: &World, sessions: &[(SessionKey, Seen)], summaries: &Summaries) -> Vec<String> {
    sleep(400).await;
    let mut violations = Vec::new();
    for (key, _) in sessions {
        let row = world.store.get(*key).await.unwrap();
        let told = summaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned();
        let shown = |row: &SessionRow| {
            let SessionRow { status, turn, .. } = *row;
            (
                status,
                turn,
                row.stop_reason.clone(),
                row.ready_at.is_some(),
                row.archived_at,
            )
        };
        if row.as_ref().map(shown) != told.as_ref().map(shown) {
            violations.push(format!("I12: {} is not as its last change told", key.session));
        }
    }
    violations
}

/// Errors that only a bug of ours writes.
fn odd_errors(log: &[Value]) -> Vec<String> {
    let errors = log.iter().filter(|event| event["type"] == "session.error");
    let texts = errors.map(|event| event["payload"]["error"]["message"].as_str().unwrap_or("?").to_owned());
    texts
        .filter(|text| !text.contains("you asked for this with /fail") && !text.contains("ended in process death"))
        .map(|text| format!("I6: a session was given up: {text}"))
        .collect()
}

pub(crate) fn new_session(key: SessionKey) -> NewSession {
    NewSession {
        key,
        agent: AgentSnapshot {
            id: AgentId::from_uuid(Uuid::from_u128(1)),
            kind: "agent".into(),
            version: 1,
            name: "player".into(),
            model: ModelConfig {
                id: "rehearsal-1".into(),
                speed: None,
                effort: None,
                inference_geo: None,
            },
            system: None,
            description: None,
            tools: Vec::new(),
            mcp_servers: Vec::new(),
            skills: Vec::new(),
            multiagent: None,
            execution_identity: None,
            harness: agent::Harness::Native,
            mail: None,
            executors: Vec::new(),
        },
        environment_id: EnvironmentId::from_uuid(Uuid::from_u128(2)),
        environment: EnvironmentConfig::Local {
            executor_id: None,
            dir: None,
            preparation: Preparation::default(),
        },
        title: None,
        metadata: serde_json::Map::new(),
        resources: Vec::new(),
        vault_ids: Vec::new(),
        budget: None,
        place: None,
        events: Vec::new(),
        projection: Projection::default(),
        idempotency: None,
    }
}
