//! A sandbox and somebody's machine, both of one session.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use perennial_proof::rig::process::Program;
use serde_json::json;

use crate::rig::{PATIENCE, Stand, results};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_chooses_between_a_machine_and_a_sandbox() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let work = dir.path().join("work");
    std::fs::create_dir(&work)?;
    let code = stand.client().post("/v1/executors/codes", &json!({})).await?.ok()?;
    let base = stand.client().request("GET", "/").build()?.url().to_string();
    let words = [
        "--dir",
        work.to_str().context("a path")?,
        "--server",
        base.trim_end_matches('/'),
        "--code",
        code["secret"].as_str().context("a code")?,
        "--name",
        "laptop",
    ];
    let machine = Program {
        verb: "connect",
        data_dir: dir.path().join("home"),
        log_file: dir.path().join("home.log"),
        env: Vec::new(),
        args: words.map(str::to_owned).to_vec(),
    };
    let mut process = machine.start()?;
    let began = Instant::now();
    let laptop = loop {
        let list = stand.client().get("/v1/executors?limit=100").await?.ok()?;
        let found = list["data"].as_array().context("a list")?.first().cloned();
        if let Some(found) = found.filter(|found| found["status"] == "online") {
            break found["id"].as_str().context("an id")?.to_owned();
        }
        ensure!(began.elapsed() < PATIENCE, "it does not connect: {}", machine.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let config = json!({"executors": [{"executor_id": laptop}]});
    let made = stand.session(&config).await?;
    let call = |command: &str, executor: Option<&str>| {
        let mut input = json!({"command": command});
        if let Some(executor) = executor {
            input["executor"] = json!(executor);
        }
        format!("/tool bash {input}")
    };
    // The machine unless said; no sandbox is made for that.
    let events = stand.turn(&made.session, &call("pwd", None)).await?;
    assert_eq!(results(&events), [format!("{}\n", work.display())]);
    assert_eq!(stand.made_for(&made.session)?, [""; 0]);
    // Both in one step, each in its own place.
    let both = [call("pwd; id -u > who", Some("sandbox")), call("pwd", Some("laptop"))].join("\n");
    let events = stand.turn(&made.session, &both).await?;
    let mut told = results(&events);
    told.sort();
    let mut expected = ["/sandbox/work\n".to_owned(), format!("{}\n", work.display())];
    expected.sort();
    assert_eq!(told, expected, "{}", stand.up.log());
    assert_eq!(stand.made_for(&made.session)?.len(), 2);
    assert!(!work.join("who").exists());
    // Detached, there is nothing left to choose.
    let path = format!("/v1/sessions/{}/executors/{laptop}", made.session);
    stand
        .client()
        .send(stand.client().request("DELETE", &path))
        .await?
        .ok()?;
    let events = stand.turn(&made.session, &call("cat who", None)).await?;
    assert_eq!(results(&events), ["65532\n"]);
    process.stop(PATIENCE).await?;
    Ok(())
}
