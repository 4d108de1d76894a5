//! F20 and F21: a network that goes away without a word, both ways or one. Both ends find out within two heartbeats, whatever
//! travels then breaks instead of hanging, and a call that went on meanwhile is found when the network is back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_proof::proxy::{Faults, Proxy};
use serde_json::json;

use crate::rig::{Device, PATIENCE, Stand, results, wait_until};

/// As in the product.
const BEAT: Duration = perennial_tunnel::limits::BEAT;
/// Two of them, and what a busy machine adds.
const FOUND: Duration = Duration::from_millis(12_500);

const HALF_OPEN: [(&str, bool, bool); 3] = [
    ("nothing passes", true, true),
    ("nothing passes from the machine", true, false),
    ("nothing passes to the machine", false, true),
];

fn losses(device: &Device) -> usize {
    device.program.log().matches("the line is down").count()
}

#[tokio::test]
async fn half_open_lines_are_found_within_two_heartbeats() -> Result<()> {
    let stand = Stand::start().await?;
    let upstream = stand.url.strip_prefix("http://").context("an address")?;
    let proxy = Proxy::before(upstream).await?;
    let device = stand
        .device("laptop", Some(format!("http://{}", proxy.address())))
        .await?;
    let session = stand.session_on(&device).await?;
    std::fs::write(device.work.join("large"), vec![7; 100 << 20])?;
    for (trial, (what, swallow_requests, swallow_answers)) in HALF_OPEN.into_iter().enumerate() {
        let (begun, go) = (format!("begun-{trial}"), format!("go-{trial}"));
        let command = format!("echo {begun} >> ledger; while ! [ -e {go} ]; do sleep 0.02; done; echo ended");
        let after = stand.client().log(&session).await?.len() as u64;
        let script = json!({"command": command}).to_string();
        stand.client().say(&session, &format!("/tool bash {script}")).await?;
        device.ledger_has(&begun).await?;
        // A file that nobody reads for now: it is under way all the time.
        let path = format!("/v1/executors/{}/files?path=large", device.id);
        let request = stand.client().request("GET", &path).timeout(Duration::from_secs(120));
        let mut file = request.send().await?;
        file.chunk().await?.context("it begins")?;
        let lost = losses(&device);
        proxy.set(Faults {
            swallow_requests,
            swallow_answers,
            ..Faults::default()
        });
        let began = Instant::now();
        let server = async {
            stand.until(&device.id, "offline").await?;
            anyhow::Ok(began.elapsed())
        };
        let machine = async {
            wait_until(|| Ok(losses(&device) > lost)).await?;
            anyhow::Ok(began.elapsed())
        };
        let (server, machine) = tokio::try_join!(server, machine).with_context(|| device.program.log())?;
        println!("\nring 2: {what}: found by the server after {server:?}, by the machine after {machine:?}");
        ensure!(server.max(machine) < FOUND, "{what}: {server:?} {machine:?}");
        ensure!(
            server.max(machine) > BEAT,
            "{what}: {server:?} {machine:?}: it was told"
        );
        // Half a file never looks whole, and does not hang.
        let rest = async {
            while file.chunk().await?.is_some() {}
            Ok::<_, reqwest::Error>(())
        };
        let rest = tokio::time::timeout(PATIENCE, rest).await;
        ensure!(
            rest.context("the file hangs")?.is_err(),
            "{what}: half a file looked whole"
        );
        proxy.heal();
        proxy.drop_connections();
        stand.online(&device.id).await?;
        std::fs::write(device.work.join(&go), "")?;
        let (events, _) = stand.client().until_idle(&session, after, PATIENCE).await?;
        ensure!(results(&events) == ["ended\n"], "{what}: {:?}", results(&events));
        let times = device.ledger().iter().filter(|line| **line == begun).count();
        ensure!(times == 1, "{what}: it ran {times} times");
    }
    Ok(())
}
