//! F21: the tunnel is cut at random bytes, before and after a call is delivered. No call is lost, none runs twice.

use anyhow::{Context, Result};
use perennial_proof::proxy::{Cut, Proxy};
use perennial_tests::not_run;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::rig::{Stand, results};

/// How often; `make torture` ten times as often.
fn cuts() -> u64 {
    if std::env::var_os("PERENNIAL_TORTURE").is_some() {
        500
    } else {
        50
    }
}

#[tokio::test]
async fn no_call_is_lost_or_run_twice_when_the_tunnel_drops() -> Result<()> {
    let trials = cuts();
    let stand = Stand::start().await?;
    let upstream = stand.url.strip_prefix("http://").context("an address")?;
    let proxy = Proxy::before(upstream).await?;
    let device = stand
        .device("laptop", Some(format!("http://{}", proxy.address())))
        .await?;
    let session = stand.session_on(&device).await?;
    let seed = std::env::var("PERENNIAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = rand::rngs::StdRng::seed_from_u64(seed.unwrap_or(5));
    let (mut expected, mut cuts) = (Vec::new(), 0);
    for trial in 0..trials {
        // A call is some five hundred bytes from the server, its result some two hundred from the machine.
        let (bytes, cut) = if random.random_bool(0.5) {
            let bytes = random.random_range(1..220);
            (bytes, Cut::Request { bytes })
        } else {
            let bytes = random.random_range(1..500);
            (bytes, Cut::Answer { bytes })
        };
        proxy.cut(cut);
        let before = proxy.counters().cut;
        let id = format!("trial-{trial}");
        let said = match trial % 3 {
            0 => {
                expected.push(id.clone());
                let input = json!({"command": format!("echo {id} >> ledger; echo {id}")});
                stand.turn(&session, &format!("/tool bash {input}")).await?
            }
            1 => {
                let input = json!({"file_path": id, "content": id});
                stand.turn(&session, &format!("/tool write {input}")).await?
            }
            _ => {
                let input = json!({"file_path": format!("trial-{}", trial - 1)});
                stand.turn(&session, &format!("/tool read {input}")).await?
            }
        };
        cuts += proxy.counters().cut - before;
        // Its journal was there all the time: nothing is in doubt.
        let told = results(&said);
        let right = match trial % 3 {
            0 => told == [format!("{id}\n")],
            1 => std::fs::read_to_string(device.work.join(&id))? == id,
            _ => told.len() == 1 && told[0].contains(&format!("trial-{}", trial - 1)),
        };
        assert!(right, "{id}, cut after {bytes} bytes: {told:?}\n{}", stand.up.log());
    }
    proxy.heal();
    assert_eq!(device.ledger(), expected);
    // Epochs and journals say the same of the whole log.
    let log = stand.client().log(&session).await?;
    let uses = log.iter().filter(|event| event["type"] == "agent.tool_use").count() as u64;
    let ends = log.iter().filter(|event| event["type"] == "agent.tool_result").count() as u64;
    assert_eq!((uses, ends), (trials, trials));
    println!("{cuts} of {trials} cuts met a call on its way");
    if cuts < trials / 2 {
        not_run("most cuts met nothing")?;
    }
    Ok(())
}
