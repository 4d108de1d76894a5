//! Sandboxes of a cluster: a server with an engine makes them, workers elsewhere call them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use perennial_tests::server::binary;
use serde_json::json;

use crate::cluster_rig::Cluster;
use crate::rig::{PATIENCE, results, script};

/// create → call → pause → resume → the server dies → the worker dies → delete. The client, the worker and the engine are in three
/// processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_outlives_every_process_of_its_cluster() -> Result<()> {
    let Some(mut cluster) = Cluster::start(&[false, true], 2, true, 60).await? else {
        return Ok(());
    };
    let session = cluster.session(&json!({"idle_timeout": 1, "memory": "128m"})).await?;
    let began = Instant::now();
    let told = cluster
        .bash(&session, "id -u; echo $((6*7)) > ~/kept; cat ~/kept")
        .await?;
    assert_eq!(told, "65532\n42\n", "{}", cluster.said());
    println!("the first call took {:?}", began.elapsed());
    let first = cluster.container(&session)?;
    // Nobody calls, and it is paused by the server, which no call went through.
    cluster.until(&session, "exited").await?;
    let began = Instant::now();
    let told = cluster.bash(&session, "cat kept").await?;
    println!("the first call after a pause took {:?}", began.elapsed());
    assert!(told.ends_with("42\n"), "{told}");
    assert_eq!(cluster.container(&session)?["Id"], first["Id"]);

    // The server that made it dies. What runs goes on, and its next life finds it.
    let other = cluster.session(&json!({})).await?;
    cluster.bash(&other, "echo here > kept; export KEPT=1").await?;
    let running = cluster.container(&other)?;
    cluster.servers[1].process.kill().await?;
    cluster.servers[1].revive().await?;
    let told = cluster.bash(&other, "cat kept; echo $KEPT").await?;
    assert_eq!(told, "here\n1\n", "{}", cluster.said());
    let still = cluster.container(&other)?;
    assert_eq!(
        (&still["Id"], &still["State"]["StartedAt"]),
        (&running["Id"], &running["State"]["StartedAt"])
    );

    // The worker dies in the middle of a call that takes longer than the sandbox is kept idle: another one hears of its end.
    cluster.workers[1].process.kill().await?;
    let after = cluster.client.log(&session).await?.len() as u64;
    let command = "echo begun >> ledger; sleep 3; echo ended >> ledger; cat ledger";
    cluster.client.say(&session, &script(command)).await?;
    cluster.until_ledger(&session, "begun").await?;
    cluster.workers[0].process.kill().await?;
    cluster.workers[1].revive().await?;
    let (events, _) = cluster.client.until_idle(&session, after, PATIENCE).await?;
    // If it was paused before, its shell is another one, which is told first.
    let told = results(&events);
    assert!(
        told.len() == 1 && told[0].ends_with("begun\nended\n"),
        "{told:?} {}",
        cluster.said()
    );

    // Both at once, in the middle of a call.
    let after = cluster.client.log(&other).await?.len() as u64;
    cluster.client.say(&other, &script(command)).await?;
    cluster.until_ledger(&other, "begun").await?;
    cluster.servers[1].process.kill().await?;
    cluster.workers[1].process.kill().await?;
    cluster.workers[0].revive().await?;
    cluster.servers[1].revive().await?;
    let (events, _) = cluster.client.until_idle(&other, after, PATIENCE).await?;
    assert_eq!(results(&events), ["begun\nended\n"], "{}", cluster.said());

    // A server that has no engine looks into it like any other caller, and does not make one to look.
    let diff = async |session: &str| cluster.client.get(&format!("/v1/sessions/{session}/diff?path=r")).await;
    // The image has no git, which is what it is told.
    let told = diff(&session).await?;
    assert!(
        told.status == 409 && told.body.to_string().contains("no_diff"),
        "{told:?}"
    );
    let idle = cluster.session(&json!({})).await?;
    crate::rig::turn(&cluster.client, &idle, "hello").await?;
    let told = diff(&idle).await?;
    assert!(
        told.status == 409 && told.body.to_string().contains("no sandbox now"),
        "{told:?}"
    );
    assert_eq!(cluster.made_for(&idle)?, [""; 0]);

    // What doctor says of all this, wherever it is asked.
    let mut doctor = tokio::process::Command::new(binary()?);
    doctor.args(["doctor", "--database-url", &cluster.database, "--data-dir"]);
    let output = doctor.arg(cluster.dir.path()).env_clear().output().await?;
    let said = String::from_utf8(output.stdout)?;
    let home = cluster.servers[1].program.data_dir.display().to_string();
    let line = said.lines().find(|line| line.contains("sandboxes of the cluster"));
    let line = line.with_context(|| said.clone())?;
    assert!(
        line.contains("ok    ") && line.contains("Docker ") && line.contains(&home),
        "{line}"
    );

    // And nothing is left of a session that is deleted at a server without an engine.
    for session in [&session, &other] {
        cluster.delete(session).await?;
    }
    let list = cluster.client.get("/v1/executors?limit=100").await?.ok()?;
    assert_eq!(list["data"], json!([]));
    let doors = std::fs::read_dir(cluster.servers[1].program.data_dir.join("doors"))?;
    assert_eq!(doors.count(), 0);
    Ok(())
}

