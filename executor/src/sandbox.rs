//! bubblewrap: the command line that contains a shell, and a real run that proves it works here.
//!
//! Inside, the host is read-only; `/tmp`, `/run` (with the container sockets), the home of the server's user and the data
//! directory (key, database, journal) are empty; the workspace folder alone can be written. The network is shared: package
//! managers and git are most of what an agent runs, and an egress policy needs the gateway that containers bring. That leaves
//! services on loopback and abstract unix sockets of the host reachable.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::limits::PROBE_TIME;
use crate::workspace::private_dir;

/// What a shell's environment holds; nothing is inherited.
pub(crate) type Env = Vec<(&'static str, OsString)>;

/// Takes the terminal away.
const NEW_SESSION: &str = "--new-session";

/// Proves in a real run that bubblewrap contains here: the workspace can be written, the root cannot, and the data directory
/// (canonical) is hidden.
///
/// # Errors
/// Why tools cannot be contained here.
pub async fn probe(search: &OsStr, data_dir: &Path, home: Option<&Path>) -> Result<Sandbox, String> {
    Sandbox::probe(search, data_dir, home).await
}

/// A bubblewrap that works here.
#[derive(Clone, Debug)]
pub struct Sandbox {
    program: PathBuf,
    data_dir: PathBuf,
    home: Option<PathBuf>,
}

impl Sandbox {
    async fn probe(search: &OsStr, data_dir: &Path, home: Option<&Path>) -> Result<Self, String> {
        let program = find("bwrap", search).ok_or("bubblewrap (bwrap) is not installed")?;
        let sandbox = Self {
            program,
            data_dir: data_dir.to_owned(),
            home: home
                .and_then(|home| home.canonicalize().ok())
                .filter(|home| home.parent().is_some() && home.is_dir()),
        };
        let folder = data_dir.join("workspaces/.probe");
        let secret = data_dir.join(".probe-secret");
        let run = sandbox.probe_run(&folder, &secret).await;
        let _ = std::fs::remove_dir_all(&folder);
        let _ = std::fs::remove_file(&secret);
        run.map(|()| sandbox)
    }

    async fn probe_run(&self, folder: &Path, secret: &Path) -> Result<(), String> {
        let prepare = |error: std::io::Error| format!("the probe run cannot be prepared: {error}");
        private_dir(folder).map_err(prepare)?;
        std::fs::write(secret, "secret").map_err(prepare)?;
        let mut command = self.command(folder, &vec![("SECRET", secret.into()), ("DIR", folder.into())]);
        command.args([
            "/bin/sh",
            "-c",
            r#"test ! -e "$SECRET" && : > "$DIR/written" && ! (: > /.perennial-probe) 2>/dev/null"#,
        ]);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PROBE_TIME, command.output())
            .await
            .map_err(|_| "the probe run of bubblewrap does not end".to_owned())?
            .map_err(|error| format!("bubblewrap does not start: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "the probe run of bubblewrap failed ({}): {}",
                output.status,
                said.trim()
            ));
        }
        if !folder.join("written").exists() {
            return Err("the probe run of bubblewrap wrote elsewhere than into the workspace".into());
        }
        Ok(())
    }

    /// The command that runs what is appended to it inside, with `workspace` (canonical) as the one writable folder.
    pub(crate) fn command(&self, workspace: &Path, env: &Env) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments(workspace, env));
        command.env_clear();
        command
    }

    /// The same for what has a terminal of its own: it stays its leader. Nobody else reads that terminal, so what is pushed into it
    /// from inside comes back inside.
    pub(crate) fn on_terminal(&self, workspace: &Path, env: &Env) -> (&Path, Vec<OsString>) {
        let mut arguments = self.arguments(workspace, env);
        arguments.retain(|argument| argument != NEW_SESSION);
        (&self.program, arguments)
    }

    fn arguments(&self, workspace: &Path, env: &Env) -> Vec<OsString> {
        let mut argv = words(&[
            "--die-with-parent",
            NEW_SESSION,
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
        ]);
        // A server started by root must not hand its powers inside: with them the mounts below could be undone.
        argv.extend(words(&[
            "--cap-drop",
            "ALL",
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
        ]));
        // bubblewrap leaves this writable for root without powers, whose files these are; a core pattern is a way out.
        argv.extend(words(&["--ro-bind", "/proc/sys", "/proc/sys"]));
        for dir in ["/tmp", "/var/tmp", "/run"] {
            if Path::new(dir).is_dir() {
                argv.extend(words(&["--tmpfs", dir]));
            }
        }
        if let Some(resolver) = resolver_in_run() {
            argv.extend(["--ro-bind".into(), resolver.clone().into(), resolver.into()]);
        }
        for hidden in self.home.iter().chain([&self.data_dir]) {
            argv.extend(["--tmpfs".into(), hidden.into()]);
        }
        // After what hides: the workspace often lies inside the home or the data directory.
        argv.extend([
            "--bind".into(),
            workspace.into(),
            workspace.into(),
            "--chdir".into(),
            workspace.into(),
        ]);
        argv.push("--clearenv".into());
        for (name, value) in env {
            argv.extend(["--setenv".into(), (*name).into(), value.clone()]);
        }
        argv.push("--".into());
        argv
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Where `/etc/resolv.conf` points into `/run`, names would not resolve inside.
fn resolver_in_run() -> Option<PathBuf> {
    Path::new("/etc/resolv.conf")
        .canonicalize()
        .ok()
        .filter(|real| real.starts_with("/run"))
}

/// The first executable of that name in a search path.
pub(crate) fn find(program: &str, search: &OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(search)
        .map(|dir| dir.join(program))
        .find(|path| path.is_absolute() && executable(path))
}
