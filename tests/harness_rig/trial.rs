//! One kill after the other: a fresh house, a turn that is struck, recovery, an ordinary turn, the verdict.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, message};
use perennial_tests::models::ModelServer;
use perennial_tests::oracle::{Counters, Evidence, Post, check};
use perennial_tests::server::{Server, Up};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::conversation::{Block, of_log};
use crate::kind::Kind;
use crate::strike::{Moment, Strike, harnesses, kill_harness};

/// Longest a session may take to rest.
const PATIENCE: Duration = Duration::from_secs(90);

/// Three model steps, two with side effects, one of them with calls in parallel.
const SCRIPT: &str = r#"/tokens 30 10
/tool bash {"command":"echo MARK-a >> ledger; sleep 0.3"}
/then
/tokens 30 10
/tool bash {"command":"echo MARK-b >> ledger"}
/tool bash {"command":"echo MARK-c >> ledger; sleep 0.1"}
/then
/tokens 30 10
/say done"#;

/// As many kills as asked for, at this moment of a turn.
pub(crate) async fn kill(kind: &Kind, moment: Moment) -> Result<()> {
    let Some(binary) = kind.installed() else {
        return perennial_tests::not_run(&format!(
            "{} under SIGKILL: run scripts/setup.sh --test first",
            kind.name
        ));
    };
    let binary = binary.to_str().context("a path")?;
    let seed = std::env::var("PERENNIAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    let kills = if std::env::var_os("PERENNIAL_TORTURE").is_some() {
        100
    } else {
        10
    };
    println!("\n{} {moment:?}: seed {seed}", kind.name);
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut counters, mut violations, mut struck) = (Counters::default(), Vec::new(), 0);
    let started = Instant::now();
    for n in 0..kills {
        let strike = Strike::draw(moment, &mut rng);
        let trial = Trial::new(kind, binary).await?;
        let verdict = trial.run(strike, &mut counters).await;
        let verdict = verdict.with_context(|| format!("seed {seed}, kill {n}, {strike:?}:\n{}", trial.up.log()))?;
        struck += usize::from(verdict.struck);
        violations.extend(
            verdict
                .violations
                .into_iter()
                .map(|what| format!("seed {seed}, kill {n}: {what}")),
        );
    }
    println!(
        "\n{} {moment:?}: {struck} of {kills} SIGKILLs hit a turn, {} violations, {:?}, {counters:?}",
        kind.name,
        violations.len(),
        started.elapsed()
    );
    assert!(violations.is_empty(), "{violations:#?}");
    // Late by chance now and then; mostly, and the rig says nothing.
    assert!(struck * 2 > kills, "{struck} of {kills} kills hit a turn");
    Ok(())
}

struct Verdict {
    /// The turn was not over when it was struck.
    struck: bool,
    violations: Vec<String>,
}

struct Trial<'a> {
    kind: &'a Kind,
    dir: tempfile::TempDir,
    up: Up,
    model: ModelServer,
}

impl<'a> Trial<'a> {
    async fn new(kind: &'a Kind, binary: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let model = ModelServer::start(kind.vendor).await?;
        let (base, key) = match kind.vendor {
            perennial_tests::models::Vendor::Anthropic => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
            perennial_tests::models::Vendor::OpenAi => ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
        };
        let up = Up::on(&dir.path().join("data"))
            .env(base, model.base_url())
            .env(key, "sk-test-canary")
            .env(kind.setting, binary);
        Ok(Self { kind, dir, up, model })
    }

