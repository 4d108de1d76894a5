//! What the model gateway costs against a direct connection: the time of a small request, and the speed of a long stream. The
//! same provider and the same client, the two ways in turns; and how many turns a second the native loop drives through it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::post;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use perennial_tests::server::{Server, Up};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::report::{Goal, Report, percentile};

const SCENARIO: &str = "gateway";
/// Events of a long stream, about 200 bytes each.
const EVENTS: usize = 100_000;
/// Events a provider writes at a time.
const AT_ONCE: usize = 20;
/// Streams at once that come at a model's pace, and how long they go on.
const PACED: usize = 16;
const PACED_FOR: Duration = Duration::from_secs(2);
/// A paced stream's events: a thousand a second, ten times what models write.
const PACE: Duration = Duration::from_millis(1);
/// Sessions of the native loop at once.
const SESSIONS: usize = 128;
/// Requests before those that are measured: they make the connections.
const FIRST: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// One round.
pub(crate) async fn round(report: &mut Report, quick: bool) -> Result<()> {
    let direct = provider().await?;
    let dir = tempfile::tempdir()?;
    let up = Up::on(&dir.path().join("data"))
        .env("ANTHROPIC_BASE_URL", &direct)
        .env("ANTHROPIC_API_KEY", "sk-bench");
    let server = up.start().await?;
    let ways = Ways {
        http: reqwest::Client::builder().no_proxy().build()?,
        urls: [direct, format!("{}/llm", server.url)],
        key: server.client.key().to_owned(),
    };
    let requests = if quick { 50 } else { 1_000 };
    requests_of(report, &ways, requests, "no budget").await?;
    let budget = json!({"metric": "tokens", "limit": 1_000_000_000_u64, "period": "day"});
    server.client.post("/v1/budgets", &budget).await?.ok()?;
    requests_of(report, &ways, requests, "a budget").await?;
    paced(report, &ways).await?;
    streams(report, &ways, if quick { "short" } else { "long" }).await?;
    turns(report, &server, if quick { 1 } else { 10 }).await?;
    server.kill().await
}

/// To the provider: itself, and the gateway before it.
struct Ways {
    http: reqwest::Client,
    urls: [String; 2],
    key: String,
}

impl Ways {
    /// How long a request took until its answer was whole, and how long the answer was.
    async fn ask(&self, way: usize, model: &str) -> Result<(Duration, usize)> {
        let message = json!({"role": "user", "content": "hi"});
        let body = json!({"model": model, "max_tokens": 100, "stream": true, "messages": [message]});
        let request = self.http.post(format!("{}/v1/messages", self.urls[way]));
        let request = request.header("x-api-key", &self.key).json(&body);
        let begun = Instant::now();
        let mut answer = request.send().await?;
        ensure!(answer.status() == 200, "status {}", answer.status());
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await? {
            bytes += piece.len();
        }
        Ok((begun.elapsed(), bytes))
    }
}

async fn requests_of(report: &mut Report, ways: &Ways, requests: usize, budget: &str) -> Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..requests + FIRST {
        for (way, times) in times.iter_mut().enumerate() {
            let took = ways.ask(way, "small").await?.0;
            if n >= FIRST {
                times.push(took.as_secs_f64() * 1000.0);
            }
        }
    }
    let [direct, ours] = times.each_mut().map(|times| percentile(times, 0.5));
    report.add(SCENARIO, &format!("request, direct ({budget})"), "p50 ms", direct);
    report.add(SCENARIO, &format!("request, by the gateway ({budget})"), "p50 ms", ours);
    let what = format!("added by the gateway ({budget})");
    report.judge(SCENARIO, &what, "p50 ms", Goal::AtMost(1.0), ours - direct);
    Ok(())
}

/// Many streams at the pace of models: does the gateway keep up, event by event?
async fn paced(report: &mut Report, ways: &Ways) -> Result<()> {
    let [direct, ours] = ["paced streams, direct", "paced streams, by the gateway"];
    for (way, what) in [direct, ours].into_iter().enumerate() {
        let begun = Instant::now();
        let streams = (0..PACED).map(|_| ways.ask(way, "paced"));
        let bytes: usize = futures_util::future::try_join_all(streams)
            .await?
            .into_iter()
            .map(|(_, bytes)| bytes)
            .sum();
        report.add(
            SCENARIO,
            what,
            "MB/s",
            bytes as f64 / begun.elapsed().as_secs_f64() / 1e6,
        );
    }
    report.ratio(SCENARIO, ours, direct, "MB/s", Some(Goal::AtLeast(0.95)));
    Ok(())
}

