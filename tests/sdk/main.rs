//! The official Anthropic Python SDK, in two versions, against the real server. The cases are in the Python files beside this
//! one; `scripts/setup.sh --test` makes the virtual environments.

#[cfg(test)]
mod versions {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use anyhow::{Context, Result, ensure};
    use perennial_proof::prove::{Cluster, House};
    use perennial_tests::not_run;
    use perennial_tests::postgres::Postgres;
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

    /// Sessions are made at one node of a cluster, and their environment's workers dial another one; both tell receivers.
    #[tokio::test]
    async fn workers_of_another_node() -> Result<()> {
        let Some(postgres) = Postgres::start().await? else {
            return not_run("SDK: Postgres is not installed");
        };
        let folder = tempfile::tempdir()?;
        let cluster = Cluster {
            database_url: postgres.url("postgres"),
            schema: "sdk".to_owned(),
            nats_url: None,
            nats_prefix: String::new(),
            nodes: 2,
            workers: 1,
            clocks: None,
        };
        // The leases of work follow those of sessions.
        let short = [("LEASE_TTL", "1000"), ("RENEW", "300"), ("SWEEP", "200")]
            .map(|(what, millis)| (format!("PERENNIAL_{what}_MS"), millis.to_owned()));
        // Receivers are on this host; their secrets are sealed for every node.
        let tells = [
            ("PERENNIAL_WEBHOOKS_ALLOW_HOSTS", "127.0.0.1"),
            ("PERENNIAL_SEAL_KEY", "a key that is long enough for a test"),
        ];
        let tells = tells.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env = [&short[..], &tells].concat();
        let house = House::cluster(&folder.path().join("data"), &cluster, &env).await?;
        let doors = house.doors().requests;
        let at = |node: usize| -> Result<String> {
            let door = doors.get(node).context("two nodes")?;
            Ok(door
                .request("GET", "")
                .build()?
                .url()
                .as_str()
                .trim_end_matches('/')
                .to_owned())
        };
        let key = doors.first().context("two nodes")?.key().to_owned();
        let nodes = [
            ("PERENNIAL_URL", at(0)?),
            ("PERENNIAL_WORKER_URL", at(1)?),
            ("PERENNIAL_KEY", key),
        ];
        cases("2.11", &["test_worker.py", "test_webhooks.py"], &nodes).await?;
        house.close().await;
        Ok(())
    }

    async fn drive(version: &str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let data_dir = folder.path().join("data");
        let server = Up::on(&data_dir).start().await?;
        let key = std::fs::read_to_string(data_dir.join("key"))?;
        let at = [
            ("PERENNIAL_URL", server.url.clone()),
            ("PERENNIAL_KEY", key.trim().to_owned()),
        ];
        cases(version, &["."], &at).await?;
        let end = server.stop(STOP).await?;
        ensure!(end.success(), "the server ended with {end}");
        Ok(())
    }

    /// Runs cases with one version.
    async fn cases(version: &str, which: &[&str], at: &[(&str, String)]) -> Result<()> {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
        let python = python(version);
        if !python.exists() {
            return not_run(&format!(
                "SDK {version}: {} is missing (scripts/setup.sh --test makes it)",
                python.display()
            ));
        }
        let home = tempfile::tempdir()?;
        let run = Command::new(&python)
            .args(["-m", "pytest"])
            .args(which)
            .current_dir(&cases)
            // Nothing of the caller's environment may reach the SDK: no key, no proxy, no other address.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PERENNIAL_BIN", binary()?)
            .envs(at.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .context("the cases did not end in time")??;
        println!("{}", String::from_utf8_lossy(&output.stdout));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "SDK {version}: {}", output.status);
        Ok(())
    }

    fn python(version: &str) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        root.join(format!("target/test-env/venv-{version}/bin/python"))
    }
}
