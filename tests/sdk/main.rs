//! The official Anthropic Python SDK, in two versions, against the real server. The cases are in the Python files beside this
//! one; `scripts/setup.sh --test` makes the virtual environments.

#[cfg(test)]
mod versions {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use anyhow::{Context, Result, ensure};
    use perennial_tests::not_run;
    use perennial_tests::server::{Up, binary};
    use tokio::process::Command;

    /// For all cases of one version; a single case has a minute of its own.
    const PATIENCE: Duration = Duration::from_secs(300);
    /// For the server to stop.
    const STOP: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn sdk_2_11() -> Result<()> {
        drive("2.11").await
    }

    #[tokio::test]
    async fn sdk_1_17() -> Result<()> {
        drive("1.17").await
    }

    async fn drive(version: &str) -> Result<()> {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
        let python = python(version);
        if !python.exists() {
            return not_run(&format!(
                "SDK {version}: {} is missing (scripts/setup.sh --test makes it)",
                python.display()
            ));
        }
        let folder = tempfile::tempdir()?;
        let data_dir = folder.path().join("data");
        let server = Up::on(&data_dir).start().await?;
        let key = std::fs::read_to_string(data_dir.join("key"))?;
        let run = Command::new(&python)
            .args(["-m", "pytest", "."])
            .current_dir(&cases)
            // Nothing of the caller's environment may reach the SDK: no key, no proxy, no other address.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PERENNIAL_BIN", binary()?)
            .env("PERENNIAL_URL", &server.url)
            .env("PERENNIAL_KEY", key.trim())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .context("the cases did not end in time")??;
        println!("{}", String::from_utf8_lossy(&output.stdout));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "SDK {version}: {}", output.status);
        let end = server.stop(STOP).await?;
        ensure!(end.success(), "the server ended with {end}");
        Ok(())
    }

    fn python(version: &str) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        root.join(format!("target/test-env/venv-{version}/bin/python"))
    }
}