/// One stream as fast as it goes. Without the gateway both ends fill a processor each: with two of them, half the speed is all
/// that can be left when as much again is read and written in between, so this has no goal.
async fn streams(report: &mut Report, ways: &Ways, model: &str) -> Result<()> {
    let mut speeds = [0.0_f64; 2];
    for _ in 0..3 {
        for (way, fastest) in speeds.iter_mut().enumerate() {
            let (took, bytes) = ways.ask(way, model).await?;
            *fastest = fastest.max(bytes as f64 / took.as_secs_f64() / 1e6);
        }
    }
    let [direct, ours] = ["stream, direct", "stream, by the gateway"];
    report.add(SCENARIO, direct, "MB/s", speeds[0]);
    report.add(SCENARIO, ours, "MB/s", speeds[1]);
    report.ratio(SCENARIO, ours, direct, "MB/s", None);
    Ok(())
}

/// Turns of one request each, many sessions at once, each sent by a client and followed to its end.
async fn turns(report: &mut Report, server: &Server, each: usize) -> Result<()> {
    for (model, what) in [("rehearsal-1", "a scripted model"), ("claude-bench", "a provider")] {
        let (agent, environment) = server.client.agent_and_environment(model).await?;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(server.client.session(&agent, &environment).await?);
        }
        let begun = Instant::now();
        let mut driving = JoinSet::new();
        for session in sessions {
            let client = server.client.clone();
            driving.spawn(async move {
                let mut head = 0;
                for _ in 0..each {
                    client.say(&session, "/say hello").await?;
                    (_, head) = client.until_idle(&session, head, PATIENCE).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(driven) = driving.join_next().await {
            driven??;
        }
        let turns = (SESSIONS * each) as f64 / begun.elapsed().as_secs_f64();
        report.add(
            SCENARIO,
            &format!("native, {SESSIONS} sessions, {what}"),
            "turns/s",
            turns,
        );
    }
    Ok(())
}

/// What a provider's answer says between its first and its last words.
type Middle = BoxStream<'static, Bytes>;

/// A provider that is as fast as can be: its answer is made once. It ends with the bench.
async fn provider() -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let pieces: Arc<[Bytes]> = (0..EVENTS / AT_ONCE)
        .map(|_| Bytes::from(delta().repeat(AT_ONCE)))
        .collect();
    let answer = move |body: Bytes| {
        let asked = |model: &str| body.windows(model.len()).any(|word| word == model.as_bytes());
        let middle: Middle = if asked("\"paced\"") {
            let (event, over) = (Bytes::from(delta()), Instant::now() + PACED_FOR);
            let events = stream::unfold(interval(PACE), move |mut beats: tokio::time::Interval| async move {
                beats.tick().await;
                (Instant::now() < over).then_some(((), beats))
            });
            events.map(move |()| event.clone()).boxed()
        } else {
            let count = match (asked("\"long\""), asked("\"short\"")) {
                (true, _) => EVENTS / AT_ONCE,
                (_, true) => 10,
                _ => 1,
            };
            let pieces: Vec<Bytes> = pieces.iter().take(count).cloned().collect();
            stream::iter(pieces).boxed()
        };
        async move {
            let (start, end) = (stream::iter([START.into()]), stream::iter([END.into()]));
            let pieces = start.chain(middle).chain(end).map(Ok::<_, Infallible>);
            let mut response = Response::new(Body::from_stream(pieces));
            let kind = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
    };
    let router = Router::new().route("/v1/messages", post(answer));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the provider ended: {error}");
        }
    });
    Ok(format!("http://{address}"))
}

const START: &str = concat!(
    "event: message_start\n",
    r#"data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"#,
    r#""stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":1}}}"#,
    "\n\nevent: content_block_start\n",
    r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    "\n\n"
);
const END: &str = concat!(
    "event: content_block_stop\n",
    r#"data: {"type":"content_block_stop","index":0}"#,
    "\n\nevent: message_delta\n",
    r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":10}}"#,
    "\n\nevent: message_stop\n",
    r#"data: {"type":"message_stop"}"#,
    "\n\n"
);

fn delta() -> String {
    let text = "a few words of an answer, as they come";
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
    )
}