    async fn run(&self, strike: Strike, counters: &mut Counters) -> Result<Verdict> {
        let (session, posts, struck) = self.struck_turn(strike).await?;
        let server = self.up.start().await?;
        let (_, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
        server.client.say(&session, "/say and again").await?;
        server.client.until_idle(&session, last, PATIENCE).await?;
        let log = server.client.log(&session).await?;
        ensure!(
            harnesses(&server, self.kind.program) <= 1,
            "one process per session at most"
        );
        server.kill().await?;
        let evidence = Evidence {
            effects: self.lines("workspaces", &session, "ledger"),
            journal: self
                .lines("executor/journal", &format!("{session}.jsonl"), "")
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
            log,
            posts,
            at_rest: true,
            ..Evidence::default()
        };
        let mut violations: Vec<String> = check(&evidence, counters).iter().map(ToString::to_string).collect();
        violations.extend(self.model.violations());
        violations.extend(self.upstream(&evidence.log));
        Ok(Verdict { struck, violations })
    }

    /// The first life: one turn, struck. Returns the session, what was acknowledged, and whether the turn was hit.
    async fn struck_turn(&self, strike: Strike) -> Result<(String, Vec<Post>, bool)> {
        let server = self.up.start().await?;
        let (agent, environment) = server.client.agent_on(self.kind.model, self.kind.name).await?;
        let session = server.client.session(&agent, &environment).await?;
        let server = match strike.failpoint() {
            Some(point) => {
                server.kill().await?;
                self.up.clone().env("PERENNIAL_KILL_AT", &point).start().await?
            }
            None => server,
        };
        let id = say(&server.client, &session).await?;
        let posts = vec![Post {
            key: "turn".into(),
            ids: vec![id],
        }];
        if strike.moment == Moment::HarnessAlone {
            strike.wait(&server.client, &session, &self.model).await?;
            let struck = self.strike_harness(&server, &session).await?;
            server.client.until_idle(&session, 0, PATIENCE).await?;
            server.kill().await?;
            return Ok((session, posts, struck));
        }
        let (client, mut server) = (server.client.clone(), server);
        if strike.failpoint().is_some() {
            server.ended(PATIENCE).await?;
            return Ok((session, posts, true));
        }
        tokio::time::timeout(PATIENCE, strike.wait(&client, &session, &self.model)).await??;
        server.kill().await?;
        // What the vendor was asked by then tells whether anything was left to do.
        let over = self.model.requests().len() >= 3 && strike.moment != Moment::Speaking;
        Ok((session, posts, !over || strike.moment == Moment::Answered))
    }

    /// Kills the harness process as soon as there is one, unless the turn ends before.
    async fn strike_harness(&self, server: &Server, session: &str) -> Result<bool> {
        loop {
            if kill_harness(server, self.kind.program)? {
                return Ok(true);
            }
            let log = server.client.log(session).await?;
            if log.iter().any(|event| event["type"] == "session.status_idle") {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every request is the beginning of the conversation that the log tells.
    fn upstream(&self, log: &[Value]) -> Vec<String> {
        let told = of_log(log);
        let mut violations = Vec::new();
        let mut longest = 0;
        for (n, request) in self.model.requests().iter().enumerate() {
            let asked = (self.kind.blocks)(&request.body);
            if !told.starts_with(&asked) {
                violations.push(format!("request {n} says {asked:#?}, the log {told:#?}"));
            }
            if !matches!(asked.last(), Some(Block::Prompt(_) | Block::Outcome(_))) {
                violations.push(format!("request {n} ends with {:?}", asked.last()));
            }
            longest = longest.max(asked.len());
        }
        // Only the last answer was never sent back.
        if told.len() != longest + 1 || !matches!(told.last(), Some(Block::Words(_))) {
            violations.push(format!(
                "the log ends with {:?}, the vendor was told {longest} blocks",
                told.last()
            ));
        }
        violations
    }

    fn lines(&self, folder: &str, name: &str, file: &str) -> Vec<String> {
        let mut path = self.dir.path().join("data").join(folder).join(name);
        if !file.is_empty() {
            path.push(file);
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

async fn say(client: &Client, session: &str) -> Result<String> {
    let body = message(&SCRIPT.replace("MARK", "t"));
    let path = format!("/v1/sessions/{session}/events");
    let answer = client.post_once(&path, "turn", &body).await?.ok()?;
    Ok(answer["data"][0]["id"].as_str().context("no id")?.to_owned())
}
