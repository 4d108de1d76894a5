//! What a person notices: the console in a real browser, measured by the script beside its source (`api/console/bench`).

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use perennial_tests::server::binary;
use serde::Deserialize;
use tokio::process::Command;

use crate::report::{Goal, Report};

const SCENARIO: &str = "screen";

/// A line of the script.
#[derive(Deserialize)]
struct Row {
    what: String,
    unit: String,
    value: f64,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

/// One round.
pub(crate) async fn round(report: &mut Report, quick: bool) -> Result<()> {
    let console = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/console");
    let chromium = std::env::var_os("CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from);
    if !chromium.exists() || !console.join("node_modules/playwright-core").exists() {
        return perennial_tests::not_run("the console on a screen: scripts/setup.sh --test brings what it needs");
    }
    let run = Command::new("node")
        .arg("bench/screen.mjs")
        .args(quick.then_some("--quick"))
        .current_dir(console)
        .env("PERENNIAL_BIN", binary()?)
        .env("CHROMIUM", chromium)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = run.await.context("node")?;
    ensure!(output.status.success(), "bench/screen.mjs: {}", output.status);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let row: Row = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let unit = ["ms", "fps", "MiB", "x"].into_iter().find(|unit| *unit == row.unit);
        let unit = unit.with_context(|| format!("no unit: {}", row.unit))?;
        match row.at_most.map(Goal::AtMost).or(row.at_least.map(Goal::AtLeast)) {
            Some(goal) => report.judge(SCENARIO, &row.what, unit, goal, row.value),
            None => report.add(SCENARIO, &row.what, unit, row.value),
        }
    }
    Ok(())
}
