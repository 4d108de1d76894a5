//! What there is on this machine, for its card: asked all at once, and what has not answered in time is left out.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use futures_util::future::join_all;
use perennial_schema::frame::{Card, Program};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::{PROBE_BYTES, PROBE_CHARS, VERSION_TIME};

/// Languages and tools, and how each is asked for its version.
const PROGRAMS: [(&str, &str); 14] = [
    ("bash", "--version"),
    ("git", "--version"),
    ("python3", "--version"),
    ("node", "--version"),
    ("cargo", "--version"),
    ("go", "version"),
    ("java", "-version"),
    ("ruby", "--version"),
    ("php", "--version"),
    ("gcc", "--version"),
    ("make", "--version"),
    ("docker", "--version"),
    ("rg", "--version"),
    ("uv", "--version"),
];
/// Command lines of harnesses.
const HARNESSES: [(&str, &str); 3] = [("claude", "--version"), ("codex", "--version"), ("gemini", "--version")];

/// Finds out what there is. `path` is where programs are found, `dir` the folder that is offered.
pub async fn probe(path: &OsStr, dir: &Path) -> Card {
    let programs = join_all(PROGRAMS.map(|(name, flag)| version(path, name, flag)));
    let harnesses = join_all(HARNESSES.map(|(name, flag)| version(path, name, flag)));
    let asked = [
        "-C".as_ref(),
        dir.as_os_str(),
        "remote".as_ref(),
        "get-url".as_ref(),
        "origin".as_ref(),
    ];
    let remote = said(path, "git", &asked);
    let (programs, harnesses, remote) = futures_util::join!(programs, harnesses, remote);
    Card {
        hostname: hostname(),
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|cpus| u32::try_from(cpus.get()).ok()),
        memory_bytes: memory(),
        disk_free_bytes: disk_free(dir),
        programs: programs.into_iter().flatten().collect(),
        harnesses: harnesses.into_iter().flatten().collect(),
        cwd: Some(dir.display().to_string()),
        git_remote: remote.map(|url| without_credentials(&url)),
        ..Card::default()
    }
}

async fn version(path: &OsStr, name: &str, flag: &str) -> Option<Program> {
    let version = said(path, name, &[flag.as_ref()]).await?;
    Some(Program {
        name: name.to_owned(),
        version,
        path: None,
    })
}

/// The first line of what a program says, if it ends well and in time.
async fn said(path: &OsStr, name: &str, args: &[&OsStr]) -> Option<String> {
    let mut command = Command::new(name);
    command
        .args(args)
        .env("PATH", path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let (status, stdout, stderr) = timeout(VERSION_TIME, heard(command)).await.ok()??;
    if !status.success() {
        return None;
    }
    // Java says it where nobody looks.
    let said = if stdout.is_empty() { stderr } else { stdout };
    let text = String::from_utf8_lossy(&said);
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    Some(
        line.trim()
            .chars()
            .filter(|char| !char.is_control())
            .take(PROBE_CHARS)
            .collect(),
    )
}

/// How a program ended and the beginning of what it said; one that says more is told that nobody listens.
async fn heard(mut command: Command) -> Option<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?.take(PROBE_BYTES);
    let mut stderr = child.stderr.take()?.take(PROBE_BYTES);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // Each is closed as soon as it said enough, so that a program which goes on ends.
    let hear = async {
        let heard = stdout.read_to_end(&mut out).await;
        drop(stdout);
        heard
    };
    let hear_too = async {
        let heard = stderr.read_to_end(&mut err).await;
        drop(stderr);
        heard
    };
    tokio::try_join!(hear, hear_too).ok()?;
    Some((child.wait().await.ok()?, out, err))
}

/// What this machine calls itself.
#[must_use]
pub fn hostname() -> Option<String> {
    let uname = nix::sys::utsname::uname().ok()?;
    Some(uname.nodename().to_string_lossy().chars().take(PROBE_CHARS).collect())
}

/// Linux says it here; elsewhere it is not known.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn disk_free(dir: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    #[expect(clippy::useless_conversion, reason = "the types of these differ between systems")]
    u64::from(stat.blocks_available()).checked_mul(u64::from(stat.fragment_size()))
}

/// A remote's address may hold a token.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_remote_stay_here() {
        for (url, shown) in [
            ("https://me:token@example.com/a/b.git", "https://example.com/a/b.git"),
            ("https://token@example.com", "https://example.com"),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }

    #[tokio::test]
    async fn a_machine_is_described_without_what_it_does_not_have() {
        let card = probe(OsStr::new("/usr/bin:/bin"), Path::new("/")).await;
        assert!(card.hostname.is_some() && card.cpus.is_some() && card.disk_free_bytes.is_some());
        let bash = card.programs.iter().find(|program| program.name == "bash").unwrap();
        assert!(bash.version.contains("bash"), "{bash:?}");
        assert_eq!((card.cwd.as_deref(), card.git_remote), (Some("/"), None));
        // What says too much is not listened to.
        let mut command = Command::new("sh");
        command.args(["-c", "exec yes"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let (status, out, _) = heard(command).await.unwrap();
        assert!(
            !status.success() && out.len() as u64 == PROBE_BYTES,
            "{status} {}",
            out.len()
        );
        let none = probe(OsStr::new("/nowhere"), Path::new("/")).await;
        assert!(none.programs.is_empty() && none.harnesses.is_empty());
    }
}
