//! Without a terminal: the commands that answer are printed, `approve` and `deny` answer.

use anyhow::{Context, Result, ensure};

use crate::bench::Bench;

const TWO: &str = "/tool bash {\"command\":\"echo one\"}\n/tool bash {\"command\":\"echo two\"}";

#[tokio::test]
async fn what_waits_is_approved() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let ran = bench.run(&["run", "--agent", &agent, TWO]).await?.with(4)?;
    let session = ran.last_line();
    let hint = format!("perennial approve {session} sevt_");
    ensure!(ran.err.matches(&hint).count() == 2, "{}", ran.err);
    let listed = bench.run(&["ps"]).await?.with(0)?;
    ensure!(listed.out.contains("waiting"), "{}", listed.out);
    bench.run(&["attach", session]).await?.with(4)?;
    let inbox = bench.run(&["approvals"]).await?.with(0)?;
    ensure!(
        inbox.out.matches(session).count() == 2 && inbox.out.contains("bash echo two"),
        "{}",
        inbox.out
    );

    let approved = bench.run(&["approve", session]).await?.with(0)?;
    ensure!(
        approved.out.lines().count() == 2 && approved.out.contains("echo two"),
        "{}",
        approved.out
    );
    let attached = bench.run(&["attach", session]).await?.with(0)?;
    ensure!(
        attached.out.contains("│ one") && attached.out.contains("│ two"),
        "{}",
        attached.out
    );
    bench.run(&["approve", session]).await?.with(1)?;
    let inbox = bench.run(&["approvals", "--json"]).await?.with(0)?;
    ensure!(inbox.out.is_empty(), "{}", inbox.out);
    Ok(())
}

#[tokio::test]
async fn one_is_allowed_and_the_other_denied() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let ran = bench.run(&["run", "--agent", &agent, TWO]).await?.with(4)?;
    let session = ran.last_line();
    let uses: Vec<&str> = ran
        .err
        .lines()
        .filter(|line| line.contains("perennial approve"))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let (first, second) = (uses.first().context("a use")?, uses.get(1).context("another")?);
    bench.run(&["approve", session, first]).await?.with(0)?;
    bench
        .run(&["deny", session, second, "--message", "not in my house"])
        .await?
        .with(0)?;
    let attached = bench.run(&["attach", session]).await?.with(0)?;
    ensure!(
        attached.out.contains("│ one") && attached.out.contains("not in my house"),
        "{}",
        attached.out
    );
    ensure!(!attached.out.contains("│ two"), "{}", attached.out);
    Ok(())
}

#[tokio::test]
async fn all_is_allowed_when_told_so() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let ran = bench
        .run(&["run", "--auto-approve", "--agent", &agent, TWO])
        .await?
        .with(0)?;
    ensure!(ran.out.contains("│ one") && ran.out.contains("│ two"), "{}", ran.out);
    Ok(())
}

#[tokio::test]
async fn a_custom_tool_needs_a_program() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let weather = ["run", "--auto-approve", "--agent", &agent, "/tool weather {}"];
    let ran = bench.run(&weather).await?.with(4)?;
    ensure!(ran.err.contains("user.custom_tool_result"), "{}", ran.err);
    bench.run(&["session", "interrupt", ran.last_line()]).await?.with(0)?;
    bench.run(&["attach", ran.last_line()]).await?.with(0)?;
    Ok(())
}
