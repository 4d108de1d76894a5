//! Machines of a cluster: they dial one node, and every process reaches them there; a node that goes takes nothing with it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_proof::proxy::Cut;
use perennial_proof::rig::process::Program;
use perennial_tests::client::Client;
use perennial_tests::server::binary;
use rand::Rng as _;
use serde_json::{Value, json};

use crate::cluster_rig::Cluster;
use crate::drops::{count, say, seed};
use crate::rig::{Device, PATIENCE, results, session_on, turn};

async fn call(client: &Client, device: &Device, command: &str) -> Result<Value> {
    let body = json!({"tool": "bash", "input": {"command": command}});
    let path = format!("/v1/executors/{}/calls", device.id);
    client.post(&path, &body).await?.ok()
}

/// A command that waits for a file of this name, between two lines of the ledger.
fn gated(name: &str) -> String {
    format!(
        "echo {name}-begun >> ledger; while ! [ -e {name} ]; do sleep 0.02; done; echo {name}-ended >> ledger; echo done"
    )
}

fn ran_once(device: &Device, name: &str) -> bool {
    let ledger = device.ledger();
    let times = |line: String| ledger.iter().filter(|known| **known == line).count();
    (times(format!("{name}-begun")), times(format!("{name}-ended"))) == (1, 1)
}

