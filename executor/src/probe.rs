//! What there is on this machine, for its card: asked all at once, and what has not answered in time is left out.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::SystemTime;

use futures_util::future::join_all;
use perennial_schema::Timestamp;
use perennial_schema::frame::{Card, Program};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::{PROBE_BYTES, PROBE_CHARS, PROBE_LINES, VERSION_TIME};
use crate::sandbox::find;

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
    let names = ["--query-gpu=name".as_ref(), "--format=csv,noheader".as_ref()];
    let gpus = said_all(path, "nvidia-smi", &names);
    let (programs, harnesses, remote, gpus) = futures_util::join!(programs, harnesses, remote, gpus);
    Card {
        probed_at: Some(now()),
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        gpus: gpus.unwrap_or_default(),
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
        path: find(name, path).map(|path| path.display().to_string()),
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The first line of what a program says, if it ends well and in time.
async fn said(path: &OsStr, name: &str, args: &[&OsStr]) -> Option<String> {
    said_all(path, name, args).await?.into_iter().next()
}

/// The lines of what a program says, if it ends well and in time; a few of them, and none of them long.
async fn said_all(path: &OsStr, name: &str, args: &[&OsStr]) -> Option<Vec<String>> {
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
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let short = |line: &str| {
        line.chars()
            .filter(|char| !char.is_control())
            .take(PROBE_CHARS)
            .collect()
    };
    Some(lines.take(PROBE_LINES).map(short).collect())
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
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

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
        assert_eq!(bash.path.as_deref(), Some("/usr/bin/bash"));
        let none = probe(OsStr::new("/nowhere"), Path::new("/")).await;
        assert!(none.programs.is_empty() && none.harnesses.is_empty());
    }

    /// What hangs, fails or lies costs its own answer, and no more than the deadline for all of them together.
    #[tokio::test]
    async fn what_does_not_answer_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        // It ends and leaves a child that holds its output; it does not listen to signals; it never says a line.
        program("git", "sleep 60 & exit 0");
        program("node", "trap '' TERM INT; while :; do sleep 1; done");
        program("go", "exec sleep 60");
        program("cargo", "echo cargo 1.0; exit 1");
        program("rg", "printf 'ripgrep \\033[31m14\\n'; echo more");
        program("nvidia-smi", "echo Tesla T4; echo; echo Tesla T4");
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let began = Instant::now();
        let card = probe(OsStr::new(&path), Path::new("/")).await;
        let took = began.elapsed();
        assert!(took < VERSION_TIME + Duration::from_secs(1), "{took:?}");
        let found: Vec<&str> = card.programs.iter().map(|program| program.name.as_str()).collect();
        assert!(found.contains(&"bash") && found.contains(&"rg"), "{found:?}");
        assert!(
            ["git", "node", "go", "cargo"].iter().all(|name| !found.contains(name)),
            "{found:?}"
        );
        let rg = card.programs.iter().find(|program| program.name == "rg").unwrap();
        assert_eq!(rg.version, "ripgrep [31m14");
        assert_eq!(card.gpus, ["Tesla T4", "Tesla T4"]);
        assert!(card.probed_at.is_some());
    }
}
