//! Tool output that is too long for an event: whole in a blob that the event names, whatever dies on the way (I16).

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::Client;
use perennial_tests::server::{Server, Up};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// `seq` prints this many lines, 10.9 MB.
const LINES: u32 = 1_500_000;
/// What the server may grow by: the output once in memory while it is stored, and what is shown of it in several forms.
const GROWTH: u64 = 64 * 1024 * 1024;

fn printed() -> String {
    (1..=LINES).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

async fn begin(client: &Client) -> Result<String> {
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    let session = client.session(&agent, &environment).await?;
    let script = format!("/tool bash {{\"command\":\"seq {LINES}\"}}\n/then\n/say done");
    client.say(&session, &script).await?;
    Ok(session)
}

/// The blob that the one tool result names, and the text beside it.
async fn kept(server: &Server, session: &str) -> Result<(String, bytes::Bytes)> {
    let (events, _) = server.client.until_idle(session, 0, PATIENCE).await?;
    let results: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "agent.tool_result")
        .collect();
    ensure!(results.len() == 1, "{} results", results.len());
    let shown = results[0]["content"][0]["text"].as_str().context("no text")?;
    ensure!(shown.len() <= perennial_schema::limits::TOOL_OUTPUT_BYTES);
    let note = results[0]["content"][1]["text"].as_str().context("no reference")?;
    let path = note
        .split("GET ")
        .nth(1)
        .with_context(|| note.to_owned())?
        .trim_end_matches(']');
    let answer = server.client.request("GET", path).send().await?.error_for_status()?;
    Ok((shown.to_owned(), answer.bytes().await?))
}

fn peak_memory(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .context("no VmHWM")?;
    let kib: u64 = line.split_ascii_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1024)
}

#[tokio::test]
async fn ten_megabytes_are_kept_whole_in_bounded_memory() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let server = Up::on(&data).start().await?;
    let before = peak_memory(&server)?;
    let session = begin(&server.client).await?;
    let (shown, whole) = kept(&server, &session).await?;
    assert!(whole == printed(), "{} bytes", whole.len());
    assert!(shown.starts_with("1\n2\n") && shown.ends_with(&format!("{LINES}\n")) && shown.contains("bytes omitted"));
    let grown = peak_memory(&server)?.saturating_sub(before);
    assert!(grown < GROWTH, "{grown} bytes more");
    let left: Vec<_> = std::fs::read_dir(data.join("executor/outputs"))?.collect();
    assert!(left.is_empty(), "the executor's copy has gone: {left:?}");
    for path in [
        format!("/v1/sessions/{session}/blobs/{}", "0".repeat(64)),
        format!("/v1/sessions/{session}/blobs/..%2Fkey"),
        format!("/v1/sessions/sesn_{}/blobs/{}", "0".repeat(32), "0".repeat(64)),
    ] {
        assert_eq!(server.client.get(&path).await?.status, 404, "{path}");
    }
    server.kill().await
}

#[tokio::test]
async fn a_long_output_outlives_deaths_around_its_event() -> Result<()> {
    for point in [
        "executor.end.after=1",
        "worker.result.before=1",
        "worker.result.after=1",
    ] {
        let dir = tempfile::tempdir()?;
        let up = Up::on(&dir.path().join("data"));
        let mut server = up.clone().env("PERENNIAL_KILL_AT", point).start().await?;
        let session = begin(&server.client).await?;
        server.ended(PATIENCE).await.context(point)?;
        let server = up.start().await?;
        let (_, whole) = kept(&server, &session).await.context(point)?;
        assert!(whole == printed(), "{point}: {} bytes", whole.len());
        server.kill().await?;
    }
    Ok(())
}
