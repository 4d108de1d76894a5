//! Codex as the brain of a real server, which dies by SIGKILL while the model speaks, while a tool runs, and between a result
//! and the next request. Afterwards the session rests, nothing was run twice, and the provider saw the log and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::oracle::{Counters, Evidence, Post, check};
use perennial_tests::server::{Server, Up};
use rand::Rng;
use serde_json::Value;

use crate::bench::installed;

const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "sk-canary-of-the-house";

/// A turn of three steps: a call that takes a while, words that do and two calls at once, an end.
const SCRIPT: &str = r#"/say beginning
/tool bash {"command":"echo MARK-a >> ledger; sleep 0.3"}
/then
/tokens 20 10
/tool bash {"command":"echo MARK-b >> ledger"}
/tool bash {"command":"echo MARK-c >> ledger"}
/then
/say finished"#;

/// When the server dies.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// A while after the n-th request of the turn.
    Speaking,
    /// A while after a tool has begun.
    InATool,
    /// With a result in the log, before the next request.
    Between,
}

struct House {
    dir: tempfile::TempDir,
    up: Up,
    model: ModelServer,
    session: String,
    posts: Vec<Post>,
    prompts: Vec<String>,
}

impl House {
    async fn open(harness: PathBuf) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let model = ModelServer::start(Vendor::OpenAi).await?;
        let up = Up::on(&dir.path().join("data"))
            .env("OPENAI_BASE_URL", model.base_url())
            .env("OPENAI_API_KEY", KEY)
            .env("PERENNIAL_CODEX_BIN", harness.to_str().context("a path")?);
        let server = up.start().await?;
        let (agent, environment) = server.client.agent_on("openai/gpt-6-sol", "codex").await?;
        let session = server.client.session(&agent, &environment).await?;
        server.kill().await?;
        Ok(Self {
            dir,
            up,
            model,
            session,
            posts: Vec::new(),
            prompts: Vec::new(),
        })
    }

    /// One turn, in which the server dies, and the next life of the server, which ends it.
    async fn turn(&mut self, moment: Moment) -> Result<()> {
        let mark = format!("t{}", self.posts.len());
        let prompt = SCRIPT.replace("MARK", &mark);
        self.prompts.push(prompt.clone());
        let before = self.model.requests().len();
        let up = match moment {
            Moment::Between => {
                let hit = rand::rng().random_range(1..=2);
                self.up
                    .clone()
                    .env("PERENNIAL_KILL_AT", &format!("worker.result.after={hit}"))
            }
            Moment::Speaking | Moment::InATool => self.up.clone(),
        };
        let mut server = up.start().await?;
        let id = server.client.say(&self.session, &prompt).await?;
        self.posts.push(Post {
            key: mark,
            ids: vec![id],
        });
        match moment {
            Moment::Between => server.ended(PATIENCE).await?,
            Moment::Speaking => {
                let nth = rand::rng().random_range(1..=3);
                self.until(|| self.model.requests().len() >= before + nth).await?;
                tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..150))).await;
                server.kill().await?;
            }
            Moment::InATool => {
                let lines = self.effects().len();
                self.until(|| self.effects().len() > lines).await?;
                tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..250))).await;
                server.kill().await?;
            }
        }
        let server = self.up.start().await?;
        let idle = server.client.until_idle(&self.session, 0, PATIENCE).await;
        idle.with_context(|| self.up.log())?;
        let verdict = self.check(&server, before).await;
        server.kill().await?;
        verdict.with_context(|| format!("{moment:?}"))
    }

    async fn check(&self, server: &Server, before: usize) -> Result<()> {
        let log = server.client.log(&self.session).await?;
        let violations = check(
            &Evidence {
                log: log.clone(),
                posts: self.posts.clone(),
                effects: self.effects(),
                journal: self.journal(),
                at_rest: true,
                ..Evidence::default()
            },
            &mut Counters::default(),
        );
        ensure!(violations.is_empty(), "{violations:#?}");
        ensure!(self.model.violations().is_empty(), "{:#?}", self.model.violations());
        let errors = log.iter().filter(|event| event["type"] == "session.error").count();
        ensure!(errors == 0, "a death of ours is nobody's error: {log:#?}");
        for request in &self.model.requests()[before..] {
            self.is_ours(&request.body)?;
        }
        ensure!(
            !Value::from(log).to_string().contains(KEY) && !self.up.log().contains(KEY),
            "the key"
        );
        Ok(())
    }

    /// Nobody speaks in the conversation but the user, the model and the tools.
    fn is_ours(&self, request: &Value) -> Result<()> {
        for item in request["input"].as_array().context("no input")? {
            if item["type"] == "message" && item["role"] != "assistant" {
                let said = item["content"][0]["text"].as_str().unwrap_or_default();
                ensure!(self.prompts.iter().any(|prompt| prompt == said), "{item}");
            }
        }
        Ok(())
    }

    async fn until(&self, holds: impl Fn() -> bool) -> Result<()> {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.with_context(|| self.up.log())
    }

    fn effects(&self) -> Vec<String> {
        lines(&self.up.data_dir.join("workspaces").join(&self.session).join("ledger"))
    }

    fn journal(&self) -> Vec<Value> {
        let file = self
            .up
            .data_dir
            .join(format!("executor/journal/{}.jsonl", self.session));
        let entries = lines(&file);
        entries
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

fn lines(file: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn dies(moment: Moment) -> Result<()> {
    let Some(harness) = installed() else {
        return Ok(());
    };
    let torture = std::env::var_os("PERENNIAL_TORTURE").is_some();
    let kills = if torture { 100 } else { 10 };
    let mut house = House::open(harness).await?;
    for kill in 0..kills {
        house.turn(moment).await.with_context(|| format!("kill {kill}"))?;
    }
    println!(
        "\n{moment:?}: {kills} SIGKILLs, {} requests, 0 violations",
        house.model.requests().len()
    );
    ensure!(house.dir.path().exists());
    Ok(())
}

#[tokio::test]
async fn sigkill_while_the_model_speaks() -> Result<()> {
    dies(Moment::Speaking).await
}

#[tokio::test]
async fn sigkill_while_a_tool_runs() -> Result<()> {
    dies(Moment::InATool).await
}

#[tokio::test]
async fn sigkill_between_a_result_and_the_next_request() -> Result<()> {
    dies(Moment::Between).await
}
