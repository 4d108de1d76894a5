//! `run`, `attach` and `send`: text, cards, outcome, exit codes; through a restart and an interrupt.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::bench::{Bench, done};

#[tokio::test]
async fn a_run_shows_the_turn_and_ends_with_the_session() -> Result<()> {
    let bench = Bench::open().await?;
    let script = "/say before\n/tool bash {\"command\":\"echo from-the-tool\"}\n/then\n/say after";
    let ran = bench.run(&["run", script]).await?.with(0)?;
    let order = [
        "before",
        "● bash echo from-the-tool",
        "│ from-the-tool",
        "after",
        "✓ done",
        "sesn_",
    ];
    let places: Option<Vec<usize>> = order.iter().map(|part| ran.out.find(part)).collect();
    ensure!(places.is_some_and(|places| places.is_sorted()), "{}", ran.out);
    ensure!(!ran.out.contains('\u{1b}'), "no colours outside a terminal");

    let session = ran.last_line();
    let attached = bench.run(&["attach", session]).await?.with(0)?;
    ensure!(
        attached.out.contains("› /say before") && attached.out.contains("✓ done"),
        "{}",
        attached.out
    );
    let sent = bench.run(&["send", session, "/say more", "--follow"]).await?.with(0)?;
    ensure!(sent.out.contains("more") && !sent.out.contains("after"), "{}", sent.out);
    let listed = bench.run(&["ps"]).await?.with(0)?;
    ensure!(
        listed.out.lines().count() == 2 && listed.out.contains(session),
        "{}",
        listed.out
    );
    Ok(())
}

#[tokio::test]
async fn json_is_one_value_a_line_and_says_how_it_ended() -> Result<()> {
    let bench = Bench::open().await?;
    let ran = bench.run(&["--json", "run", "/say hi"]).await?.with(0)?;
    let lines = ran.json()?;
    let last = lines.last().context("lines")?;
    ensure!(
        last["type"] == "outcome" && last["stop_reason"] == "end_turn" && last["exit_code"] == 0,
        "{last}"
    );
    ensure!(lines.iter().any(|line| line["type"] == "agent.message"), "{}", ran.out);
    ensure!(
        !lines.iter().any(|line| line["type"] == "input.processed"),
        "extensions only when asked for"
    );
    let session = last["session_id"].as_str().context("a session")?;
    let all = bench
        .run(&["attach", session, "--json", "--extensions"])
        .await?
        .with(0)?;
    ensure!(
        all.json()?.iter().any(|line| line["type"] == "input.processed"),
        "{}",
        all.out
    );
    let after = last["last_seq"].to_string();
    let rest = bench
        .run(&["attach", session, "--json", "--after", &after])
        .await?
        .with(0)?;
    ensure!(rest.json()?.len() == 1, "nothing is left but the outcome: {}", rest.out);
    Ok(())
}

#[tokio::test]
async fn a_prompt_comes_from_standard_input_too() -> Result<()> {
    let bench = Bench::open().await?;
    let file = bench.folder().join("prompt");
    std::fs::write(&file, "/say from a file")?;
    let mut command = bench.command(&["run", "-"])?;
    command.stdin(std::fs::File::open(&file)?);
    let ran = crate::bench::run(command).await?.with(0)?;
    ensure!(ran.out.contains("from a file"), "{}", ran.out);
    bench.run(&["run", " "]).await?.with(2)?;
    Ok(())
}

#[tokio::test]
async fn a_turn_that_fails_has_its_own_code() -> Result<()> {
    let bench = Bench::open().await?;
    let ran = bench.run(&["run", "/fail 400"]).await?.with(8)?;
    ensure!(ran.out.contains("✗ model_request_failed_error"), "{}", ran.out);
    bench.run(&["session", "archive", ran.last_line()]).await?.with(0)?;
    bench.run(&["attach", ran.last_line()]).await?.with(8)?;
    Ok(())
}