/// With a bus and without one: the way to a machine needs none.
async fn every_process_reaches_it(bus: bool) -> Result<()> {
    let Some(cluster) = Cluster::start(2, 1, bus).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    // A worker, for a session.
    let session = session_on(cluster.client(1), &device).await?;
    let events = turn(cluster.client(1), &session, r#"/tool bash {"command":"pwd"}"#).await?;
    assert_eq!(
        results(&events),
        [format!("{}\n", device.work.display())],
        "{}",
        cluster.logs()
    );
    // More than an event holds comes whole, in pieces.
    let script = json!({"command": "seq 1 200000"});
    let events = turn(cluster.client(1), &session, &format!("/tool bash {script}")).await?;
    let shown = events
        .iter()
        .find(|event| event["type"] == "agent.tool_result")
        .context("a result")?
        .to_string();
    let at = shown.find("/blobs/").context(shown.clone())? + "/blobs/".len();
    let blob = format!("/v1/sessions/{session}/blobs/{}", &shown[at..at + 64]);
    let whole = cluster.client(1).request("GET", &blob).send().await?.bytes().await?;
    assert_eq!(
        whole.len(),
        (1..=200_000).map(|n: u32| n.to_string().len() + 1).sum::<usize>()
    );
    // And input larger than any question over a bus.
    let long = "x".repeat(1 << 20);
    let script = json!({"file_path": "large", "content": long});
    turn(cluster.client(1), &session, &format!("/tool write {script}")).await?;
    assert_eq!(std::fs::read_to_string(device.work.join("large"))?, long);
    // Both nodes: the one that holds the tunnel and the other, also by the command line.
    for node in 0..2 {
        let said = call(cluster.client(node), &device, "echo through").await?;
        assert_eq!(said["content"][0]["text"], "through\n");
    }
    let output = tokio::process::Command::new(binary()?)
        .args(["call", "laptop", "bash", r#"{"command":"echo hi; exit 3"}"#])
        .env_clear()
        .env("HOME", cluster.dir.path())
        .env("PERENNIAL_URL", format!("http://{}", cluster.address(1)))
        .env("PERENNIAL_KEY", cluster.client(1).key())
        .output()
        .await?;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    // Removed through the other node, it is let go of soon.
    let began = Instant::now();
    let path = format!("/v1/executors/{}", device.id);
    cluster
        .client(1)
        .send(cluster.client(1).request("DELETE", &path))
        .await?
        .ok()?;
    let mut device = device;
    device.process()?.ended(Duration::from_secs(5)).await?;
    println!("removed through another node, it ended after {:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn every_process_of_a_cluster_reaches_a_machine() -> Result<()> {
    every_process_reaches_it(true).await
}

#[tokio::test]
async fn no_bus_is_needed_to_reach_a_machine() -> Result<()> {
    every_process_reaches_it(false).await
}

/// F1 and F21: the node that holds the tunnel is killed in the middle of calls, again and again.
#[tokio::test]
async fn calls_outlive_the_node_that_holds_the_tunnel() -> Result<()> {
    let Some(mut cluster) = Cluster::start(2, 1, true).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    let session = session_on(cluster.client(1), &device).await?;
    let lives = if std::env::var_os("PERENNIAL_TORTURE").is_some() {
        20
    } else {
        2
    };
    for life in 0..lives {
        // The machine is at node `life % 2`, where nothing else is asked.
        let (holder, other) = (life % 2, (life + 1) % 2);
        let (mine, single) = (format!("turn-{life}"), format!("call-{life}"));
        let client = cluster.client(other).clone();
        let after = client.log(&session).await?.len() as u64;
        let input = json!({"command": gated(&mine)});
        client.say(&session, &format!("/tool bash {input}")).await?;
        let calling = {
            let (client, command, id) = (client.clone(), gated(&single), device.id.clone());
            tokio::spawn(async move {
                let body = json!({"tool": "bash", "input": {"command": command}});
                client.post(&format!("/v1/executors/{id}/calls"), &body).await?.ok()
            })
        };
        device.ledger_has(&format!("{mine}-begun")).await?;
        device.ledger_has(&format!("{single}-begun")).await?;
        let taken = cluster.balancer.taken.load(Ordering::Relaxed);
        cluster.route(other);
        let killed = Instant::now();
        cluster.nodes[holder].member.process.kill().await?;
        // Every other time they end while nobody hears of it.
        if life % 4 < 2 {
            cluster.balancer.another(taken).await?;
        }
        std::fs::write(device.work.join(&mine), "")?;
        std::fs::write(device.work.join(&single), "")?;
        let said = calling.await??;
        assert_eq!(said["content"][0]["text"], "done\n", "{}", cluster.logs());
        let (events, _) = client.until_idle(&session, after, PATIENCE).await?;
        assert_eq!(results(&events), ["done\n"], "{}", cluster.logs());
        assert!(
            ran_once(&device, &mine) && ran_once(&device, &single),
            "{:?}",
            device.ledger()
        );
        println!(
            "life {life}: both calls were told {:?} after the node's death",
            killed.elapsed()
        );
        cluster.revive(holder).await?;
    }
    Ok(())
}

/// A worker that is killed in the middle of a call leaves it to another, which finds the machine by itself; an interrupt reaches
/// the machine from there.
#[tokio::test]
async fn calls_outlive_the_worker_that_sent_them() -> Result<()> {
    let Some(mut cluster) = Cluster::start(1, 1, true).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    let client = cluster.client(0).clone();
    let session = session_on(&client, &device).await?;
    for name in ["attached", "stopped"] {
        let after = client.log(&session).await?.len() as u64;
        let input = json!({"command": gated(name)});
        client.say(&session, &format!("/tool bash {input}")).await?;
        device.ledger_has(&format!("{name}-begun")).await?;
        cluster.workers[0].process.kill().await?;
        if name == "stopped" {
            let interrupt = json!({"events": [{"type": "user.interrupt"}]});
            client
                .post(&format!("/v1/sessions/{session}/events"), &interrupt)
                .await?
                .ok()?;
        } else {
            std::fs::write(device.work.join(name), "")?;
        }
        cluster.workers[0].process = cluster.workers[0].program.start()?;
        let (events, _) = client.until_idle(&session, after, PATIENCE).await?;
        if name == "attached" {
            assert_eq!(results(&events), ["done\n"], "{}", cluster.logs());
            assert!(ran_once(&device, name));
        } else {
            // Nothing of it is alive: what it waits for comes, and it does not go on.
            let events = turn(&client, &session, r#"/tool bash {"command":"echo next"}"#).await?;
            assert!(results(&events)[0].contains("next"), "{:?}", results(&events));
            std::fs::write(device.work.join(name), "")?;
            let said = call(&client, &device, "sleep 0.3; cat ledger").await?;
            let text = said["content"][0]["text"].as_str().context("text")?;
            assert!(!text.contains("stopped-ended"), "{text}");
        }
    }
    Ok(())
}

/// A rolling restart is a reconnect: every machine answers again within two seconds of losing its node.
#[tokio::test]
async fn a_rolling_restart_is_a_reconnect() -> Result<()> {
    let Some(mut cluster) = Cluster::start(2, 0, false).await? else {
        return Ok(());
    };
    let mut devices = Vec::new();
    for n in 0..3 {
        devices.push(cluster.device(&format!("machine-{n}")).await?);
    }
    let mut times = Vec::new();
    for round in 0..4 {
        let (holder, other) = (round % 2, (round + 1) % 2);
        cluster.route(other);
        let began = Instant::now();
        let ended = cluster.nodes[holder].member.process.stop(PATIENCE).await?;
        ensure!(ended.success(), "{}", cluster.logs());
        for device in &devices {
            let said = call(cluster.client(other), device, "echo here").await?;
            assert_eq!(said["content"][0]["text"], "here\n");
        }
        times.push(began.elapsed());
        cluster.revive(holder).await?;
    }
    println!("3 machines had answered again after {times:?}");
    // Of a machine that is busy with other things at some moment, the others tell.
    let best = times.iter().min().context("several were measured")?;
    assert!(*best < Duration::from_secs(2), "{times:?}: {}", cluster.logs());
    for device in &mut devices {
        assert!(!device.process()?.is_gone(), "{}", device.program.log());
    }
    Ok(())
}

/// F24 across nodes: the newest connection counts, the other process is told, and nothing is sent to it any more.
#[tokio::test]
async fn of_two_with_one_identity_at_two_nodes_the_newest_counts() -> Result<()> {
    let Some(cluster) = Cluster::start(2, 1, true).await? else {
        return Ok(());
    };
    let mut device = cluster.device("laptop").await?;
    let session = session_on(cluster.client(1), &device).await?;
    // A worker and the other node have ways to it by now.
    turn(cluster.client(1), &session, r#"/tool bash {"command":"echo first"}"#).await?;
    call(cluster.client(1), &device, "echo first").await?;
    let state = ".local/state/perennial";
    let thief = cluster.dir.path().join("thief");
    std::fs::create_dir_all(thief.join(state))?;
    std::fs::copy(
        device.home.join(state).join("registry.json"),
        thief.join(state).join("registry.json"),
    )?;
    let program = Program {
        data_dir: thief.clone(),
        log_file: cluster.dir.path().join("thief.log"),
        ..device.program.clone()
    };
    cluster.route(1);
    let began = Instant::now();
    let mut second = program.start()?;
    let ended = device.process()?.ended(PATIENCE).await?;
    println!("the older one was fenced after {:?}", began.elapsed());
    assert_eq!(ended.code(), Some(1));
    assert!(
        device.program.log().contains("another process connected"),
        "{}",
        device.program.log()
    );
    // Whoever had a way to the older one has one to the newer: another journal, so another home.
    for node in 0..2 {
        let said = call(cluster.client(node), &device, "echo newest").await?;
        assert_eq!(said["content"][0]["text"], "newest\n", "{}", cluster.logs());
    }
    let events = turn(cluster.client(1), &session, r#"/tool bash {"command":"echo newest"}"#).await?;
    assert!(results(&events)[0].ends_with("newest\n"), "{:?}", results(&events));
    assert!(!second.is_gone(), "{}", program.log());
    second.stop(PATIENCE).await?;
    Ok(())
}

/// F20 and F21 between a worker and the node: the way to a machine is cut at random bytes, and its calls are none the wiser.
#[tokio::test]
async fn no_call_is_lost_or_run_twice_when_a_trunk_drops() -> Result<()> {
    let Some(cluster) = Cluster::start(1, 1, false).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    let client = cluster.client(0);
    let session = session_on(client, &device).await?;
    let proxy = &cluster.nodes[0].trunks;
    let (trials, mut random) = (count(200), seed("trunk drops"));
    let (mut expected, before) = (Vec::new(), proxy.counters());
    for trial in 0..trials {
        let id = format!("trial-{trial}");
        let (script, ran) = match trial % 3 {
            0 => ("/tool read {\"file_path\":\"there\"}".to_owned(), None),
            1 => (format!("/tool write {}", json!({"file_path": id, "content": id})), None),
            _ => {
                let command = format!("echo {id} >> ledger; sleep 0.0{}; echo {id}", random.random_range(0..9));
                (format!("/tool bash {}", json!({"command": command})), Some(&id))
            }
        };
        expected.extend(ran.cloned());
        // The worker is the client here: calls are what it asks, results what it is answered.
        proxy.cut(if random.random_bool(0.5) {
            Cut::Request {
                bytes: random.random_range(1..600),
            }
        } else {
            Cut::Answer {
                bytes: random.random_range(1..300),
            }
        });
        let told = results(&turn(client, &session, &script).await?);
        let right = match trial % 3 {
            0 => told.len() == 1 && told[0].contains("there"),
            1 => std::fs::read_to_string(device.work.join(&id)).unwrap_or_default() == id,
            _ => told == [format!("{id}\n")],
        };
        ensure!(right, "{id}: {told:?}\n{}", cluster.logs());
    }
    proxy.heal();
    let cuts = proxy.counters().cut - before.cut;
    ensure!(device.ledger() == expected, "{:?}", device.ledger());
    say(format_args!(
        "trunk drops: {cuts} of {trials} calls were cut; 0 lost, 0 twice, 0 in doubt"
    ));
    ensure!(cuts > trials / 4, "most cuts met nothing: the rig is vacuous");
    Ok(())
}
