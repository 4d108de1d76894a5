//! Much at once, and much at all: many calls on one machine, and outputs without an end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::rig::{Stand, results};

/// Several times as many as there may be shells.
const CALLS: usize = 200;

#[tokio::test]
async fn two_hundred_calls_at_once_each_have_their_turn() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let path = format!("/v1/executors/{}/calls", device.id);
    let began = Instant::now();
    let call = async |body: Value| -> Result<(Value, Duration)> {
        let said = stand.client().post(&path, &body).await?.ok()?;
        Ok((said, began.elapsed()))
    };
    let all = try_join_all((0..CALLS).map(|n| {
        let command = format!("echo {n} >> ledger; sleep 0.1; echo {n}");
        call(json!({"tool": "bash", "input": {"command": command}}))
    }));
    // Who needs no shell waits for none.
    let between = async {
        device.ledger_has("10").await?;
        let asked = Instant::now();
        let (said, _) = call(json!({"tool": "read", "input": {"file_path": "there"}})).await?;
        ensure!(said["is_error"] == false, "{said}");
        Ok(asked.elapsed())
    };
    let (all, between) = tokio::try_join!(all, between)?;
    for (n, (said, _)) in all.iter().enumerate() {
        ensure!(said["content"][0]["text"] == format!("{n}\n"), "{n}: {said}");
    }
    let mut ledger = device.ledger();
    ledger.sort_by_key(|line| line.parse::<usize>().unwrap_or(usize::MAX));
    ensure!(
        ledger == (0..CALLS).map(|n| n.to_string()).collect::<Vec<_>>(),
        "{ledger:?}"
    );
    let mut times: Vec<Duration> = all.into_iter().map(|(_, at)| at).collect();
    times.sort();
    let (first, middle, last) = (times[0], times[CALLS / 2], times[CALLS - 1]);
    println!(
        "{CALLS} calls at once: answered after {first:?}, {middle:?} and {last:?} (first, middle, last); a read between them after {between:?}"
    );
    // In turn and not all at the end, and a small one is not behind the large ones.
    ensure!(middle < last.mul_f64(0.8), "{middle:?} of {last:?}");
    ensure!(between < last / 2, "{between:?} of {last:?}");
    Ok(())
}

/// Bytes a process has in memory.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// F29: 10 MB, 40 MB through the tunnel, and an output without an end: shown in part, kept whole as far as anybody keeps it, and
/// in the memory of neither end.
#[tokio::test]
async fn outputs_without_an_end_are_bounded() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let session = stand.session_on(&device).await?;
    let pid = device.process()?.pid;
    stand.turn(&session, r#"/tool bash {"command":"echo warm"}"#).await?;
    let before = resident(pid)?;
    let mut most = before;
    for (command, kept) in [
        ("head -c 10000000 /dev/zero | tr '\\0' x", 10_000_000),
        // NULs, invalid UTF-8, control sequences.
        ("head -c 5000000 /dev/urandom", 5_000_000),
        ("head -c 40000000 /dev/zero | tr '\\0' y", 40_000_000),
    ] {
        let input = json!({"command": command});
        let events = stand.turn(&session, &format!("/tool bash {input}")).await?;
        most = most.max(resident(pid)?);
        let result = events
            .iter()
            .find(|event| event["type"] == "agent.tool_result")
            .context("a result")?
            .to_string();
        ensure!(result.len() < 3 << 20, "an event of {} bytes", result.len());
        let at = result.find("/blobs/").context("it is kept")? + "/blobs/".len();
        let blob = format!("/v1/sessions/{session}/blobs/{}", &result[at..at + 64]);
        let whole = stand.client().request("GET", &blob).send().await?.bytes().await?;
        ensure!(whole.len() == kept, "{} of {kept}", whole.len());
    }
    // Without an end: ended by its time, and what is kept has a bound too.
    let input = json!({"command": "yes", "timeout_ms": 3000});
    let events = stand.turn(&session, &format!("/tool bash {input}")).await?;
    most = most.max(resident(pid)?);
    let told = results(&events);
    ensure!(told.len() == 1 && told[0].len() < 1 << 20, "{} results", told.len());
    let growth = most.saturating_sub(before);
    println!(
        "the machine's process grew by {} KiB over outputs of 10, 5, 40 MB and one without an end",
        growth / 1024
    );
    ensure!(growth < 64 << 20, "{growth} bytes");
    // It is as well as before.
    let events = stand.turn(&session, r#"/tool bash {"command":"echo well"}"#).await?;
    ensure!(results(&events)[0].ends_with("well\n"), "{:?}", results(&events));
    Ok(())
}
