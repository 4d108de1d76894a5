//! Cards: what a machine is like when somebody asks, with and without a server.

use anyhow::{Context, Result};
use perennial_tests::server::binary;
use serde_json::Value;

use crate::rig::{PATIENCE, Stand};

#[tokio::test]
async fn a_card_is_refreshed_when_somebody_asks() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let before = stand.online(&device.id).await?["card"].clone();
    assert!(
        before["probed_at"].is_string() && before.get("git_remote").is_none(),
        "{before}"
    );
    let bash = before["programs"]
        .as_array()
        .context("programs")?
        .iter()
        .find(|program| program["name"] == "bash");
    assert!(
        bash.context("bash")?["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("/bash")),
        "{before}"
    );
    // Something changes, and nobody has asked.
    for args in [
        &["init", "-q"][..],
        &["remote", "add", "origin", "https://me:secret@example.com/a.git"],
    ] {
        let git = std::process::Command::new("git")
            .arg("-C")
            .arg(&device.work)
            .args(args)
            .status()?;
        assert!(git.success());
    }
    let path = format!("/v1/executors/{}", device.id);
    assert_eq!(stand.client().get(&path).await?.ok()?["card"], before);
    let asked = format!("{path}?refresh=true");
    let (one, other) = tokio::join!(stand.client().get(&asked), stand.client().get(&asked));
    for seen in [one?.ok()?, other?.ok()?] {
        assert_eq!(seen["card"]["git_remote"], "https://example.com/a.git", "{seen}");
    }
    // And the registry has it, as the command line does.
    let told = perennial(&stand, &["executor", "show", "laptop", "--refresh", "--json"]).await?;
    let card: Value = serde_json::from_str(&told)?;
    assert_eq!(card["card"]["git_remote"], "https://example.com/a.git");
    let began = std::time::Instant::now();
    // That one, or a newer one that somebody asked for before.
    let told = card["card"]["probed_at"].as_str().context("a time")?;
    while stand.client().get(&path).await?.ok()?["card"]["probed_at"].as_str() < Some(told) {
        assert!(began.elapsed() < PATIENCE, "the registry does not hear of it");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // One that is away says so, and a flag that is none is none.
    device.process()?.stop(PATIENCE).await?;
    stand.until(&device.id, "offline").await?;
    let away = stand.client().get(&asked).await?;
    assert_eq!(
        (away.status, &away.body["error"]["details"]["error_code"]),
        (409, &"executor_offline".into())
    );
    assert_eq!(stand.client().get(&format!("{path}?refresh=maybe")).await?.status, 400);
    Ok(())
}

async fn perennial(stand: &Stand, args: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new(binary()?);
    let command = command
        .args(args)
        .env_clear()
        .env("HOME", stand.dir.path())
        .env("PATH", "/usr/bin:/bin");
    let output = command
        .env("PERENNIAL_URL", &stand.url)
        .env("PERENNIAL_KEY", stand.client().key())
        .output()
        .await?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// `executor probe --json` needs no server and no key.
#[tokio::test]
async fn a_machine_is_probed_without_a_server() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = tokio::process::Command::new(binary()?);
    let output = command
        .args(["executor", "probe", "--json", "--dir"])
        .arg(dir.path())
        .env_clear()
        .env("HOME", dir.path())
        .env("PATH", "/usr/bin:/bin")
        .output()
        .await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let card: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(card["cwd"], dir.path().canonicalize()?.display().to_string());
    assert_eq!(card["os"], std::env::consts::OS);
    assert!(
        card["programs"].to_string().contains("bash") && card.get("contained").is_none(),
        "{card}"
    );
    Ok(())
}
