//! (j): from sending a message to the model's request in the session that gets it, beside a message that is posted to a session: of
//! an agent that has one session for all its mail, and of one that opens a session for each message.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use perennial_tests::client::{Client, id};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::Up;
use serde_json::{Value, json};

use crate::postgres::Database;
use crate::processes::Cluster;
use crate::report::{Report, percentile};

const MAIL: &str = "mail to model request, one machine";
const CLUSTER: &str = "mail to model request, 2 servers and 4 workers";
const PATIENCE: Duration = Duration::from_secs(30);
/// Turns that are not counted.
const WARM_UP: usize = 3;

/// Workers of the cluster.
pub(crate) const WORKERS: usize = 4;
/// Its servers.
pub(crate) const NODES: usize = 2;

/// On one machine.
pub(crate) async fn embedded(report: &mut Report, quick: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let up = Up::on(&dir.path().join("data"))
        .env("ANTHROPIC_BASE_URL", model.base_url())
        .env("ANTHROPIC_API_KEY", "sk-bench");
    let server = up.start().await?;
    compare(report, MAIL, &model, quick, |_| &server.client).await?;
    server.kill().await
}

/// On a cluster; requests go to its servers in turns.
pub(crate) async fn cluster(report: &mut Report, database: &Database, quick: bool) -> Result<()> {
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let cluster = at_work(database, &model).await?;
    let done = compare(report, CLUSTER, &model, quick, |turn| cluster.door(turn)).await;
    done.with_context(|| cluster.said())
}

/// Two servers and four workers whose model is this.
pub(crate) async fn at_work(database: &Database, model: &ModelServer) -> Result<Cluster> {
    let env = [
        ("ANTHROPIC_BASE_URL", model.base_url()),
        ("ANTHROPIC_API_KEY", "sk-bench"),
    ];
    let mut cluster = Cluster::start(database, NODES, &env).await?;
    for _ in 0..WORKERS {
        cluster.worker()?;
    }
    database.until_owners(i64::try_from(WORKERS)?, PATIENCE).await?;
    Ok(cluster)
}

/// A session that is written to again and again.
pub(crate) struct Warm {
    session: String,
    head: u64,
}

impl Warm {
    /// A session at rest.
    pub(crate) async fn open(client: &Client) -> Result<Self> {
        let (agent, environment) = client.agent_and_environment("claude-bench").await?;
        Ok(Self {
            session: client.session(&agent, &environment).await?,
            head: 0,
        })
    }

    /// Milliseconds from the moment the POST is sent to the moment the provider has the whole request.
    pub(crate) async fn asked(&mut self, client: &Client, model: &ModelServer) -> Result<f64> {
        let sent = Instant::now();
        client.say(&self.session, "hello").await?;
        self.rested(client, model, sent).await
    }

    async fn rested(&mut self, client: &Client, model: &ModelServer, sent: Instant) -> Result<f64> {
        (_, self.head) = client.until_idle(&self.session, self.head, PATIENCE).await?;
        let arrived = model.last_arrival().context("no model request")?;
        ensure!(arrived > sent, "the model was not asked");
        Ok((arrived - sent).as_secs_f64() * 1000.0)
    }
}

async fn compare<'a>(
    report: &mut Report,
    scenario: &'static str,
    model: &ModelServer,
    quick: bool,
    door: impl Fn(usize) -> &'a Client,
) -> Result<()> {
    let mut posted = Warm::open(door(0)).await?;
    let mut receiver: Option<Warm> = None;
    for (name, sessions) in [("receiver", "single"), ("opener", "per_message")] {
        agent_with_mail(door(0), name, sessions).await?;
    }
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for turn in 0..WARM_UP + if quick { 10 } else { 200 } {
        let client = door(turn);
        let post = posted.asked(client, model).await?;

        let sent = Instant::now();
        let message = send(client, "receiver").await?;
        let warm = match &mut receiver {
            Some(warm) => warm,
            None => receiver.insert(delivered(client, "receiver", &message).await?),
        };
        let mailed = warm.rested(client, model, sent).await?;

        let sent = Instant::now();
        let message = send(client, "opener").await?;
        let mut opened = delivered(client, "opener", &message).await?;
        let opened = opened.rested(client, model, sent).await?;
        if turn >= WARM_UP {
            for (times, took) in times.iter_mut().zip([post, mailed, opened]) {
                times.push(took);
            }
        }
    }
    let [post, mailed, opened] = ["POST", "mail", "mail that opens a session"];
    for (what, times) in [post, mailed, opened].into_iter().zip(&mut times) {
        report.add(scenario, what, "p50 ms", percentile(times, 0.5));
        report.add(scenario, what, "p99 ms", percentile(times, 0.99));
    }
    for of in [mailed, opened] {
        report.ratio(scenario, of, post, "p50 ms", None);
        report.ratio(scenario, of, post, "p99 ms", None);
    }
    Ok(())
}

async fn agent_with_mail(client: &Client, name: &str, sessions: &str) -> Result<()> {
    let environment = json!({"name": format!("of-{name}"), "config": {"type": "local"}});
    let environment = id(&client.post("/v1/environments", &environment).await?.ok()?)?;
    let agent = json!({"name": name, "model": "claude-bench", "tools": [{"type": "mail_toolset"}],
        "mail": {"environment_id": environment, "sessions": sessions}});
    client.post("/v1/agents", &agent).await?.ok()?;
    Ok(())
}

async fn send(client: &Client, to: &str) -> Result<String> {
    let body = json!({"content": [{"type": "text", "text": "hello"}]});
    let path = format!("/v1/mailboxes/agent/{to}/messages");
    id(&client.post(&path, &body).await?.ok()?)
}

/// The session that a message came to.
async fn delivered(client: &Client, to: &str, message: &str) -> Result<Warm> {
    let path = format!("/v1/mailboxes/agent/{to}/messages/{message}");
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        let message: Value = client.get(&path).await?.ok()?;
        if let Some(session) = message["session_id"].as_str() {
            return Ok(Warm {
                session: session.to_owned(),
                head: 0,
            });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("{message} for {to} is not handed over")
}
