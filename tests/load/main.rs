//! `perennial-bench`: what the engine costs against the least that could do the same on this machine (DESIGN §12). It
//! starts its own servers; what is compared takes turns within a round, and the ratios are taken within that round.
//!
//! ```text
//! perennial-bench [--quick] [--rounds N] [--only steps-sqlite,steps-postgres,crash,replay,fanout,asking,rest,gateway,
//!                  tunnel,harness-claude,harness-codex,sandboxes,screen] [--json FILE]
//! ```
//!
//! `--quick` shows that everything runs; its numbers mean nothing.

mod aside;
mod broadcast;
mod crash;
mod fanout;
mod gateway;
mod harnesses;
mod limits;
mod mcp;
mod postgres;
mod previews;
mod replay;
mod report;
mod sample;
mod sandboxes;
mod screen;
mod service;
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
const SCENARIOS: [&str; 13] = [
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
];
/// Rounds unless told otherwise.
const ROUNDS: usize = 5;

struct Asked {
    quick: bool,
    rounds: usize,
    only: Vec<String>,
    json: Option<PathBuf>,
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
        rounds: ROUNDS,
        only: Vec::new(),
        json: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--quick" => asked.quick = true,
            "--rounds" => asked.rounds = value()?.parse()?,
            "--only" => asked.only = value()?.split(',').map(str::to_owned).collect(),
            "--json" => asked.json = Some(value()?.into()),
            // What `cargo run` and `cargo bench` pass along.
            "--bench" => {}
            other => bail!("unknown argument {other}"),
        }
    }
    if let Some(unknown) = asked.only.iter().find(|only| !SCENARIOS.contains(&only.as_str())) {
        bail!("unknown scenario {unknown}; there are {}", SCENARIOS.join(", "));
    }
    Ok(asked)
}

async fn run(asked: &Asked) -> Result<()> {
    let about = about(asked)?;
    println!("{about:#}");
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for scenario in SCENARIOS {
            if !asked.only.is_empty() && !asked.only.iter().any(|only| only == scenario) {
                continue;
            }
            let started = Instant::now();
            report.round();
            play(scenario, &mut report, asked.quick)
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

async fn play(scenario: &str, report: &mut Report, quick: bool) -> Result<()> {
    match scenario {
        "steps-sqlite" => steps::sqlite(report, quick).await,
        "steps-postgres" => match Database::start().await? {
            Some(database) => steps::postgres(report, &database, quick).await,
            None => perennial_tests::not_run("no Postgres on this machine"),
        },
        "crash" => match Database::start().await? {
            Some(database) => crash::round(report, &database).await,
            None => perennial_tests::not_run("no Postgres on this machine"),
        },
        "replay" => {
            replay::sqlite(report).await?;
            match Database::start().await? {
                Some(database) => replay::postgres(report, &database).await,
                None => perennial_tests::not_run("no Postgres on this machine"),
            }
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
        other => bail!("unknown scenario {other}"),
    }
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
        "rounds": asked.rounds,
        "steps_a_session": sample::STEPS,
        "record_bytes": sample::RECORD,
        "binary": service::binary().ok(),
    }))
}
