//! The image of `deploy/Dockerfile`: its last stages, on a base that is made on the spot of this machine's packages and with the
//! program under test, since nothing is fetched here. What comes out is small, and serves as nobody in particular and from its volume.

use std::collections::BTreeSet;
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

/// What stands beside the program: with a released one of 84 MB it stays below 120.
const PICKED: u64 = 30 << 20;
/// Packages of Debian that a base of the test has: what is picked of them, and what picks.
const PACKAGES: [&str; 26] = [
    "base-files",
    "base-passwd",
    "bash",
    "bubblewrap",
    "ca-certificates",
    "coreutils",
    "dash",
    "dpkg",
    "findutils",
    "grep",
    "libacl1",
    "libattr1",
    "libbz2-1.0",
    "libc6",
    "libcap2",
    "libgcc-s1",
    "libgmp10",
    "liblzma5",
    "libmd0",
    "libpcre2-8-0",
    "libselinux1",
    "libtinfo6",
    "libzstd1",
    "sed",
    "tar",
    "zlib1g",
];
/// What no package lists, or what their scripts made.
const MADE: [&str; 11] = [
    "/bin",
    "/bin/sh",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/ssl/certs/ca-certificates.crt",
    "/lib",
    "/lib64",
    "/sbin",
    "/var/lib/dpkg/info/format",
    "/var/lib/dpkg/status",
];

/// A small Debian: packages of this one, with the database that says which files are theirs.
fn debian(root: &Path) -> Result<()> {
    let listed = Command::new("dpkg").arg("-L").args(PACKAGES).output()?;
    ensure!(
        listed.status.success(),
        "dpkg -L: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let mut files: BTreeSet<String> = String::from_utf8(listed.stdout)?
        .lines()
        .filter(|line| line.starts_with('/') && Path::new(line).exists())
        .map(str::to_owned)
        .collect();
    files.extend(MADE.map(str::to_owned));
    for entry in std::fs::read_dir("/var/lib/dpkg/info")? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "list") {
            files.extend(path.to_str().map(str::to_owned));
        }
    }
    for folder in ["bin", "lib", "lib64", "sbin"] {
        std::fs::create_dir_all(root.join("usr").join(folder))?;
    }
    let list = root.join("list");
    std::fs::write(&list, files.into_iter().collect::<Vec<_>>().join("\n"))?;
    let copied = Command::new("sh")
        .args([
            "-c",
            "tar -c --no-recursion -T \"$1/list\" 2>/dev/null | tar -x -C \"$1\"",
            "sh",
        ])
        .arg(root)
        .status()?;
    std::fs::remove_file(&list)?;
    // Its mode becomes that of the image's root, where somebody without rights has to find its way.
    std::fs::set_permissions(root, Permissions::from_mode(0o755))?;
    ensure!(copied.success(), "the base cannot be put together");
    Ok(())
}

/// The file without the stages that need a registry.
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
    let base = tempfile::tempdir()?;
    debian(base.path())?;
    docker::import_folder(&engine.host, BASE, base.path())?;
    let context = tempfile::tempdir()?;
    std::fs::copy(&binary, context.path().join("perennial"))?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/Dockerfile");
    let text = last_stage(&std::fs::read_to_string(file)?);
    ensure!(text.matches("\nFROM ").count() == 6, "{text}");
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
    let size = |at: usize| seen[at]["Size"].as_u64().context("a size");
    let (whole, base, program) = (size(0)?, size(1)?, binary.metadata()?.len());
    println!("image: {whole} bytes, of which {program} are the program; its base has {base}");
    ensure!(
        whole < program + PICKED,
        "{whole} bytes, of which {program} are the program"
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
