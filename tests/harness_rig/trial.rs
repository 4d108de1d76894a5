//! One kill after the other: a fresh house, a turn that is struck, recovery, an ordinary turn, the verdict.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{FutureExt, StreamExt, stream};
use perennial_tests::client::{Client, message};
use perennial_tests::oracle::{Counters, Evidence, Post, check};
use perennial_tests::server::Server;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::house::{House, PATIENCE};
use crate::kind::Kind;
use crate::strike::{Moment, Strike, harnesses, kill_harness};

/// Three model steps, two with side effects, one of them with calls in parallel.
const SCRIPT: &str = r#"/tokens 20 10
/tool bash {"command":"echo MARK-a >> ledger; sleep 0.2"}
/then
/tokens 20 10
/tool bash {"command":"echo MARK-b >> ledger"}
/tool bash {"command":"echo MARK-c >> ledger; sleep 0.2"}
/then
/tokens 20 10
/say done"#;

/// Kills at once: half of a kill is waiting, for the model and for tools.
const AT_ONCE: usize = 3;

/// As many kills as asked for, at this moment of a turn.
pub(crate) async fn kill(kind: &Kind, moment: Moment) -> Result<()> {
    let Some(binary) = kind.harness.installed()? else {
        return Ok(());
    };
    let seed = std::env::var("PERENNIAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    let kills = if std::env::var_os("PERENNIAL_TORTURE").is_some() {
        100
    } else {
        10
    };
    println!("\n{} {moment:?}: seed {seed}", kind.harness.name());
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut counters, mut violations, mut struck) = (Counters::default(), Vec::new(), 0);
    let started = Instant::now();
    let strikes: Vec<_> = (0..kills).map(|n| (n, Strike::draw(moment, &mut rng))).collect();
    let mut verdicts = stream::iter(strikes)
        .map(|(n, strike)| one(kind, &binary, strike).map(move |verdict| (n, strike, verdict)))
        .buffer_unordered(AT_ONCE);
    while let Some((n, strike, verdict)) = verdicts.next().await {
        let verdict = verdict.with_context(|| format!("seed {seed}, kill {n}, {strike:?}"))?;
        struck += usize::from(verdict.struck);
        counters.add(&verdict.counters);
        violations.extend(
            verdict
                .violations
                .into_iter()
                .map(|what| format!("seed {seed}, kill {n}, {strike:?}: {what}")),
        );
    }
    println!(
        "\n{} {moment:?}: {struck} of {kills} SIGKILLs hit a turn, {} violations, {:?}, {counters:?}",
        kind.harness.name(),
        violations.len(),
        started.elapsed()
    );
    assert!(violations.is_empty(), "{violations:#?}");
    // Late by chance now and then; mostly, and the rig says nothing.
    assert!(struck * 2 > kills, "{struck} of {kills} kills hit a turn");
    Ok(())
}

/// One kill in a house of its own.
async fn one(kind: &Kind, binary: &Path, strike: Strike) -> Result<Verdict> {
    let house = House::new(kind, binary).await?;
    let verdict = house.run(strike).await;
    verdict.with_context(|| house.up.log())
}

struct Verdict {
    counters: Counters,
    /// The turn was not over when it was struck.
    struck: bool,
    violations: Vec<String>,
}

impl House<'_> {
    async fn run(&self, strike: Strike) -> Result<Verdict> {
        let (session, posts, struck) = self.struck_turn(strike).await?;
        let server = self.up.start().await?;
        let (events, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
        let end = events.last().map(|event| event["stop_reason"]["type"].clone());
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
        let mut counters = Counters::default();
        let mut violations: Vec<String> = check(&evidence, &mut counters)
            .iter()
            .map(ToString::to_string)
            .collect();
        // A kill is no reason to give a turn up.
        if end != Some("end_turn".into()) {
            violations.push(format!("the turn that was struck ended with {end:?}"));
        }
        violations.extend(self.model.violations());
        violations.extend(self.upstream(&evidence.log));
        Ok(Verdict {
            counters,
            struck,
            violations,
        })
    }

    /// The first life: one turn, struck. Returns the session, what was acknowledged, and whether the turn was hit.
    async fn struck_turn(&self, strike: Strike) -> Result<(String, Vec<Post>, bool)> {
        let server = self.up.start().await?;
        let (agent, environment) = server
            .client
            .agent_on(self.kind.model, self.kind.harness.name())
            .await?;
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
            let struck = tokio::select! {
                ended = server.client.until_idle(&session, 0, PATIENCE) => ended.map(|_| false)?,
                struck = self.strike_harness(&server) => struck?,
            };
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

    /// Kills the harness process as soon as there is one.
    async fn strike_harness(&self, server: &Server) -> Result<bool> {
        while !kill_harness(server, self.kind.program)? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(true)
    }
}

async fn say(client: &Client, session: &str) -> Result<String> {
    let body = message(&SCRIPT.replace("MARK", "t"));
    let path = format!("/v1/sessions/{session}/events");
    let answer = client.post_once(&path, "turn", &body).await?.ok()?;
    Ok(answer["data"][0]["id"].as_str().context("no id")?.to_owned())
}
