//! Sessions with several executors: which one a call is for, and that it stays so.

use anyhow::{Context, Result};
use perennial_tests::client::id;
use perennial_tests::server::binary;
use serde_json::{Value, json};

use crate::rig::{PATIENCE, Stand, results};

fn bash(command: &str, executor: Option<&str>) -> String {
    let mut input = json!({"command": command});
    if let Some(executor) = executor {
        input["executor"] = json!(executor);
    }
    format!("/tool bash {input}")
}

async fn attach(stand: &Stand, session: &str, body: &Value) -> Result<Value> {
    stand
        .client()
        .post(&format!("/v1/sessions/{session}/executors"), body)
        .await?
        .ok()
}

/// A session in a folder of the server's, of an agent with this policy.
async fn session(stand: &Stand, policy: &str) -> Result<String> {
    let tools = json!([{"type": "agent_toolset_20260401",
        "default_config": {"enabled": true, "permission_policy": {"type": policy}}}]);
    let agent = json!({"name": "several", "model": "rehearsal-1", "tools": tools});
    let agent = id(&stand.client().post("/v1/agents", &agent).await?.ok()?)?;
    let (_, environment) = stand.client().agent_and_environment("rehearsal-1").await?;
    stand.client().session(&agent, &environment).await
}

/// Where the calls of a session went, in order.
async fn went(stand: &Stand, session: &str) -> Result<Vec<String>> {
    let log = stand.client().log(session).await?;
    let sent = log.iter().filter(|event| event["type"] == "tool.dispatched");
    sent.map(|event| {
        let text = event.to_string();
        let at = text.find("exec_").context("an executor")?;
        Ok(text[at..at + "exec_".len() + 32].to_owned())
    })
    .collect()
}

#[tokio::test]
async fn the_model_says_where_a_call_runs() -> Result<()> {
    let mut stand = Stand::start().await?;
    let (laptop, desk) = (stand.device("laptop", None).await?, stand.device("desk", None).await?);
    let session = session(&stand, "always_allow").await?;
    attach(&stand, &session, &json!({"executor_id": laptop.id})).await?;
    attach(&stand, &session, &json!({"executor_id": desk.id})).await?;
    let script = [
        bash("pwd", None),
        bash("pwd", Some("desk")),
        bash("pwd", Some("server")),
        bash("touch lost", Some("moon")),
    ];
    let events = stand.turn(&session, &script.join("\n")).await?;
    let told = results(&events);
    let at = |device: &crate::rig::Device| format!("{}\n", device.work.display());
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.contains(&at(&laptop)) && told.contains(&at(&desk)), "{told:?}");
    assert!(
        told.iter()
            .any(|text| text.contains("data/workspaces") || text.contains("work")),
        "{told:?}"
    );
    let refused = told.iter().find(|text| text.contains("moon")).context("a refusal")?;
    assert!(refused.contains("laptop, desk, server"), "{refused}");
    let first = went(&stand, &session).await?;
    assert_eq!(first.len(), 3);
    assert_eq!(first[..2], [laptop.id.clone(), desk.id.clone()]);
    assert!(!first[2..].contains(&laptop.id) && !first[2..].contains(&desk.id));
    // The same after the server was killed; and what one is called elsewhere meanwhile means nothing here.
    for (device, name) in [(&laptop, "desk"), (&desk, "laptop")] {
        let path = format!("/v1/executors/{}", device.id);
        let request = stand.client().request("PATCH", &path).json(&json!({"name": name}));
        stand.client().send(request).await?.ok()?;
    }
    stand.kill().await?;
    stand.start_again().await?;
    for device in [&laptop, &desk] {
        stand.online(&device.id).await?;
    }
    let events = stand.turn(&session, &bash("pwd", Some("desk"))).await?;
    assert_eq!(results(&events), [at(&desk)]);
    Ok(())
}

/// A call in flight on one of them is found again by a server that was killed.
#[tokio::test]
async fn a_call_on_one_of_them_outlives_the_server() -> Result<()> {
    let mut stand = Stand::start().await?;
    let (laptop, desk) = (stand.device("laptop", None).await?, stand.device("desk", None).await?);
    let session = session(&stand, "always_allow").await?;
    attach(&stand, &session, &json!({"executor_id": laptop.id})).await?;
    attach(&stand, &session, &json!({"executor_id": desk.id})).await?;
    let script = format!(
        "{}\n{}",
        bash("echo quick >> ledger", None),
        bash(
            "echo begun >> ledger; sleep 2; echo ended >> ledger; cat ledger",
            Some("desk")
        )
    );
    let after = stand.client().log(&session).await?.len() as u64;
    stand.client().say(&session, &script).await?;
    desk.ledger_has("begun").await?;
    laptop.ledger_has("quick").await?;
    stand.kill().await?;
    stand.start_again().await?;
    let (events, _) = stand.client().until_idle(&session, after, PATIENCE).await?;
    assert!(results(&events).contains(&"begun\nended\n".to_owned()), "{events:?}");
    assert_eq!((laptop.ledger(), desk.ledger().len()), (vec!["quick".to_owned()], 2));
    Ok(())
}

