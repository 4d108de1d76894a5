//! A sandbox from its first call to its end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::rig::{PATIENCE, Stand, results, script};

/// create → call → pause → resume → another server → delete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_lives_with_its_session() -> Result<()> {
    let Some(mut stand) = Stand::start().await? else {
        return Ok(());
    };
    let config = json!({"idle_timeout": 1, "memory": "128m"});
    let made = stand.session(&config).await?;
    // Nothing is made before a tool is called.
    stand.turn(&made.session, "hello").await?;
    assert_eq!(stand.made_for(&made.session)?, [""; 0]);
    let began = Instant::now();
    let told = stand
        .bash(&made.session, "cd /tmp; id -u; echo $((6*7)) > ~/kept; cat ~/kept")
        .await?;
    assert_eq!(told, "65532\n42\n");
    println!("the first call took {:?}", began.elapsed());
    let first = stand.container(&made.session)?;
    assert_eq!(stand.made_for(&made.session)?.len(), 2);
    // A container and a volume, of one name.
    stand.until(&made.session, "exited").await?;
    let began = Instant::now();
    let told = stand.bash(&made.session, "cat kept").await?;
    println!("the first call after a pause took {:?}", began.elapsed());
    assert!(told.ends_with("\n42\n") || told == "42\n", "{told}");
    let resumed = stand.container(&made.session)?;
    assert_eq!(resumed["Id"], first["Id"]);
    assert_eq!(resumed["State"]["ExitCode"], 0, "{}", resumed["State"]);
    // The next server finds it as it is, whether it runs or not.
    let other = stand.session(&json!({})).await?;
    stand.bash(&other.session, "echo here > kept; export KEPT=1").await?;
    let running = stand.container(&other.session)?;
    stand.kill().await?;
    stand.start_again().await?;
    assert_eq!(stand.bash(&other.session, "cat kept; echo $KEPT").await?, "here\n1\n");
    let still = stand.container(&other.session)?;
    assert_eq!(
        (&still["Id"], &still["State"]["StartedAt"]),
        (&running["Id"], &running["State"]["StartedAt"])
    );
    assert!(stand.bash(&made.session, "cat kept").await?.ends_with("42\n"));
    assert_eq!(stand.container(&made.session)?["Id"], first["Id"]);
    // And nothing is left of a session that is deleted.
    for session in [&made.session, &other.session] {
        stand
            .client()
            .send(stand.client().request("DELETE", &format!("/v1/sessions/{session}")))
            .await?
            .ok()?;
        stand.until_nothing(session).await?;
    }
    let list = stand.client().get("/v1/executors?limit=100").await?.ok()?;
    assert_eq!(list["data"], json!([]));
    let doors = std::fs::read_dir(stand.up.data_dir.join("doors"))?.count();
    assert_eq!(doors, 0);
    Ok(())
}

/// A call that runs when the server is killed goes on, and its result is heard by the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_outlives_the_server() -> Result<()> {
    let Some(mut stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({"idle_timeout": 1})).await?;
    stand.bash(&made.session, "true").await?;
    let command = "echo begun >> ledger; sleep 3; echo ended >> ledger; cat ledger";
    let after = stand.client().log(&made.session).await?.len() as u64;
    stand.client().say(&made.session, &script(command)).await?;
    stand.until_ledger(&made.session, "begun").await?;
    stand.kill().await?;
    stand.start_again().await?;
    let (events, _) = stand.client().until_idle(&made.session, after, PATIENCE).await?;
    // For longer than it is kept idle, and not paused: it was in use.
    assert_eq!(results(&events), ["begun\nended\n"]);
    Ok(())
}

/// F17: hints make it fast, and nothing else. Here every one is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_hint_it_only_takes_longer() -> Result<()> {
    let Some(engine) = perennial_tests::docker::Engine::shared().await? else {
        return Ok(());
    };
    let stand = Stand::with(engine, &engine.host, &["--bus", "silent"]).await?;
    let made = stand.session(&json!({"idle_timeout": 1})).await?;
    let began = Instant::now();
    assert_eq!(stand.bash(&made.session, "echo here > kept; cat kept").await?, "here\n");
    let first = began.elapsed();
    stand.until(&made.session, "exited").await?;
    let began = Instant::now();
    assert!(stand.bash(&made.session, "cat kept").await?.ends_with("here\n"));
    let again = began.elapsed();
    println!("without hints the first call took {first:?}, the first after a pause {again:?}");
    assert!(first < Duration::from_secs(10) && again < Duration::from_secs(10));
    let path = format!("/v1/sessions/{}", made.session);
    let request = stand.client().request("DELETE", &path);
    stand.client().send(request).await?.ok()?;
    stand.until_nothing(&made.session).await
}

