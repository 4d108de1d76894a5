//! What a client says when no server, a dead one or a wrong key is there; and what needs none.

use anyhow::{Result, ensure};
use perennial_tests::server::Up;

use crate::bench::{command, run};

#[tokio::test]
async fn no_server_is_said_with_the_command_that_starts_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for verb in [&["ps"][..], &["run", "hi"], &["attach", "sesn_0"]] {
        let ended = run(command(folder.path(), verb)?).await?.with(1)?;
        ensure!(ended.err.contains("perennial up") && ended.out.is_empty(), "{ended:?}");
    }
    run(command(folder.path(), &["doctor"])?).await?.with(0)?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_died_is_told_from_one_that_never_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::on(&folder.path().join("data"));
    let server = up.start().await?;
    let pid = server.pid.to_string();
    server.kill().await?;
    let ended = run(command(&up.data_dir, &["run", "hi"])?).await?.with(1)?;
    ensure!(
        ended.err.contains(&pid) && ended.err.contains("seems to be gone"),
        "{ended:?}"
    );
    run(command(&up.data_dir, &["doctor"])?).await?.with(1)?;
    Ok(())
}

#[tokio::test]
async fn a_url_needs_its_own_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::on(&folder.path().join("data"));
    let server = up.start().await?;
    let mut no_key = command(&up.data_dir, &["ps"])?;
    no_key.env("PERENNIAL_URL", &server.url);
    let ended = run(no_key).await?.with(1)?;
    ensure!(
        ended.err.contains("PERENNIAL_KEY"),
        "the key of the data directory is not sent elsewhere: {ended:?}"
    );
    let mut wrong = command(folder.path(), &["ps"])?;
    wrong.env("PERENNIAL_URL", &server.url).env("PERENNIAL_KEY", "pk_wrong");
    let ended = run(wrong).await?.with(1)?;
    ensure!(ended.err.contains("authentication_error"), "{ended:?}");
    let mut right = command(folder.path(), &["ps", "--url", &server.url])?;
    right.env("PERENNIAL_KEY_FILE", up.data_dir.join("key"));
    run(right).await?.with(0)?;
    Ok(())
}

#[tokio::test]
async fn a_machine_without_certificates_reaches_its_own_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::on(&folder.path().join("data"))
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/does/not/exist");
    let _server = up.start().await?;
    let mut verb = command(&up.data_dir, &["run", "/say hi"])?;
    verb.env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/does/not/exist");
    run(verb).await?.with(0)?;
    Ok(())
}

#[tokio::test]
async fn wrong_usage_and_configuration_have_their_own_code() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("perennial.toml");
    std::fs::write(&file, "lisen = '127.0.0.1:1'\n")?;
    let mut misspelt = command(folder.path(), &["version"])?;
    misspelt.env("PERENNIAL_CONFIG", &file);
    let ended = run(misspelt).await?.with(2)?;
    ensure!(ended.err.contains("lisen"), "{ended:?}");
    run(command(folder.path(), &["fly"])?).await?.with(2)?;
    run(command(folder.path(), &["run"])?).await?.with(2)?;
    let mut wrong = command(folder.path(), &["up"])?;
    wrong.env("PERENNIAL_SLOTS", "many");
    ensure!(
        run(wrong).await?.with(2)?.err.contains("PERENNIAL_SLOTS"),
        "names the variable"
    );
    Ok(())
}

#[tokio::test]
async fn some_verbs_need_no_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish"] {
        let script = run(command(folder.path(), &["completions", shell])?).await?.with(0)?;
        ensure!(script.out.contains("perennial"), "{shell}");
    }
    let version = run(command(folder.path(), &["version"])?).await?.with(0)?;
    ensure!(
        version.out.trim() == format!("perennial {}", env!("CARGO_PKG_VERSION")),
        "{version:?}"
    );
    let help = run(command(folder.path(), &["--help"])?).await?.with(0)?;
    ensure!(help.out.contains("Exit codes:"), "{help:?}");
    run(command(folder.path(), &["migrate", "--data-dir", "/does/not/exist"])?)
        .await?
        .with(2)?;
    Ok(())
}

#[tokio::test]
async fn migrate_brings_a_stopped_servers_database_up_to_date() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::on(&folder.path().join("data"));
    let server = up.start().await?;
    let busy = run(command(&up.data_dir, &["migrate"])?).await?.with(1)?;
    ensure!(!busy.err.is_empty(), "a running server keeps its database");
    server.stop(std::time::Duration::from_secs(30)).await?;
    run(command(&up.data_dir, &["migrate"])?).await?.with(0)?;
    Ok(())
}
