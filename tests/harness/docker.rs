//! A Docker Engine for this test program alone: its own data, its own socket, no bridge and no rules in the host's firewall. It is
//! stopped, and its files are removed, when this program ends in whatever way.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::not_run;
use anyhow::{Context, Result, bail, ensure};
use tokio::sync::OnceCell;

/// Everything that is needed is in here.
pub const IMAGE: &str = "perennial-test-sandbox";
/// The same with this host's git in it, and the libraries that it needs.
pub const IMAGE_GIT: &str = "perennial-test-sandbox-git";
const START: Duration = Duration::from_secs(30);
/// Stops the engine when its input ends, which is when this program has ended.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP
dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" -H "unix://$1/socket" \
    --bridge none --iptables=false --ip-forward=false --ip-masq=false >"$1/log" 2>&1 </dev/null &
read -r nothing
kill -TERM $!
wait $!
rm -rf "$1"
"#;

/// An engine that runs, with the image in it.
#[derive(Debug)]
pub struct Engine {
    /// `unix:///…`
    pub host: String,
    /// The statically linked executor.
    pub executor: PathBuf,
}

impl Engine {
    /// The one engine of this program, started by whoever comes first; none where there cannot be one.
    ///
    /// # Errors
    /// When it cannot be made ready, or must be there and is not.
    pub async fn shared() -> Result<Option<&'static Self>> {
        static SHARED: OnceCell<Result<Option<Engine>, String>> = OnceCell::const_new();
        let open = async || {
            let opened = tokio::task::spawn_blocking(open).await;
            opened
                .map_err(|error| error.to_string())?
                .map_err(|error| format!("{error:#}"))
        };
        match SHARED.get_or_init(open).await {
            Ok(engine) => Ok(engine.as_ref()),
            Err(error) => bail!("{error}"),
        }
    }

    /// What `docker ARGS` says.
    ///
    /// # Errors
    /// When it fails.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        docker(&self.host, args)
    }
}

fn open() -> Result<Option<Engine>> {
    let host = match std::env::var("DOCKER_HOST") {
        Ok(host) if docker(&host, &["version"]).is_ok() => host,
        _ => match own()? {
            Some(host) => host,
            None => return Ok(None),
        },
    };
    import(&host, IMAGE, |_| Ok(()))?;
    import(&host, IMAGE_GIT, add_git)?;
    let executor = static_executor()?;
    Ok(Some(Engine { host, executor }))
}

fn own() -> Result<Option<String>> {
    for program in ["dockerd", "docker", "busybox", "bash-static"] {
        if found(program).is_none() {
            not_run(&format!("sandboxes: {program} is not installed"))?;
            return Ok(None);
        }
    }
    if !nix::unistd::geteuid().is_root() {
        not_run("sandboxes: only root can start a Docker Engine")?;
        return Ok(None);
    }
    // Sockets have short names, and folders of tests may have long ones.
    let dir = tempfile::Builder::new()
        .prefix("perennial-docker-")
        .tempdir_in("/tmp")?
        .keep();
    let mut guardian = Command::new("sh");
    guardian.args(["-c", GUARDIAN, "sh"]).arg(&dir);
    guardian.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut guardian = guardian.spawn().context("could not start dockerd")?;
    // Open until this program ends.
    std::mem::forget(guardian.stdin.take());
    let host = format!("unix://{}", dir.join("socket").display());
    let began = Instant::now();
    while docker(&host, &["version"]).is_err() {
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        if log.contains("failed to start daemon") || began.elapsed() > START {
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            not_run(&format!("sandboxes: dockerd does not start here: {}", last.join(" / ")))?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Some(host))
}

fn docker(host: &str, args: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(["-H", host]).args(args).output()?;
    ensure!(
        output.status.success(),
        "docker {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// An image of the system's own programs, and what is added to it. There is no loader and no libc in it.
///
/// # Errors
/// When the engine does not take it.
pub fn import(host: &str, image: &str, add: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let root = tempfile::tempdir()?;
    let bin = root.path().join("bin");
    std::fs::create_dir(&bin)?;
    // Its mode becomes that of what is mounted there.
    let tmp = root.path().join("tmp");
    std::fs::create_dir(&tmp)?;
    std::fs::set_permissions(&tmp, std::fs::Permissions::from_mode(0o1777))?;
    let busybox = found("busybox").context("busybox")?;
    std::fs::copy(&busybox, bin.join("busybox"))?;
    std::fs::copy(found("bash-static").context("bash-static")?, bin.join("bash"))?;
    let applets = Command::new(&busybox).arg("--list").output()?;
    for applet in String::from_utf8(applets.stdout)?
        .lines()
        .filter(|applet| *applet != "busybox")
    {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    add(root.path())?;
    import_folder(host, image, root.path())
}

/// An image of what is in a folder.
///
/// # Errors
/// When the engine does not take it.
pub fn import_folder(host: &str, image: &str, root: &Path) -> Result<()> {
    let mut tar = Command::new("tar")
        .args(["-c", "-C"])
        .arg(root)
        .arg(".")
        .stdout(Stdio::piped())
        .spawn()?;
    let tape = tar.stdout.take().context("no tape")?;
    let imported = Command::new("docker")
        .args(["-H", host, "import", "-", image])
        .stdin(tape)
        .output()?;
    ensure!(
        imported.status.success() && tar.wait()?.success(),
        "the image cannot be imported"
    );
    Ok(())
}

/// git, what it speaks HTTP with, and their libraries.
fn add_git(root: &Path) -> Result<()> {
    let git = found("git").context("git")?;
    std::fs::copy(&git, root.join("bin/git"))?;
    let told = Command::new(&git).arg("--exec-path").output()?;
    let http = PathBuf::from(String::from_utf8(told.stdout)?.trim()).join("git-remote-http");
    copy(root, &http)?;
    for program in [git, http] {
        add_libraries(root, &program)?;
    }
    Ok(())
}

/// All that `ldd` names of a program.
fn add_libraries(root: &Path, program: &Path) -> Result<()> {
    let told = Command::new("ldd").arg(program).output()?;
    let told = String::from_utf8(told.stdout)?;
    for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(root, Path::new(library))?;
    }
    Ok(())
}

fn copy(root: &Path, path: &Path) -> Result<()> {
    let to = root.join(path.strip_prefix("/")?);
    std::fs::create_dir_all(to.parent().context("a folder")?)?;
    std::fs::copy(path, &to)?;
    Ok(())
}

fn static_executor() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/static-executor.sh");
    let built = Command::new(script).output()?;
    ensure!(
        built.status.success(),
        "the static executor is not built: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(String::from_utf8(built.stdout)?.trim().into())
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    places
        .map(|place| place.join(program))
        .find(|program| program.is_file())
}
