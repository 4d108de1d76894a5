//! Single calls without a model.

use anyhow::{Context, Result};
use perennial_tests::server::binary;
use serde_json::json;

use crate::rig::Stand;

#[tokio::test]
async fn a_call_ends_with_what_the_command_exited_with() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let call = async |tool: &str, input: &str| -> Result<(Option<i32>, String)> {
        let mut command = tokio::process::Command::new(binary()?);
        let output = command
            .args(["call", "laptop", tool, input])
            .env_clear()
            .env("HOME", stand.dir.path())
            .env("PERENNIAL_URL", &stand.url)
            .env("PERENNIAL_KEY", stand.client().key())
            .output()
            .await?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    assert_eq!(call("bash", r#"{"command":"echo hi; exit 3"}"#).await?.0, Some(3));
    let (code, text) = call("bash", r#"{"command":"echo hi > a; cat a"}"#).await?;
    assert_eq!((code, text.as_str()), (Some(0), "hi\n"));
    let (code, text) = call("read", r#"{"file_path":"a"}"#).await?;
    assert!(code == Some(0) && text.contains("hi"), "{code:?} {text}");
    assert_eq!(call("read", r#"{"file_path":"nothing"}"#).await?.0, Some(1));
    assert_eq!(call("bash", "no json").await?.0, Some(2));
    assert_eq!(std::fs::read_to_string(device.work.join("a"))?, "hi\n");
    Ok(())
}

/// A repeated request is the same call: it runs once, and says the same.
#[tokio::test]
async fn a_call_is_remembered_by_its_key() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let path = format!("/v1/executors/{}/calls", device.id);
    let body = json!({"tool": "bash", "input": {"command": "echo ran >> ledger; cat ledger"}});
    let first = stand.client().post_once(&path, "once", &body).await?.ok()?;
    assert_eq!(
        (&first["exit_code"], &first["content"][0]["text"]),
        (&json!(0), &json!("ran\n"))
    );
    assert_eq!(stand.client().post_once(&path, "once", &body).await?.ok()?, first);
    assert_eq!(device.ledger(), ["ran"]);
    let other = json!({"tool": "bash", "input": {"command": "echo other >> ledger"}});
    assert_eq!(stand.client().post_once(&path, "once", &other).await?.status, 422);
    stand.client().post_once(&path, "twice", &body).await?.ok()?;
    assert_eq!(device.ledger(), ["ran", "ran"]);
    for (body, field) in [
        (json!({"tool": "rm", "input": {}}), "tool"),
        (json!({"tool": "bash", "input": []}), "input"),
        (json!({"tool": "bash", "input": {}, "dir": "work"}), "dir"),
    ] {
        let refused = stand.client().post(&path, &body).await?;
        let message = refused.body["error"]["message"].as_str().context("a message")?;
        assert!(refused.status == 400 && message.contains(field), "{message}");
    }
    Ok(())
}