/// F22: a sandbox that somebody removes is a doubt for the call in it, and the next call gets another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_sandbox_is_a_doubt_and_the_next_call_gets_another() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({})).await?;
    stand.bash(&made.session, "echo first > kept").await?;
    let first = stand.container(&made.session)?;
    let after = stand.client().log(&made.session).await?.len() as u64;
    stand
        .client()
        .say(&made.session, &script("echo begun >> ledger; sleep 60"))
        .await?;
    stand.until_ledger(&made.session, "begun").await?;
    let began = Instant::now();
    stand
        .engine
        .docker(&["rm", "-f", first["Id"].as_str().context("an id")?])?;
    let (events, _) = stand.client().until_idle(&made.session, after, PATIENCE).await?;
    let told = results(&events);
    assert!(
        told.len() == 1
            && told[0].contains("outcome of this call is unknown")
            && told[0].contains("sandbox was removed"),
        "{told:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let told = stand.bash(&made.session, "ls").await?;
    assert_eq!(told, "[no output]");
    let second = stand.container(&made.session)?;
    assert_ne!(second["Id"], first["Id"]);
    // One container and one volume: nothing is left of the first.
    stand.until_count(&made.session, 2).await
}

/// A server that dies while it makes one: its successor knows neither how far that was nor the code, and the call gets one all the
/// same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_while_it_makes_one_leaves_nothing_half_made() -> Result<()> {
    let Some(mut stand) = Stand::start().await? else {
        return Ok(());
    };
    for wait in [0, 100, 200] {
        let made = stand.session(&json!({})).await?;
        stand.client().say(&made.session, &script("echo made")).await?;
        stand.until_any(&made.session).await?;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        stand.kill().await?;
        stand.start_again().await?;
        let (events, _) = stand.client().until_idle(&made.session, 0, PATIENCE).await?;
        assert_eq!(results(&events), ["made\n"]);
        stand.until_count(&made.session, 2).await?;
    }
    Ok(())
}

/// Removing its executor removes a sandbox; its session gets another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_goes_with_its_executor() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({})).await?;
    stand.bash(&made.session, "echo first > kept").await?;
    let list = stand.client().get("/v1/executors?limit=100").await?.ok()?;
    let (executor, first) = (&list["data"][0], stand.container(&made.session)?);
    assert_eq!(
        (&executor["kind"], &executor["status"]),
        (&json!("sandbox"), &json!("online"))
    );
    let path = format!("/v1/executors/{}", executor["id"].as_str().context("an id")?);
    stand
        .client()
        .send(stand.client().request("DELETE", &path))
        .await?
        .ok()?;
    assert_eq!(stand.bash(&made.session, "ls").await?, "[no output]");
    stand.until_count(&made.session, 2).await?;
    assert_ne!(stand.container(&made.session)?["Id"], first["Id"]);
    Ok(())
}

/// What is not ours is not touched, also when it looks as ours does: it was made by the copy of this data directory elsewhere. What
/// is ours and nobody knows any more is removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_it_made_is_removed() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({})).await?;
    stand.bash(&made.session, "true").await?;
    let container = stand.container(&made.session)?;
    let label = |key: &str| {
        container["Config"]["Labels"][key]
            .as_str()
            .map(str::to_owned)
            .context("a label")
    };
    let (instance, doors) = (label("perennial.instance")?, label("perennial.doors")?);
    let fake = |doors: &str| -> Result<String> {
        let executor = perennial_schema::ExecutorId::from_uuid(uuid::Uuid::now_v7());
        let name = format!("perennial-{}", executor.uuid().simple());
        let labels = [
            format!("perennial.instance={instance}"),
            format!("perennial.doors={doors}"),
            format!("perennial.executor={executor}"),
            "perennial.session=none".to_owned(),
        ];
        let mut args = vec!["create", "--name", &name];
        labels.iter().for_each(|label| args.extend(["--label", label]));
        args.extend([perennial_tests::docker::IMAGE, "/bin/busybox", "true"]);
        stand.engine.docker(&args)?;
        Ok(name)
    };
    let (foreign, leftover) = (fake("/elsewhere/doors")?, fake(&doors)?);
    let path = format!("/v1/sessions/{}", made.session);
    stand
        .client()
        .send(stand.client().request("DELETE", &path))
        .await?
        .ok()?;
    stand.until_nothing(&made.session).await?;
    let began = Instant::now();
    while stand.engine.docker(&["inspect", &leftover]).is_ok() {
        assert!(began.elapsed() < PATIENCE, "{}", stand.up.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stand.engine.docker(&["rm", &foreign])?;
    Ok(())
}

/// A fork has a sandbox of its own, and says that it begins without the files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_gets_another_one() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({})).await?;
    stand.bash(&made.session, "echo here > kept").await?;
    let path = format!("/v1/sessions/{}/fork", made.session);
    let fork = stand.client().post(&path, &json!({})).await?.ok()?;
    let fork = fork["id"].as_str().context("an id")?;
    let log = stand.client().log(fork).await?;
    let told = log
        .iter()
        .find(|event| event["type"] == "session.forked")
        .context("its beginning")?;
    assert_eq!(told["payload"]["workspace"], "empty", "{told}");
    assert_eq!(stand.bash(fork, "ls").await?, "[no output]");
    assert_eq!(stand.bash(&made.session, "cat kept").await?, "here\n");
    Ok(())
}