#[tokio::test]
async fn a_run_works_in_the_folder_it_is_given() -> Result<()> {
    let bench = Bench::open().await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("here.txt"), "found it")?;
    let path = folder.path().to_str().context("UTF-8")?;
    let ran = bench
        .run(&["run", "--dir", path, "/tool read {\"file_path\":\"here.txt\"}"])
        .await?
        .with(0)?;
    ensure!(ran.out.contains("found it"), "{}", ran.out);
    bench.run(&["run", "--dir", path, "/say again"]).await?.with(0)?;
    let environments = bench.run(&["env", "list"]).await?.with(0)?;
    ensure!(
        environments.out.matches(path).count() == 2,
        "one environment, its name and its folder: {}",
        environments.out
    );
    bench.run(&["run", "--dir", "/does/not/exist", "hi"]).await?.with(1)?;
    Ok(())
}

/// Reads a verb's output until a line holds `part`.
async fn until(child: &mut Child, part: &str) -> Result<()> {
    let err = child.stderr.take().context("stderr")?;
    let mut lines = BufReader::new(err).lines();
    let wait = async {
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if line.contains(part) {
                return Ok(());
            }
            said.push(line);
        }
        anyhow::bail!("{part:?} never came, but {said:?}")
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .context(part.to_owned())??;
    // The verb must be able to write on.
    tokio::spawn(async move { while matches!(lines.next_line().await, Ok(Some(_))) {} });
    Ok(())
}

#[tokio::test]
async fn a_run_outlives_its_server() -> Result<()> {
    let mut bench = Bench::open().await?;
    let script = "/tokens 40 50\n/tool bash {\"command\":\"echo ran >> ledger; cat ledger\"}\n/then\n/say the end";
    let mut child = bench.command(&["run", script])?.spawn()?;
    until(&mut child, "session sesn_").await?;
    bench.restart().await?;
    let ran = done(child).await?.with(0)?;
    ensure!(ran.out.contains("the end") && ran.out.contains("✓ done"), "{}", ran.out);
    ensure!(
        ran.out.matches("│ ran").count() == 1,
        "the command ran once: {}",
        ran.out
    );
    let history = bench.run(&["session", "events", ran.last_line()]).await?.with(0)?;
    ensure!(history.out.contains("the end"), "{}", history.out);
    Ok(())
}

#[tokio::test]
async fn ctrl_c_interrupts_the_turn() -> Result<()> {
    let bench = Bench::open().await?;
    let mut child = bench.command(&["run", "/sleep 60000"])?.spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id().context("a pid")?)?);
    until(&mut child, "session sesn_").await?;
    kill(pid, Signal::SIGINT)?;
    let ran = done(child).await?.with(130)?;
    ensure!(ran.out.contains("■ interrupt"), "{}", ran.out);
    let shown = bench.run(&["session", "show", ran.last_line()]).await?.with(0)?;
    ensure!(shown.out.contains("idle"), "{}", shown.out);
    Ok(())
}

#[tokio::test]
async fn a_detached_run_goes_on_alone() -> Result<()> {
    let bench = Bench::open().await?;
    let ran = bench
        .run(&["run", "--detach", "/sleep 300\n/say done alone"])
        .await?
        .with(0)?;
    let session = ran.out.trim();
    let attached = bench.run(&["attach", session]).await?.with(0)?;
    ensure!(attached.out.contains("done alone"), "{}", attached.out);
    Ok(())
}

#[tokio::test]
async fn what_tools_print_cannot_drive_the_terminal() -> Result<()> {
    let bench = Bench::open().await?;
    let script = r#"/tool bash {"command":"printf '\\033[2J\\033]0;owned\\007'"}"#;
    let ran = bench.run(&["run", script]).await?.with(0)?;
    ensure!(
        !ran.out.contains('\u{1b}') && !ran.out.contains('\u{7}'),
        "{:?}",
        ran.out
    );
    ensure!(ran.out.contains("␛[2J"), "{}", ran.out);
    Ok(())
}
