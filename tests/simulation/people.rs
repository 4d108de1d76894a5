//! Clients: they post, repeat themselves, interrupt, answer, hand mail over, fork and follow streams, through API nodes that die
//! under them. What they were told for certain is evidence.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perennial_engine::kernel::{Command, State};
use perennial_engine::ports::{
    AppendError, Bus, ForkFrom, Ids, Log, NewSession, Projection, ReadFrom, Ready, SessionKey, Sessions, StoreError,
};
use perennial_proof::oracle::Post;
use perennial_schema::SessionId;
use perennial_schema::event::Event;
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::front::{Front, Letter};
use crate::plan::{Fault, Op, mix};
use crate::ports::{self, hinted};
use crate::world::{Gate, Life, World, sleep};

/// Where API nodes begin among the nodes.
const FIRST: usize = 10;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(900);
/// Most events read at once.
pub(crate) const PAGE: u32 = 1_000;

/// All API nodes, and what clients know of a session.
#[derive(Clone)]
pub(crate) struct Town {
    pub(crate) world: Arc<World>,
    fronts: Arc<Mutex<Vec<Arc<Front>>>>,
    posts: Arc<Mutex<Vec<(SessionKey, Post)>>>,
}

impl Town {
    pub(crate) fn new(world: &Arc<World>, fronts: usize) -> Self {
        let town = Self {
            world: Arc::clone(world),
            fronts: Arc::default(),
            posts: Arc::default(),
        };
        for at in 0..fronts {
            town.open(at);
        }
        town
    }

    /// Starts an API node, and again whenever it died.
    fn open(&self, at: usize) {
        let life = Life::new(FIRST + at);
        let (store, bus) = ports::store(&self.world, &life, false);
        let gate = Gate {
            world: Arc::clone(&self.world),
            life: Arc::clone(&life),
        };
        let front = Arc::new(Front { gate, store, bus });
        let mut fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        if at < fronts.len() {
            fronts[at] = front;
        } else {
            fronts.push(front);
        }
        drop(fronts);
        let town = self.clone();
        tokio::spawn(async move {
            life.died.cancelled().await;
            let decision = town.world.chance();
            sleep(10 + town.world.roll(decision, 5) % 400).await;
            town.open(at);
        });
    }

    fn front(&self) -> (Arc<Front>, u64) {
        let decision = self.world.chance();
        let fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        let pick = self.world.roll(decision, 6);
        (Arc::clone(&fronts[pick as usize % fronts.len()]), pick)
    }

    pub(crate) fn posts(&self, key: SessionKey) -> Vec<Post> {
        let posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts
            .iter()
            .filter(|(of, _)| *of == key)
            .map(|(_, post)| post.clone())
            .collect()
    }

    fn acknowledged(&self, key: SessionKey, post: Post) {
        self.posts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((key, post));
    }

    /// Sends until somebody answers for certain. False when it was refused.
    pub(crate) async fn send(&self, key: SessionKey, letter: Letter) -> bool {
        loop {
            let (front, pick) = self.front();
            if front.gate.life.is_dead() {
                sleep(5 + pick % 50).await;
                continue;
            }
            match timeout(PATIENCE, front.take(key, &letter)).await {
                Ok(Ok((ids, replayed))) => {
                    if replayed && letter.is_mail() {
                        self.world.count("hand-off found its event");
                    }
                    let post = Post {
                        key: letter.name().clone(),
                        ids,
                    };
                    self.acknowledged(key, post);
                    return true;
                }
                Ok(Err(AppendError::Store(StoreError::Unavailable { .. } | StoreError::Unknown { .. }))) | Err(_) => {
                    sleep(20 + pick % 200).await;
                }
                Ok(Err(_)) => return false,
            }
        }
    }

    /// Sends, and sometimes again, at once or later: one effect, one answer.
    pub(crate) async fn send_often(&self, key: SessionKey, letter: Letter, chance: u64) {
        match chance % 4 {
            0 => {
                tokio::join!(self.send(key, letter.clone()), self.send(key, letter));
            }
            1 => {
                self.send(key, letter.clone()).await;
                sleep(chance % 300).await;
                self.send(key, letter).await;
            }
            _ => {
                self.send(key, letter).await;
            }
        }
    }

