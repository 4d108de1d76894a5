//! Sessions whose tools run on a machine that dialled in.

use anyhow::{Context, Result};

use crate::rig::{Stand, results};

#[tokio::test]
async fn a_sessions_tools_run_on_the_device() -> Result<()> {
    let mut stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let session = stand.session_on(&device).await?;
    let script = r#"/tool bash {"command":"pwd; echo $((6*7)) > made; cat made"}"#;
    let events = stand.turn(&session, script).await?;
    assert_eq!(results(&events), [format!("{}\n42\n", device.work.display())]);
    assert_eq!(std::fs::read_to_string(device.work.join("made"))?, "42\n");
    let log = stand.client().log(&session).await?;
    let sent = log
        .iter()
        .find(|event| event["type"] == "tool.dispatched")
        .context("a dispatch")?;
    assert!(sent.to_string().contains(&device.id), "{sent}");
    // The card says what there is.
    let seen = stand.online(&device.id).await?;
    let card = &seen["card"];
    assert_eq!(card["cwd"], device.work.canonicalize()?.display().to_string());
    assert!(
        card["cpus"].as_u64() > Some(0) && card["programs"].to_string().contains("bash"),
        "{card}"
    );
    // Another session's tools stay on the server: whoever dials in takes nothing over.
    let (agent, environment) = stand.client().agent_and_environment("rehearsal-1").await?;
    let other = stand.client().session(&agent, &environment).await?;
    let events = stand.turn(&other, r#"/tool bash {"command":"pwd"}"#).await?;
    assert!(!results(&events)[0].contains("laptop"), "{:?}", results(&events));
    // No host has the session to itself: it goes on after the server was killed, with the same hands.
    stand.kill().await?;
    stand.start_again().await?;
    stand.online(&device.id).await?;
    let events = stand.turn(&session, r#"/tool read {"file_path":"made"}"#).await?;
    assert!(results(&events)[0].contains("42"), "{:?}", results(&events));
    Ok(())
}

/// The folder that was offered is the only one.
#[tokio::test]
async fn a_server_cannot_name_another_folder() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let call = |dir: &std::path::Path| serde_json::json!({"tool": "bash", "input": {"command": "pwd"}, "dir": dir.display().to_string()});
    let path = format!("/v1/executors/{}/calls", device.id);
    let inner = device.work.join("inner");
    std::fs::create_dir(&inner)?;
    let inside = stand.client().post(&path, &call(&inner)).await?.ok()?;
    assert_eq!(inside["content"][0]["text"], format!("{}\n", inner.display()));
    let link = device.work.join("link");
    std::os::unix::fs::symlink("/usr", &link)?;
    for outside in [std::path::Path::new("/usr"), stand.dir.path(), &device.home, &link] {
        let refused = stand.client().post(&path, &call(outside)).await?.ok()?;
        assert_eq!(refused["is_error"], true, "{refused}");
        let told = refused["content"][0]["text"].as_str().context("text")?;
        let reasons = ["this executor offers", "lie inside one another"];
        assert!(reasons.iter().any(|reason| told.contains(reason)), "{told}");
    }
    Ok(())
}
