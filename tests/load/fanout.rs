//! (f): one session's events to 1,000 readers, at an easy pace and as fast as they go, against a bare axum broadcast in a
//! process of its own. Each event says when it was sent; each reader looks for that in what arrives.

mod readers;

use std::time::{Duration, Instant};

use anyhow::Result;
use perennial_tests::client::{Client, id};
use perennial_tests::server::Up;
use serde_json::{Value, json};

use self::readers::{Readers, mark};
use crate::aside::Aside;
use crate::processes::Cluster;
use crate::report::{Goal, Report, percentile};
use crate::sample::RECORD;

const HERE: &str = "one session to 1,000 readers";
const THERE: &str = "one session to 1,000 readers, 2 servers";
/// Time between two events at the easy pace.
const PACE: Duration = Duration::from_millis(50);
/// Events of one request.
const BATCH: usize = 100;
/// Deliveries a second that must be reached.
const DELIVERIES: f64 = 580_000.0;

/// What is read, where, and by what it is called in the report.
struct Stream<'s> {
    scenario: &'static str,
    who: &'s str,
    urls: Vec<&'s str>,
    path: String,
    header: String,
}

/// How much.
#[derive(Clone, Copy)]
struct Size {
    readers: usize,
    paced: usize,
    burst: usize,
}

impl Size {
    fn of(quick: bool) -> Self {
        let (readers, paced, burst) = if quick { (100, 10, 200) } else { (1_000, 100, 1_000) };
        Self { readers, paced, burst }
    }
}

/// One round.
pub(crate) async fn round(report: &mut Report, quick: bool) -> Result<()> {
    bare(report, HERE, Size::of(quick)).await?;
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    engine(report, HERE, Size::of(quick), vec![&server.url], &server.client).await?;
    server.kill().await?;
    compare(report, HERE);
    report.check(HERE, "engine, burst", "deliveries/s", Goal::AtLeast(DELIVERIES));
    Ok(())
}

/// The same of a cluster: half of the readers at each server.
pub(crate) async fn cluster(report: &mut Report, cluster: &Cluster, quick: bool) -> Result<()> {
    bare(report, THERE, Size::of(quick)).await?;
    engine(report, THERE, Size::of(quick), cluster.urls(), cluster.door(0)).await?;
    compare(report, THERE);
    Ok(())
}

fn compare(report: &mut Report, scenario: &'static str) {
    let least = Some(Goal::AtLeast(0.8));
    report.ratio(scenario, "engine, burst", "bare axum, burst", "deliveries/s", least);
    let most = Some(Goal::AtMost(1.5));
    report.ratio(scenario, "engine, 20/s", "bare axum, 20/s", "p99 ms", most);
}

async fn bare(report: &mut Report, scenario: &'static str, size: Size) -> Result<()> {
    let bare = Bare::start().await?;
    let stream = Stream {
        scenario,
        who: "bare axum",
        urls: vec![&bare.aside.url],
        path: "/stream".into(),
        header: String::new(),
    };
    measure(report, size, stream, |bodies| bare.publish(bodies)).await?;
    bare.stop().await
}

async fn engine(
    report: &mut Report,
    scenario: &'static str,
    size: Size,
    urls: Vec<&str>,
    client: &Client,
) -> Result<()> {
    let session = parked(client).await?;
    let path = format!("/v1/sessions/{session}/events");
    let stream = Stream {
        scenario,
        who: "engine",
        urls,
        path: format!("{path}/stream"),
        header: format!("x-api-key: {}\r\n", client.key()),
    };
    let publish = |texts: Vec<String>| {
        let (client, path) = (client.clone(), path.clone());
        async move { say(&client, &path, texts).await }
    };
    measure(report, size, stream, publish).await
}

async fn measure<F>(
    report: &mut Report,
    size: Size,
    stream: Stream<'_>,
    publish: impl Fn(Vec<String>) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let Stream { scenario, who, .. } = stream;
    let mut readers = Readers::open(size.readers, &stream.urls, &stream.path, &stream.header).await?;
    // The first one tells that everybody listens.
    publish(vec![text(0)]).await?;
    readers.all_saw(0).await?;
    let mut tick = tokio::time::interval(PACE);
    let mut last = 0;
    for _ in 0..size.paced {
        tick.tick().await;
        last += 1;
        publish(vec![text(last)]).await?;
    }
    readers.all_saw(last).await?;
    let mut delays = readers.delays_ms();
    let paced = format!("{who}, 20/s");
    report.add(scenario, &paced, "p50 ms", percentile(&mut delays, 0.5));
    report.add(scenario, &paced, "p99 ms", percentile(&mut delays, 0.99));

    let started = Instant::now();
    for _ in 0..size.burst / BATCH {
        let texts = (last + 1..=last + BATCH).map(text).collect();
        last += BATCH;
        publish(texts).await?;
    }
    readers.all_saw(last).await?;
    let deliveries = (size.burst * size.readers) as f64;
    let rate = deliveries / started.elapsed().as_secs_f64();
    report.add(scenario, &format!("{who}, burst"), "deliveries/s", rate);
    readers.close();
    Ok(())
}

/// A text of a record's size that ends in its number and the time.
fn text(number: usize) -> String {
    format!("{}{}", "lorem ipsum ".repeat(RECORD / 15), mark(number))
}

/// A session that waits for a person: what is said to it is stored and streamed, and nothing runs.
async fn parked(client: &Client) -> Result<String> {
    let agent = json!({"name": "asks", "model": "rehearsal-1", "tools": [{"type": "agent_toolset_20260401",
        "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}}}]});
    let agent = id(&client.post("/v1/agents", &agent).await?.ok()?)?;
    let environment = json!({"name": "parked", "config": {"type": "local"}});
    let environment = id(&client.post("/v1/environments", &environment).await?.ok()?)?;
    let session = client.session(&agent, &environment).await?;
    client.say(&session, "/tool glob {\"pattern\":\"*\"}").await?;
    client.until_idle(&session, 0, Duration::from_secs(10)).await?;
    Ok(session)
}

async fn say(client: &Client, path: &str, texts: Vec<String>) -> Result<()> {
    let event = |text: String| json!({"type": "user.message", "content": [{"type": "text", "text": text}]});
    let events: Vec<Value> = texts.into_iter().map(event).collect();
    client.post(path, &json!({ "events": events })).await?.ok()?;
    Ok(())
}

/// The limit, in a process of its own.
struct Bare {
    aside: Aside,
    http: reqwest::Client,
}

impl Bare {
    async fn start() -> Result<Self> {
        Ok(Self {
            aside: Aside::start("--serve-broadcast").await?,
            http: reqwest::Client::builder().no_proxy().build()?,
        })
    }

    async fn publish(&self, texts: Vec<String>) -> Result<()> {
        let event = |text: &String| format!("{{\"type\":\"user.message\",\"text\":\"{text}\"}}");
        let body = texts.iter().map(event).collect::<Vec<_>>().join("\n");
        let url = format!("{}/publish", self.aside.url);
        self.http.post(url).body(body).send().await?.error_for_status()?;
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.aside.stop().await
    }
}