    /// Answers whatever a session asks for, for as long as it lives.
    pub(crate) async fn answer(self, key: SessionKey) {
        let mut answered = std::collections::BTreeSet::new();
        loop {
            sleep(120).await;
            let Ok(Some(row)) = self.world.store.get(key).await else {
                continue;
            };
            let Some(StopReason::RequiresAction { event_ids }) = row.stop_reason else {
                continue;
            };
            for id in event_ids {
                if !answered.insert(id) {
                    continue;
                }
                let Ok(Some(asked)) = self.world.store.event(key, id).await else {
                    continue;
                };
                let verdict = if mix(self.world.plan.seed, id.uuid().as_u128() as u64, 21).is_multiple_of(4) {
                    "deny"
                } else {
                    "allow"
                };
                let (kind, body) = if asked.kind == "agent.custom_tool_use" {
                    let content = json!([{"type": "text", "text": "sunny"}]);
                    (
                        "user.custom_tool_result",
                        json!({"custom_tool_use_id": id, "content": content}),
                    )
                } else {
                    ("user.tool_confirmation", json!({"tool_use_id": id, "result": verdict}))
                };
                self.send(key, Letter::post(format!("answer {id}"), kind, body)).await;
            }
        }
    }

    /// Follows a session's stream over as many connections as it takes.
    pub(crate) async fn follow(self, key: SessionKey, seen: Arc<Mutex<Vec<(u64, String)>>>) {
        loop {
            let (front, _) = self.front();
            let mut news = front.bus.subscribe(key);
            loop {
                let after = {
                    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.last().map_or(0, |(seq, _)| *seq)
                };
                let page = timeout(PATIENCE, front.store.read(key, ReadFrom { after, limit: PAGE })).await;
                let Ok(Ok(page)) = page else { break };
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(page.into_iter().map(|record| (record.seq, record.payload)));
                if self.world.decide(front.gate.life.node, Op::Follow).1 == Some(Fault::StreamCut) {
                    break;
                }
                tokio::select! {
                    biased;
                    () = hinted(&mut news) => {}
                    () = sleep(600) => {}
                }
            }
            self.world.count("stream resumed");
            sleep(30).await;
        }
    }

    /// Forks a session as it is now, at some event.
    pub(crate) async fn fork(&self, from: SessionKey, chance: u64) -> Option<SessionKey> {
        let (store, world) = (&self.world.store, &self.world);
        let source = store.get(from).await.ok()??;
        let at_seq = chance % (source.head + 1);
        let records = store.read(from, ReadFrom { after: 0, limit: PAGE }).await.ok()?;
        let copied = records.iter().filter(|record| record.seq <= at_seq);
        let events: Vec<Event> = copied.map(|record| record.decode().ok()).collect::<Option<_>>()?;
        let state = State::default().fold(&events);
        let (from_session, workspace) = (from.session, "copied");
        let command = Command::Fork {
            from: from_session,
            workspace,
        };
        let ids: &dyn Ids = world.as_ref();
        let events = state.decide(command, at(world), ids).ok()?;
        let mut projection = Projection::of(&events);
        projection.status = Some(Status::Idle);
        if projection.stop_reason.is_none() {
            projection.stop_reason = Some(state.stop);
        }
        (projection.turn, projection.ready, projection.usage) = (Some(state.turn), Ready::Never, Usage::default());
        let key = SessionKey {
            session: ids.session(),
            ..from
        };
        let new = NewSession {
            events,
            projection,
            ..crate::run::new_session(key)
        };
        let session = from_session;
        store.create(new, Some(ForkFrom { session, at_seq })).await.ok()?;
        world.count("forked");
        Some(key)
    }
}

pub(crate) fn at(world: &World) -> perennial_schema::Timestamp {
    perennial_engine::ports::Clock::now(world.wall.as_ref())
}

/// A session of the run.
pub(crate) const fn key(workspace: u128, n: u128) -> SessionKey {
    SessionKey {
        workspace: perennial_schema::WorkspaceId::from_uuid(Uuid::from_u128(workspace)),
        session: SessionId::from_uuid(Uuid::from_u128(1 << 100 | n)),
    }
}

/// What a person says: a script for the rehearsal model. Marks are used once.
pub(crate) fn script(seed: u64, place: u64) -> String {
    let chance = |purpose| mix(seed, place, purpose);
    let act = |tool: &str, n: u64| {
        let millis = chance(30 + n) % 180;
        format!("/tool {tool} {{\"command\": \"sleep 0.{millis:03}; echo m{place}x{n} >> ledger\"}}")
    };
    match chance(20) % 10 {
        0 => "/say hello".into(),
        1 | 2 => format!("{}\n/say done", act("bash", 1)),
        3 => format!("{}\n{}\n/tool note {{}}\n/say both", act("bash", 1), act("bash", 2)),
        4 => format!("{}\n/say asked", act("ask", 1)),
        5 => format!("/tool weather {{}}\n{}", act("bash", 1)),
        6 => format!("/fail 529 1\n{}", act("bash", 1)),
        7 => "/tokens 3 40\n/tool look {}\n/tool note {\"command\": \"sleep 0.150\"}\n/say noted".into(),
        8 => format!("/sleep 250\n{}", act("bash", 1)),
        _ => format!("{}\n/then\n{}\n/say twice", act("bash", 1), act("bash", 2)),
    }
}
