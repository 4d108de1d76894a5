//! The web console in a real browser against the real server: the cases are beside its source (`api/console/tests`), because they
//! are written in the language of its pages. `scripts/setup.sh --test` installs the browser and builds the pages.

#[cfg(test)]
mod browser {
    use std::path::{Path, PathBuf};
    use std::process::Stdio;
    use std::time::Duration;

    use anyhow::{Context, Result, ensure};
    use perennial_tests::not_run;
    use perennial_tests::server::binary;
    use tokio::process::Command;

    /// For all cases together.
    const PATIENCE: Duration = Duration::from_secs(400);

    fn console() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/console")
    }

    /// What is missing for the cases to run.
    async fn missing() -> Option<String> {
        let node = Command::new("node")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .await;
        if !node.is_ok_and(|ended| ended.success()) {
            return Some("node is not found".to_owned());
        }
        let needed = [
            (chromium(), "apt-get install chromium"),
            (console().join("node_modules/playwright-core"), "npm ci in api/console"),
            (console().join("dist/app/index.html.gz"), "npm run build in api/console"),
        ];
        let missing = needed.iter().find(|(path, _)| !path.exists());
        missing.map(|(path, remedy)| format!("{} is missing: {remedy}, or scripts/setup.sh --test", path.display()))
    }

    fn chromium() -> PathBuf {
        std::env::var_os("CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from)
    }

    async fn node(what: &str, args: &[&str]) -> Result<()> {
        let run = Command::new("node")
            .args(args)
            .current_dir(console())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", std::env::temp_dir())
            .env("PERENNIAL_BIN", binary()?)
            .env("CHROMIUM", chromium())
            .env(
                "CONSOLE_SHOTS",
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/console-shots"),
            )
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .with_context(|| format!("{what} did not end in time"))??;
        println!("{}", String::from_utf8_lossy(&output.stdout));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{what}: {}", output.status);
        Ok(())
    }

    #[tokio::test]
    async fn everything_works_in_a_real_browser() -> Result<()> {
        if let Some(missing) = missing().await {
            return not_run(&format!("the console: {missing}"));
        }
        let cases = std::fs::read_dir(console().join("tests"))?;
        let mut cases: Vec<String> = cases
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.ends_with(".test.mjs"))
            .map(|name| format!("tests/{name}"))
            .collect();
        cases.sort();
        ensure!(cases.len() > 3, "only {} files of cases", cases.len());
        let mut args = vec!["--test", "--test-concurrency=3"];
        args.extend(cases.iter().map(String::as_str));
        node("the console's cases", &args).await
    }

    #[tokio::test]
    async fn its_logic_is_sound() -> Result<()> {
        if let Some(missing) = missing().await {
            return not_run(&format!("the console: {missing}"));
        }
        node("the console's unit tests", &["node_modules/vitest/vitest.mjs", "run"]).await
    }
}
