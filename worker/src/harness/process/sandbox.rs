//! What the process can see: an empty home, the system's libraries, the network (it must reach the model and our MCP
//! endpoint on loopback), and nothing else of the host: no workspace, no data directory, no user's home (S31).

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The only search path it gets.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Where its home is seen inside: the same on every worker, so nothing depends on which one runs a turn.
pub(super) const INSIDE: &str = "/session";
/// The working folder below the home.
pub(super) const WORK: &str = "work";
/// Where the certificates are seen inside.
pub(super) const CERTIFICATES: &str = "/run/ca-certificates.pem";

/// What of the host is shown, read-only: libraries, name resolution, certificates, time zone.
const SHOWN: [&str; 14] = [
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/passwd",
];

/// The program under bubblewrap; further arguments go to the program. The environment is empty.
pub(super) fn wrapped(bubblewrap: &Path, binary: &Path, folder: &Path, certificates: Option<&Path>) -> Command {
    // By its own name, which is what a list of processes shows.
    let program: PathBuf = Path::new("/run").join(binary.file_name().unwrap_or_else(|| "harness".as_ref()));
    let mut command = walls(bubblewrap);
    command.arg("--ro-bind").arg(binary).arg(&program);
    if let Some(certificates) = certificates {
        command.arg("--ro-bind").arg(certificates).arg(CERTIFICATES);
    }
    enter(&mut command, folder);
    command.arg(program).env_clear();
    command
}

/// bubblewrap with the system's libraries and nothing else of the host; more to show may follow.
pub(in crate::harness) fn walls(bubblewrap: &Path) -> Command {
    let mut command = Command::new(bubblewrap);
    command.args([
        "--die-with-parent",
        "--new-session",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
    ]);
    for path in SHOWN {
        command.args(["--ro-bind-try", path, path]);
    }
    command.args(["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
    command
}

/// Its home and working folder; the program and its arguments follow.
pub(in crate::harness) fn enter(command: &mut Command, folder: &Path) {
    command.arg("--bind").arg(folder).arg(INSIDE);
    command.arg("--chdir").arg(Path::new(INSIDE).join(WORK));
    command.args(["--cap-drop", "ALL", "--"]);
}
