//! From a user's message to the first upstream request, cold and warm, beside the bare binary under the same conditions.
//! The numbers are printed; what is asserted has room for a busy machine.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::bench::{Bench, installed, said};
use crate::upstream::{Reply, Upstream, text};

const WARM: usize = 20;
const COLD: usize = 4;

#[tokio::test]
async fn the_first_request_is_not_late() {
    let Some(mut bench) = Bench::open(Vec::new()).await else {
        return;
    };
    let (mut cold, mut bare, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    bench.upstream.push(Reply::Says(vec![text("hello")]));
    println!(
        "the first of a worker, which looks at the installation: {:?}",
        first_request(&mut bench).await
    );
    for _ in 0..COLD {
        bare.push(bare_first_request().await);
        bench.end_process().await;
        bench.upstream.push(Reply::Says(vec![text("hello")]));
        cold.push(first_request(&mut bench).await);
    }
    for _ in 0..WARM {
        bench.upstream.push(Reply::Says(vec![text("hello")]));
        bench.another_drive();
        warm.push(first_request(&mut bench).await);
    }
    println!("user message to first upstream request, median and least:");
    for (what, times) in [("cold", &mut cold), ("bare codex", &mut bare), ("warm", &mut warm)] {
        times.sort();
        println!(
            "{what}: {:?}, {:?} (n={})",
            times[times.len() / 2],
            times[0],
            times.len()
        );
    }
    // A busy machine makes some late, a slow way all of them.
    assert!(warm[0] < Duration::from_millis(250), "{warm:?}");
    assert!(cold[0] < bare[0] + Duration::from_millis(250), "{cold:?} {bare:?}");
}

async fn first_request(bench: &mut Bench) -> Duration {
    let before = bench.upstream.received().len();
    let begun = Instant::now();
    bench.think(vec![said("go")]).await.unwrap();
    bench.upstream.received()[before].at - begun
}

/// The app-server alone, in an empty home, with a thread of its own.
async fn bare_first_request() -> Duration {
    let upstream = Upstream::start(vec![Reply::Says(vec![text("hello")])]).await;
    let home = tempfile::tempdir().unwrap();
    let provider = format!(
        "model = \"gpt-5.5\"\nmodel_provider = \"gw\"\n[model_providers.gw]\nname = \"gw\"\nbase_url = \"{}\"\n",
        upstream.url
    );
    std::fs::write(home.path().join("config.toml"), provider).unwrap();
    let begun = Instant::now();
    let mut child = Command::new(installed().unwrap())
        .arg("app-server")
        .env_clear()
        .env("HOME", home.path())
        .env("CODEX_HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = BufReader::new(stdout).lines();
    let hello =
        json!({"clientInfo": {"name": "t", "title": "t", "version": "0"}, "capabilities": {"experimentalApi": true}});
    let mut thread = json!(null);
    for (id, method) in [(1, "initialize"), (2, "thread/start"), (3, "turn/start")] {
        let params = match id {
            1 => hello.clone(),
            2 => json!({"cwd": home.path()}),
            _ => json!({"threadId": thread, "input": [{"type": "text", "text": "go"}]}),
        };
        let line = json!({"id": id, "method": method, "params": params});
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == id {
                thread = answer["result"]["thread"]["id"].clone();
                break;
            }
        }
        // The last one's answer is needed no more.
        if id == 2 {
            assert!(thread.is_string());
        }
    }
    upstream.asked(1).await;
    upstream.received()[0].at - begun
}
