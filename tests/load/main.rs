//! `perennial-bench`: what the engine costs against the least that could do the same on this machine (DESIGN §12). It
//! starts its own servers; what is compared takes turns within a round, and the ratios are taken within that round.
//!
//! ```text
//! perennial-bench [--quick] [--rounds N] [--only steps-sqlite,steps-postgres,crash,replay,fanout,asking,rest,gateway,
//!                  tunnel,harness-claude,harness-codex,sandboxes,screen,parked,mail,pool,fence,cluster] [--json FILE]
//! perennial-bench --only soak [--minutes N] [--json FILE]
//! ```
//!
//! * `steps-sqlite`, `steps-postgres`, `replay`: the engine in this process against the least that stores or reads the same;
//! * `crash`: `kill -9` of a worker; `cluster`: the same, model requests, readers, steps and memory on two servers and four workers;
//! * `asking`, `rest`, `fanout`, `gateway`, `tunnel`, `sandboxes`, `screen`, `harness-…`: what users wait for, through the binary;
//! * `mail`: from sending mail to the receiver's model request, beside a POST, on one machine and on a cluster;
//! * `parked`: claims beside 10,000 parked sessions and 1,000 mailboxes, against an empty database, on SQLite and Postgres;
//! * `pool`: workers from none to sixteen and back; `fence`: group writers with the fence and without it;
//! * `soak`, only when named: claims in N minutes (60) of turns, in which a transaction is left open until it is ended, once.
//!
//! `--quick` shows that everything runs; its numbers mean nothing.

mod aside;
mod broadcast;
mod claims;
mod cluster;
mod crash;
mod fanout;
mod fence;
mod gateway;
mod harnesses;
mod limits;
mod mail;
mod mcp;
mod parked;
mod pool;
mod postgres;
mod previews;
mod processes;
mod replay;
mod report;
mod sample;
mod sandboxes;
mod screen;
mod service;
mod soak;
mod stand;
mod steps;
mod tunnel;
mod usage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::postgres::Database;
use crate::report::Report;

/// As in the product; the limits get it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Scenarios, in the order in which they run.
const SCENARIOS: [&str; 18] = [
    "steps-sqlite",
    "steps-postgres",
    "crash",
    "replay",
    "fanout",
    "asking",
    "rest",
    "gateway",
    "tunnel",
    "harness-claude",
    "harness-codex",
    "sandboxes",
    "screen",
    "parked",
    "mail",
    "pool",
    "fence",
    "cluster",
];
/// Those that run only when they are named.
const NAMED: [&str; 1] = ["soak"];
/// Rounds unless told otherwise.
const ROUNDS: usize = 5;

struct Asked {
    quick: bool,
    minutes: Option<u64>,
    rounds: usize,
    only: Vec<String>,
    json: Option<PathBuf>,
}

impl Asked {
    /// What a round consists of. What takes an hour is not repeated.
    fn scenarios(&self, round: usize) -> impl Iterator<Item = &'static str> {
        let named = |scenario: &str| self.only.iter().any(|only| only == scenario);
        let usual = SCENARIOS
            .into_iter()
            .filter(move |scenario| self.only.is_empty() || named(scenario));
        usual.chain(NAMED.into_iter().filter(move |scenario| round == 1 && named(scenario)))
    }

    /// How long a soak is.
    fn soak_minutes(&self) -> u64 {
        self.minutes.unwrap_or(if self.quick { 1 } else { 60 })
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
        Some("--serve-broadcast") => return runtime.block_on(broadcast::serve()),
        Some("--serve-download") => return runtime.block_on(previews::serve()),
        _ => {}
    }
    let asked = read(arguments)?;
    runtime.block_on(run(&asked))
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Asked> {
    let mut asked = Asked {
        quick: false,
        minutes: None,
        rounds: ROUNDS,
        only: Vec::new(),
        json: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--quick" => asked.quick = true,
            "--minutes" => asked.minutes = Some(value()?.parse()?),
            "--rounds" => asked.rounds = value()?.parse()?,
            "--only" => asked.only = value()?.split(',').map(str::to_owned).collect(),
            "--json" => asked.json = Some(value()?.into()),
            // What `cargo run` and `cargo bench` pass along.
            "--bench" => {}
            other => bail!("unknown argument {other}"),
        }
    }
    let known = [&SCENARIOS[..], &NAMED].concat();
    if let Some(unknown) = asked.only.iter().find(|only| !known.contains(&only.as_str())) {
        bail!("unknown scenario {unknown}; there are {}", known.join(", "));
    }
    if asked.minutes == Some(0) {
        bail!("--minutes 0: a soak takes one at least");
    }
    Ok(asked)
}

