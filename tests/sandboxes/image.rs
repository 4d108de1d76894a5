//! The image of `deploy/Dockerfile`: its last stage, on a base that is made on the spot and with the program under test, since
//! nothing is fetched here. What comes out serves, as nobody in particular and from its volume.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_proof::rig::process::binary;
use perennial_tests::docker::{self, Engine};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const BASE: &str = "perennial-test-base";
const IMAGE: &str = "perennial-test-image";
/// Stages that need a registry, or are made by what does.
const FETCHED: [&str; 2] = ["console", "built"];

/// The file without the stages that build the program.
fn last_stage(dockerfile: &str) -> String {
    let mut stages = dockerfile.split("\nFROM ");
    let mut kept = stages.next().unwrap_or_default().to_owned();
    let is_fetched = |stage: &&str| {
        let first = stage.lines().next().unwrap_or_default();
        FETCHED.iter().any(|name| first.ends_with(&format!(" AS {name}")))
    };
    for stage in stages.filter(|stage| !is_fetched(stage)) {
        kept.push_str("\nFROM ");
        kept.push_str(stage);
    }
    kept
}

#[tokio::test]
async fn the_image_serves() -> Result<()> {
    let Some(engine) = Engine::shared().await? else {
        return Ok(());
    };
    let binary = binary()?;
    docker::import(&engine.host, BASE, |root| {
        docker::add_libraries(root, &binary)?;
        // It has all packages that are asked for.
        let asked = root.join("bin/dpkg-query");
        std::fs::write(&asked, "#!/bin/sh\nexit 0\n")?;
        Ok(std::fs::set_permissions(&asked, Permissions::from_mode(0o755))?)
    })?;
    let context = tempfile::tempdir()?;
    std::fs::copy(&binary, context.path().join("perennial"))?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/Dockerfile");
    let text = last_stage(&std::fs::read_to_string(file)?);
    ensure!(text.matches("\nFROM ").count() == 3, "{text}");
    std::fs::write(context.path().join("Dockerfile"), text)?;
    // Without BuildKit, which is a package of its own.
    let built = Command::new("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["-H", &engine.host, "build", "--network", "none", "--tag", IMAGE])
        .args(["--build-arg", "BINARY=given", "--build-arg"])
        .arg(format!("BASE={BASE}"))
        .arg(context.path())
        .output()?;
    ensure!(
        built.status.success(),
        "{}{}",
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
    let seen: Value = serde_json::from_str(&engine.docker(&["image", "inspect", IMAGE, BASE])?)?;
    ensure!(seen[0]["Config"]["User"] == "10001:10001", "{seen}");
    let layers = |at: usize| seen[at]["Size"].as_u64().context("a size");
    let (added, program) = (layers(0)? - layers(1)?, binary.metadata()?.len());
    ensure!(
        added < program + (1 << 20),
        "{added} bytes are added to the base, of which {program} are the program"
    );

    let container = engine.docker(&[
        "run",
        "--detach",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        "/tmp",
        IMAGE,
    ])?;
    let served = async {
        let begun = Instant::now();
        loop {
            let asked = engine.docker(&["exec", &container, "perennial", "run", "/say from an image", "--json"]);
            match asked {
                Ok(said) if said.contains("from an image") => return anyhow::Ok(()),
                other if begun.elapsed() > PATIENCE => {
                    let said = Command::new("docker")
                        .args(["-H", &engine.host, "logs", &container])
                        .output()?;
                    anyhow::bail!("{other:?}: {}", String::from_utf8_lossy(&said.stderr))
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    };
    let served = served.await;
    let id = engine.docker(&["exec", &container, "id", "-u"]);
    let owner = engine.docker(&["exec", &container, "stat", "-c", "%u %a", "/data/key"]);
    engine.docker(&["rm", "--force", "--volumes", &container])?;
    served?;
    ensure!(id? == "10001" && owner? == "10001 600", "somebody else serves");
    Ok(())
}