/// What a person allows is what was asked for: not another machine that came to have its name.
#[tokio::test]
async fn an_approved_call_goes_where_it_was_meant_to_go_or_nowhere() -> Result<()> {
    let stand = Stand::start().await?;
    let (laptop, desk) = (stand.device("laptop", None).await?, stand.device("desk", None).await?);
    let session = session(&stand, "always_ask").await?;
    attach(&stand, &session, &json!({"executor_id": laptop.id})).await?;
    let events = stand
        .turn(&session, &bash("echo ran >> ledger", Some("laptop")))
        .await?;
    let asked = events
        .iter()
        .find(|event| event["type"] == "agent.tool_use")
        .context("a question")?;
    let path = format!("/v1/sessions/{session}/executors");
    let detach = stand.client().request("DELETE", &format!("{path}/{}", laptop.id));
    stand.client().send(detach).await?.ok()?;
    attach(&stand, &session, &json!({"executor_id": desk.id, "name": "laptop"})).await?;
    let after = stand.client().log(&session).await?.len() as u64;
    let allow = json!({"events": [{"type": "user.tool_confirmation", "tool_use_id": asked["id"], "result": "allow"}]});
    stand
        .client()
        .post(&format!("/v1/sessions/{session}/events"), &allow)
        .await?
        .ok()?;
    let (events, _) = stand.client().until_idle(&session, after, PATIENCE).await?;
    assert!(
        results(&events)[0].contains("not attached to this session any more"),
        "{events:?}"
    );
    assert_eq!((laptop.ledger().len(), desk.ledger().len()), (0, 0));
    Ok(())
}

/// One that is away does not take the others with it.
#[tokio::test]
async fn a_machine_that_is_away_is_away_and_the_others_are_not() -> Result<()> {
    let stand = Stand::start().await?;
    let (mut laptop, desk) = (stand.device("laptop", None).await?, stand.device("desk", None).await?);
    let session = session(&stand, "always_allow").await?;
    attach(&stand, &session, &json!({"executor_id": laptop.id})).await?;
    attach(&stand, &session, &json!({"executor_id": desk.id})).await?;
    laptop.process()?.stop(PATIENCE).await?;
    stand.until(&laptop.id, "offline").await?;
    let script = format!(
        "{}\n{}",
        bash("echo a >> ledger", None),
        bash("echo b >> ledger", Some("desk"))
    );
    let events = stand.turn(&session, &script).await?;
    let told = results(&events);
    assert!(told.iter().any(|text| text.contains("is not connected")), "{told:?}");
    assert_eq!((laptop.ledger(), desk.ledger()), (vec![], vec!["b".to_owned()]));
    // Removed, it is not offered any more.
    let remove = stand
        .client()
        .request("DELETE", &format!("/v1/executors/{}", laptop.id));
    stand.client().send(remove).await?.ok()?;
    let events = stand.turn(&session, &bash("echo c >> ledger", None)).await?;
    assert_eq!(results(&events).len(), 1);
    assert_eq!(desk.ledger(), ["b", "c"]);
    Ok(())
}

/// `perennial run --executor`, `--dir`, `session attach` and `detach`.
#[tokio::test]
async fn the_command_line_names_machines() -> Result<()> {
    let stand = Stand::start().await?;
    let (laptop, desk) = (stand.device("laptop", None).await?, stand.device("desk", None).await?);
    let inner = laptop.work.join("inner");
    std::fs::create_dir(&inner)?;
    let perennial = async |args: &[&str]| -> Result<(Option<i32>, String, String)> {
        let mut command = tokio::process::Command::new(binary()?);
        let output = command
            .args(args)
            .env_clear()
            .env("HOME", stand.dir.path())
            .env("PERENNIAL_URL", &stand.url)
            .env("PERENNIAL_KEY", stand.client().key())
            .output()
            .await?;
        let text = |bytes| String::from_utf8(bytes);
        Ok((output.status.code(), text(output.stdout)?, text(output.stderr)?))
    };
    let dir = inner.display().to_string();
    let script = bash("pwd; echo here > made", None);
    let (code, told, log) = perennial(&["run", "--executor", "laptop", "--dir", &dir, &script]).await?;
    assert_eq!(code, Some(0), "{told} {log}");
    assert_eq!(std::fs::read_to_string(inner.join("made"))?, "here\n");
    let session = told.lines().last().context("an id")?.to_owned();
    // Beneath a root that the machine offers, and nowhere else.
    let (_, told, _) = perennial(&["run", "--executor", "laptop", "--dir", "/usr", &script]).await?;
    assert!(told.contains("this executor offers"), "{told}");
    let (code, _, log) = perennial(&["run", "--executor", "laptop", "--dir", "relative", &script]).await?;
    assert!(code == Some(2) && log.contains("whole path"), "{code:?} {log}");
    let (code, _, log) = perennial(&["run", "--executor", "moon", &script]).await?;
    assert!(code != Some(0) && log.contains("no executor is called"), "{log}");
    // A run without a machine is the server's, also where an environment is on a machine.
    let (code, told, log) = perennial(&["run", &bash("pwd", None)]).await?;
    assert!(code == Some(0) && !told.contains("laptop-work"), "{told} {log}");
    // Several, and the first unless said; and one more later.
    let both = format!(
        "{}\n{}",
        bash("echo 1 >> ledger", None),
        bash("echo 2 >> ledger", Some("desk"))
    );
    let (code, _, log) = perennial(&["run", "--executor", "laptop", "--executor", "desk", &both]).await?;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(
        (laptop.ledger(), desk.ledger()),
        (vec!["1".to_owned()], vec!["2".to_owned()])
    );
    let (code, shown, log) = perennial(&["session", "attach", &session, "desk", "--name", "box"]).await?;
    assert!(code == Some(0) && shown.contains("box"), "{shown} {log}");
    let (code, _, log) = perennial(&["run", "--session", &session, &bash("echo 3 >> ledger", Some("box"))]).await?;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(desk.ledger(), ["2", "3"]);
    let (code, shown, _) = perennial(&["session", "detach", &session, "desk"]).await?;
    assert!(code == Some(0) && !shown.contains("box"), "{shown}");
    Ok(())
}