/// Many sessions begin at once, two servers have engines, and each session has one sandbox of one of them, also when one of the servers
/// dies meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_never_make_two_sandboxes_of_one_session() -> Result<()> {
    let Some(mut cluster) = Cluster::start(&[true, true], 2, true, 60).await? else {
        return Ok(());
    };
    let (mut all, mut counts) = (Vec::new(), BTreeMap::new());
    for dies in [false, true, false, false] {
        // Once more, when one of them was always the first.
        if all.len() >= 16 && counts.len() == 2 {
            break;
        }
        let mut sessions = Vec::new();
        for _ in 0..8 {
            sessions.push(cluster.session(&json!({"memory": "64m"})).await?);
        }
        let began = Instant::now();
        for session in &sessions {
            let command = script("echo made >> ledger; cat ledger");
            cluster.client.say(session, &command).await?;
        }
        if dies {
            cluster.until_any(&sessions[0]).await?;
            cluster.servers[1].process.kill().await?;
            cluster.servers[1].revive().await?;
        }
        for session in &sessions {
            let (events, _) = cluster.client.until_idle(session, 0, PATIENCE).await?;
            assert_eq!(results(&events), ["made\n"], "{}", cluster.said());
            // A container and its volume; what was half made when its maker died is removed.
            cluster.until_count(session, 2).await?;
        }
        let took = began.elapsed();
        all.extend(sessions);
        counts = cluster.by_instance(&all)?;
        println!(
            "{} sandboxes, the last 8 in {took:?}, of each server: {:?}",
            all.len(),
            counts.values()
        );
        ensure!(counts.values().sum::<usize>() == all.len());
    }
    ensure!(
        counts.len() == 2,
        "one of the servers made none: the race is vacuous: {counts:?}"
    );
    let began = Instant::now();
    for session in &all {
        cluster.delete(session).await?;
    }
    println!("all of them were deleted in {:?}", began.elapsed());
    Ok(())
}

/// A server that does not come back is given up with what it made: the next call says so, and the one after that has another sandbox
/// elsewhere. When it does come back, it removes what is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_is_given_up() -> Result<()> {
    let Some(mut cluster) = Cluster::start(&[false, true], 1, false, 4).await? else {
        return Ok(());
    };
    let session = cluster.session(&json!({})).await?;
    assert_eq!(cluster.bash(&session, "echo first > kept; cat kept").await?, "first\n");
    let first = cluster.container(&session)?;
    let after = cluster.client.log(&session).await?.len() as u64;
    let command = "echo begun >> ledger; sleep 60";
    cluster.client.say(&session, &script(command)).await?;
    cluster.until_ledger(&session, "begun").await?;
    cluster.servers[1].process.kill().await?;
    let began = Instant::now();
    let (events, _) = cluster.client.until_idle(&session, after, PATIENCE).await?;
    let told = results(&events);
    // A shell command may have done anything.
    assert!(
        told.len() == 1
            && told[0].contains("outcome of this call is unknown")
            && told[0].contains("lost with its files"),
        "{told:?} {}",
        cluster.said()
    );
    println!("it was given up after {:?}", began.elapsed());
    // What is made next, in this case at the same server again, is another one.
    cluster.servers[1].revive().await?;
    let told = cluster.bash(&session, "ls").await?;
    assert_eq!(told, "[no output]", "{}", cluster.said());
    cluster.until_count(&session, 2).await?;
    assert_ne!(cluster.container(&session)?["Id"], first["Id"]);
    cluster.delete(&session).await
}

/// Without an engine in the whole cluster, an environment that names an image is refused at once, and others are folders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_makes_is_an_error_and_not_a_wait() -> Result<()> {
    let Some(mut cluster) = Cluster::start(&[false], 1, true, 60).await? else {
        return Ok(());
    };
    let session = cluster.session(&json!({"image": "debian:stable-slim"})).await?;
    let began = Instant::now();
    let told = cluster.bash(&session, "true").await?;
    assert!(
        told.contains("could not be started") && told.contains("no server of this install makes sandboxes"),
        "{told}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let folder = cluster.session(&json!({})).await?;
    assert_eq!(cluster.bash(&folder, "echo here > kept; cat kept").await?, "here\n");
    // As soon as there is one, it is used.
    let engine = [
        "--docker",
        &cluster.engine.host,
        "--sandbox-image",
        perennial_tests::docker::IMAGE,
    ];
    let server = &mut cluster.servers[0];
    server.process.stop(PATIENCE).await?;
    server.program.args.extend(engine.map(str::to_owned));
    server.revive().await?;
    let image = json!({"image": perennial_tests::docker::IMAGE});
    let session = cluster.session(&image).await?;
    assert_eq!(cluster.bash(&session, "id -u").await?, "65532\n", "{}", cluster.said());

    // Who deletes a session dies before it has said that its sandbox is over. Its next life finds out.
    let server = &mut cluster.servers[0];
    server.process.stop(PATIENCE).await?;
    let dies = ("PERENNIAL_KILL_AT".to_owned(), "api.delete.after=1".to_owned());
    server.program.env.push(dies);
    server.revive().await?;
    let request = cluster.client.request("DELETE", &format!("/v1/sessions/{session}"));
    let told = cluster.client.send(request).await;
    assert!(told.is_err(), "{told:?} {}", cluster.said());
    let server = &mut cluster.servers[0];
    server.process.ended(PATIENCE).await?;
    server.program.env.pop();
    server.revive().await?;
    cluster.until_nothing(&session).await?;

    // A server whose address leads nowhere makes one that nobody gets to: that is told, and what for.
    let server = &mut cluster.servers[0];
    server.process.stop(PATIENCE).await?;
    let nowhere = ["--advertise", "http://127.0.0.1:1"];
    server.program.args.extend(nowhere.map(str::to_owned));
    server.revive().await?;
    let session = cluster.session(&image).await?;
    let told = cluster.bash(&session, "true").await?;
    assert!(
        told.contains("is not reached from here") && told.contains("http://127.0.0.1:1"),
        "{told}"
    );
    cluster.delete(&session).await
}