async fn run(asked: &Asked) -> Result<()> {
    let about = about(asked)?;
    println!("{about:#}");
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for scenario in asked.scenarios(round) {
            let started = Instant::now();
            report.round();
            play(scenario, &mut report, asked)
                .await
                .with_context(|| scenario.to_owned())?;
            eprintln!(
                "round {round}: {scenario} took {:.1} s",
                started.elapsed().as_secs_f64()
            );
        }
    }
    println!("{}", report.table());
    if let Some(path) = &asked.json {
        std::fs::write(path, format!("{:#}\n", report.json(&about)))?;
    }
    Ok(())
}

async fn play(scenario: &str, report: &mut Report, asked: &Asked) -> Result<()> {
    let quick = asked.quick;
    match scenario {
        "steps-sqlite" => steps::sqlite(report, quick).await,
        "replay" => {
            replay::sqlite(report).await?;
            on_postgres(scenario, report, asked).await
        }
        "parked" => {
            parked::sqlite(report, quick).await?;
            on_postgres(scenario, report, asked).await
        }
        "mail" => {
            mail::embedded(report, quick).await?;
            on_postgres(scenario, report, asked).await
        }
        "fanout" => fanout::round(report, quick).await,
        "asking" => service::asking(report, quick).await,
        "rest" => service::rest(report, quick).await,
        "gateway" => gateway::round(report, quick).await,
        "tunnel" => tunnel::round(report, quick).await,
        "sandboxes" => sandboxes::round(report, quick).await,
        "screen" => screen::round(report, quick).await,
        "harness-codex" => harnesses::codex(report, quick).await,
        "harness-claude" => harnesses::claude(report, quick).await,
        other => on_postgres(other, report, asked).await,
    }
}

/// What needs a Postgres, each time a new one.
async fn on_postgres(scenario: &str, report: &mut Report, asked: &Asked) -> Result<()> {
    let Some(database) = Database::start().await? else {
        return perennial_tests::not_run("no Postgres on this machine");
    };
    let quick = asked.quick;
    match scenario {
        "steps-postgres" => steps::postgres(report, &database, quick).await,
        "crash" => crash::round(report, &database).await,
        "replay" => replay::postgres(report, &database).await,
        "parked" => parked::postgres(report, &database, quick).await,
        "mail" => mail::cluster(report, &database, quick).await,
        "pool" => pool::round(report, &database, quick).await,
        "fence" => fence::round(report, &database, quick).await,
        "cluster" => cluster::round(report, &database, quick).await,
        "soak" => soak::round(report, &database, asked.soak_minutes(), quick).await,
        other => bail!("unknown scenario {other}"),
    }
}

/// What the numbers belong to: commit, compiler, servers.
fn versions() -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/versions.sh");
    let said = std::process::Command::new(script).output();
    let said = said.map(|said| said.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
}

/// Where and with what the numbers were taken.
fn about(asked: &Asked) -> Result<serde_json::Value> {
    let cores = std::thread::available_parallelism()?.get();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(serde_json::json!({
        "cores": cores,
        "kernel": kernel.trim(),
        "load_before": load.trim(),
        "optimised": !cfg!(debug_assertions),
        "quick": asked.quick,
        "soak_minutes": asked.soak_minutes(),
        "rounds": asked.rounds,
        "steps_a_session": sample::STEPS,
        "record_bytes": sample::RECORD,
        "versions": versions(),
    }))
}