/// `doctor` says what sandboxes would be made with, and what is wrong with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_examines_the_engine_and_the_program() -> Result<()> {
    let Some(engine) = perennial_tests::docker::Engine::shared().await? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let doctor = async |docker: &str, executor: &std::path::Path| {
        let mut command = tokio::process::Command::new(perennial_tests::server::binary()?);
        command.arg("doctor").arg("--data-dir").arg(dir.path());
        command
            .env("PERENNIAL_DOCKER", docker)
            .env("PERENNIAL_SANDBOX_EXECUTOR", executor);
        let output = command.env_remove("DOCKER_HOST").output().await?;
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let said = doctor(&engine.host, &engine.executor).await?;
    assert!(said.contains("ok    sandboxes: Docker "), "{said}");
    let said = doctor("unix:///nowhere", &engine.executor).await?;
    assert!(
        said.contains("BAD   sandboxes: the container engine at unix:///nowhere does not answer"),
        "{said}"
    );
    let said = doctor(&engine.host, &perennial_tests::server::binary()?).await?;
    assert!(
        said.contains("BAD   sandboxes") && said.contains("not statically linked"),
        "{said}"
    );
    Ok(())
}

/// A failure is told with its reason, leaves nothing behind, and is not the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_cannot_be_made_says_why() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    // A registry that nobody runs, on this host.
    let made = stand.session(&json!({"image": "127.0.0.1:1/none:1"})).await?;
    for _ in 0..2 {
        let told = stand.bash(&made.session, "true").await?;
        assert!(
            told.contains("could not be started")
                && told.contains("its sandbox could not be made")
                && told.contains("127.0.0.1:1"),
            "{told}"
        );
    }
    stand.until_nothing(&made.session).await?;
    // A bound that the engine cannot keep is no bound; where it can, it is kept.
    let bounded = stand.session(&json!({"disk": "64m"})).await?;
    let told = stand
        .bash(&bounded.session, "dd if=/dev/zero of=large bs=1M count=80 2>&1")
        .await?;
    assert!(told.contains("quota") || told.contains("No space left"), "{told}");
    Ok(())
}

/// The model is asked at once, whatever becomes of the sandbox: here the engine takes connections and never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_model_request_does_not_wait() -> Result<()> {
    let Some(engine) = perennial_tests::docker::Engine::shared().await? else {
        return Ok(());
    };
    let silent = tempfile::tempdir()?;
    let path = silent.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    let mut stand = Stand::on(engine, &format!("unix://{}", path.display())).await?;
    let made = stand.session(&json!({})).await?;
    let began = Instant::now();
    stand.client().say(&made.session, &script("true")).await?;
    // The whole answer of the model is in the log while the tool call waits for a machine.
    loop {
        let log = stand.client().log(&made.session).await?;
        if log.iter().any(|event| event["type"] == "agent.tool_use") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{log:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("asked and answered in {:?} without a sandbox", began.elapsed());
    let log = stand.client().log(&made.session).await?;
    assert!(!log.iter().any(|event| event["type"] == "agent.tool_result"), "{log:?}");
    // An interrupt is heard while it waits, and so is the end of the server.
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    let path = format!("/v1/sessions/{}/events", made.session);
    stand.client().post(&path, &interrupt).await?.ok()?;
    stand
        .client()
        .until_idle(&made.session, 0, Duration::from_secs(5))
        .await?;
    stand.client().say(&made.session, &script("true")).await?;
    let ended = stand.stop(Duration::from_secs(10)).await?;
    assert_eq!(ended.code(), Some(0), "{}", stand.up.log());
    drop(listener);
    Ok(())
}

/// I16, wherever the executor is: what is too long for an event is whole in a blob.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_output_of_a_sandbox_is_kept_whole() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({})).await?;
    let events = stand.turn(&made.session, &script("seq 100000")).await?;
    let told = events.iter().find(|event| event["type"] == "agent.tool_result");
    let content = &told.context("a result")?["content"];
    let shown = content[0]["text"].as_str().context("text")?;
    assert!(shown.starts_with("1\n2\n") && shown.ends_with("\n99999\n100000\n") && shown.len() <= 256 * 1024 + 100);
    let note = content[1]["text"].as_str().context("a reference")?;
    let path = note.split("GET ").nth(1).context("a path")?.trim_end_matches(']');
    let whole = stand
        .client()
        .request("GET", path)
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    let all: String = (1..=100_000).map(|line| format!("{line}\n")).collect();
    assert!(whole == all, "{} bytes", whole.len());
    Ok(())
}
