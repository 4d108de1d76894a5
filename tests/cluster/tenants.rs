//! F37: a workspace that floods the servers, and another one beside it. Ten thousand sessions of the one are ready, as many at
//! work as a workspace gets (`--workspace-slots`); what the other one waits for its model to be asked is timed with the flood and
//! without it, in turns, so that a busy machine is busy for both.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_engine::ports::{NewSession, Projection, Ready, SessionKey, SessionRow, Sessions as _};
use perennial_schema::event::Draft;
use perennial_schema::{EventId, SessionId, Timestamp, WorkspaceId};
use perennial_tests::client::Client;
use perennial_tests::sse::Stream;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::place::{Place, either, say};

/// Sessions of a workspace that are driven at once.
const SLOTS: &str = "8";
/// A turn of the flood: it waits for its model, as turns do.
const TURN: &str = "/sleep 200\n/say done";
/// Sessions that are made at once.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);

/// The neighbour: a session at rest, and its stream.
struct Neighbour {
    door: Client,
    session: String,
    stream: Stream,
}

impl Neighbour {
    async fn new(door: &Client) -> Result<Self> {
        let (agent, environment) = door.agent_and_environment("rehearsal-1").await?;
        let session = door.session(&agent, &environment).await?;
        let stream = door.stream(&session, "", Some(0)).await?;
        let mut neighbour = Self {
            door: door.clone(),
            session,
            stream,
        };
        neighbour.wake().await?;
        Ok(neighbour)
    }

    /// From the request that says something to the model's being asked.
    async fn wake(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.door.say(&self.session, "/say awake").await?;
        self.sees("span.model_request_start").await?;
        let took = begun.elapsed();
        self.sees("session.status_idle").await?;
        Ok(took)
    }

    async fn sees(&mut self, event: &str) -> Result<()> {
        let seeing = async {
            while self.stream.next().await?.context("the stream ended")?.event != event {}
            Ok(())
        };
        let seen = tokio::time::timeout(PATIENCE, seeing).await;
        seen.with_context(|| format!("no {event} within {PATIENCE:?}"))?
    }

    async fn wakes(&mut self, times: usize) -> Result<Vec<Duration>> {
        let mut took = Vec::with_capacity(times);
        for _ in 0..times {
            took.push(self.wake().await?);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(took)
    }
}

/// The other workspace. A server has one, so it is written to the log they share.
struct Flood {
    store: Postgres,
    database: PgConnection,
    like: SessionRow,
    workspace: WorkspaceId,
}

impl Flood {
    async fn new(place: &Place, schema: &str, neighbour: &Neighbour) -> Result<Self> {
        let url = place.urls().0;
        let settings = Settings {
            schema: Some(schema.to_owned()),
            ..Settings::default()
        };
        let store = Postgres::open(url, settings).await?;
        let mut database = PgConnection::connect(url).await?;
        sqlx::query(AssertSqlSafe(format!("SET search_path TO {schema}")))
            .execute(&mut database)
            .await?;
        let theirs: Uuid = sqlx::query_scalar("SELECT workspace_id FROM sessions LIMIT 1")
            .fetch_one(&mut database)
            .await?;
        let key = SessionKey {
            workspace: WorkspaceId::from_uuid(theirs),
            session: neighbour.session.parse()?,
        };
        let like = store.get(key).await?.context("no such session")?;
        Ok(Self {
            store,
            database,
            like,
            workspace: WorkspaceId::from_uuid(Uuid::now_v7()),
        })
    }

