//! On a terminal `run` asks before a tool runs, in colour, and takes an answer from elsewhere as well.

use anyhow::{Context, Result, ensure};
use perennial_tests::terminal::Terminal;

use crate::bench::Bench;

#[tokio::test]
async fn tools_are_asked_about_one_after_the_other() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let script = "/tool bash {\"command\":\"echo one\"}\n/tool bash {\"command\":\"echo two\"}";
    let mut terminal = Terminal::start(bench.command(&["run", "--agent", &agent, script])?)?;
    terminal.until("allow bash echo one ?").await?;
    terminal.types("perhaps")?;
    terminal.until("allow bash echo one ?").await?;
    terminal.types("y")?;
    terminal.until("allow bash echo two ?").await?;
    terminal.types("n not that one")?;
    terminal.until("not that one").await?;
    terminal.until("✓ done").await?;
    ensure!(terminal.ended().await? == Some(0), "{}", terminal.shown);
    ensure!(
        terminal.shown.contains("\u{1b}[32m✓ done"),
        "in colour: {:?}",
        terminal.shown
    );
    Ok(())
}

#[tokio::test]
async fn an_answer_from_elsewhere_takes_the_question_away() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let script = "/tool bash {\"command\":\"echo one\"}";
    let mut terminal = Terminal::start(bench.command(&["run", "--agent", &agent, script])?)?;
    terminal.until("allow bash echo one ?").await?;
    let listed = bench.run(&["--json", "ps"]).await?.with(0)?.json()?;
    let session = listed
        .first()
        .and_then(|session| session["id"].as_str())
        .context("a session")?;
    bench.run(&["approve", session]).await?.with(0)?;
    terminal.until("✓ done").await?;
    ensure!(terminal.ended().await? == Some(0), "{}", terminal.shown);
    Ok(())
}