    /// So many sessions that are ready now.
    async fn rise(&self, sessions: usize) -> Result<()> {
        let made = futures_util::stream::iter(0..sessions).map(|_| async {
            let message = json!({"type": "user.message", "content": [{"type": "text", "text": TURN}]});
            let id = EventId::from_uuid(Uuid::now_v7());
            let now = Timestamp::from_micros(chrono::Utc::now().timestamp_micros());
            let events = vec![Draft::input(id, "user.message", &message.to_string(), now, None)?];
            let new = NewSession {
                key: SessionKey {
                    workspace: self.workspace,
                    session: SessionId::from_uuid(Uuid::now_v7()),
                },
                agent: self.like.agent.clone(),
                environment_id: self.like.environment_id,
                environment: self.like.environment.clone(),
                title: None,
                metadata: self.like.metadata.clone(),
                resources: Vec::new(),
                vault_ids: Vec::new(),
                budget: None,
                place: None,
                projection: Projection {
                    ready: Ready::Now,
                    ..Projection::of(&events)
                },
                events,
                idempotency: None,
            };
            self.store.create(new, None).await?;
            anyhow::Ok(())
        });
        made.buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    /// Those that nobody drives yet, and those somebody drives.
    async fn waits(&mut self) -> Result<(i64, i64)> {
        let counted = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE owner IS NULL), count(*) FILTER (WHERE owner IS NOT NULL)
             FROM sessions WHERE workspace_id = $1 AND ready_at IS NOT NULL AND archived_at IS NULL",
        );
        Ok(counted
            .bind(self.workspace.uuid())
            .fetch_one(&mut self.database)
            .await?)
    }

    /// Nothing of it is left to do.
    async fn ebb(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            sqlx::query(
                "UPDATE sessions SET archived_at = now() WHERE workspace_id = $1 AND owner IS NULL AND archived_at IS NULL",
            )
            .bind(self.workspace.uuid())
            .execute(&mut self.database)
            .await?;
            if self.waits().await? == (0, 0) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "the flood does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The time that this share did not exceed.
fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = (share * times.len() as f64).ceil() as usize;
    times.get(index.saturating_sub(1)).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_flood_of_one_workspace_delays_no_other() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let slots = [("PERENNIAL_WORKSPACE_SLOTS".to_owned(), SLOTS.to_owned())];
    let house = place.house_with(1, 2, &slots).await?;
    let door = house.doors().requests.first().context("no node")?.clone();
    let mut neighbour = Neighbour::new(&door).await?;
    let mut flood = Flood::new(&place, house.schema().context("no schema")?, &neighbour).await?;
    let (rounds, sessions, wakes) = either((9, 1_200, 100), (1, 150, 20));
    let (mut calm, mut flooded, mut ratios, mut driven) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let quiet = neighbour.wakes(wakes).await?;
        flood.rise(sessions).await?;
        let busy = neighbour.wakes(wakes).await?;
        let (waiting, held) = flood.waits().await?;
        ensure!(
            waiting > 0,
            "the flood was over before the neighbour was: the rig is vacuous"
        );
        driven += sessions as i64 - waiting - held;
        flood.ebb().await?;
        ratios.push(quantile(&busy, 0.99).div_duration_f64(quantile(&quiet, 0.99)));
        eprintln!("tenants: round {} of {rounds}, ratio {:.2}", round + 1, ratios[round]);
        calm.extend(quiet);
        flooded.extend(busy);
    }
    ensure!(driven > 0, "nothing of the flood was driven: the rig is vacuous");
    ratios.sort_unstable_by(f64::total_cmp);
    let ratio = ratios[rounds / 2];
    say(format_args!(
        "tenant flood: {} sessions in {rounds} floods, {driven} driven meanwhile; neighbour's wake p50 {:?} and p99 {:?} without, \
         p50 {:?} and p99 {:?} with it (n = {} each); p99 within {ratio:.2} times (median of the rounds)",
        rounds * sessions,
        quantile(&calm, 0.5),
        quantile(&calm, 0.99),
        quantile(&flooded, 0.5),
        quantile(&flooded, 0.99),
        calm.len()
    ));
    // Of one short round, that nobody waited behind the flood is all that can be said: the last of it came long after.
    ensure!(
        ratio <= either(2.0, f64::INFINITY),
        "the neighbour is delayed: {ratio:.2}"
    );
    house.close().await;
    Ok(())
}
