//! A repository of a preparation: cloned beside its place, then moved there, so that a crash leaves no half of one.
//!
//! The token is read from a pipe by a shell that becomes git, and given to git by a credential helper for the repository's host
//! alone. It is in no command line, in no file and in no configuration that a clone keeps; of the machine's and the user's own
//! configuration nothing is read.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use perennial_schema::resource::Checkout;
use perennial_schema::step::CloneInput;
use perennial_schema::{Secret, text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::blot::Blot;
use crate::capture::Capture;
use crate::limits::{CLONE_OUTPUT_BYTES, CLONE_TIME};
use crate::process::{SHELL_MARKER, kill_tree};
use crate::serve::House;
use crate::workspace::{Folder, explain, open_regular};

/// Becomes its arguments, with the token of its input in the environment.
const WITH_TOKEN: &str = r#"IFS= read -r PERENNIAL_GIT_TOKEN; export PERENNIAL_GIT_TOKEN; exec "$@" </dev/null"#;
/// What is read of a configuration to see whose clone a folder is.
const CONFIG_BYTES: u64 = 64 * 1024;
/// Whatever the user is called: a token says who it is.
const HELPER: &str =
    r#"!f() { test "$1" = get && printf 'username=x-access-token\npassword=%s\n' "$PERENNIAL_GIT_TOKEN"; }; f"#;

/// Clones; what to say of it. An error is told to the model.
pub(crate) async fn clone(
    house: &House,
    folder: &Folder,
    input: &CloneInput,
    token: Option<&Secret>,
    cancel: &CancellationToken,
) -> Result<String, String> {
    let host = host(&input.url)?;
    let target = folder.relative(&input.path)?;
    let aside = aside(&target)?;
    let said = format!("{} is in {}", input.url, input.path);
    // A fork's folder is a copy, and sessions may share one.
    if is_clone_of(folder, &target, &input.url) {
        return Ok(said);
    }
    make_room(folder, &target, &aside).map_err(|error| explain(&input.path, &error))?;
    let git = Git {
        house,
        folder,
        host,
        token,
        cancel,
    };
    let cloned = git.clone(input, &aside).await.and_then(|()| {
        let moved = folder.dir.rename(&aside, &folder.dir, &target);
        moved.map_err(|error| explain(&input.path, &error))
    });
    if cloned.is_err() {
        let _ = folder.dir.remove_dir_all(&aside);
    }
    cloned
        .map(|()| said)
        .map_err(|error| format!("{} could not be cloned: {error}", input.url))
}

/// The part of the address that the token is for.
fn host(url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("its address has no scheme")?;
    let host = rest.split('/').next().unwrap_or_default();
    if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains(['@', '\\']) {
        return Err("only http and https addresses without credentials are cloned".into());
    }
    Ok(format!("{scheme}://{host}"))
}

fn is_clone_of(folder: &Folder, target: &Path, url: &str) -> bool {
    let config = open_regular(&folder.dir, &target.join(".git/config"));
    let mut text = String::new();
    let read = config.and_then(|config| config.take(CONFIG_BYTES).read_to_string(&mut text));
    read.is_ok() && text.lines().any(|line| line.trim() == format!("url = {url}"))
}

/// Where it is cloned to first. One place for one target: what a crash left there is found.
fn aside(target: &Path) -> Result<PathBuf, String> {
    let name = target.file_name().ok_or("its place has no name")?;
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(".cloning");
    Ok(target.with_file_name(aside))
}

fn make_room(folder: &Folder, target: &Path, aside: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent().filter(|parent| *parent != Path::new("")) {
        folder.dir.create_dir_all(parent)?;
    }
    match folder.dir.remove_dir_all(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // An empty folder is as good as none; anything else stays as it is.
    match folder.dir.remove_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            Err(io::Error::other("there is something already, and it is not touched"))
        }
        other => other,
    }
}

struct Git<'a> {
    house: &'a House,
    folder: &'a Folder,
    host: String,
    token: Option<&'a Secret>,
    cancel: &'a CancellationToken,
}

impl Git<'_> {
    async fn clone(&self, input: &CloneInput, aside: &Path) -> Result<(), String> {
        let mut argv: Vec<OsString> = ["clone", "--quiet", "--template="].map(OsString::from).into();
        match &input.checkout {
            Some(Checkout::Branch { name }) => argv.push(format!("--branch={name}").into()),
            Some(Checkout::Commit { .. }) => argv.push("--no-checkout".into()),
            None => {}
        }
        argv.extend(["--".into(), OsString::from(&input.url), aside.into()]);
        self.run(argv).await?;
        let Some(Checkout::Commit { sha }) = &input.checkout else {
            return Ok(());
        };
        if sha.is_empty() || !sha.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err("the commit is no hash".into());
        }
        let within = |rest: &[&str]| -> Vec<OsString> {
            ["-C".into(), aside.into()]
                .into_iter()
                .chain(rest.iter().map(OsString::from))
                .collect()
        };
        let checkout = within(&["checkout", "--quiet", "--detach", sha]);
        if self.run(checkout.clone()).await.is_ok() {
            return Ok(());
        }
        // On no branch: the remote may give it out all the same.
        self.run(within(&["fetch", "--quiet", "origin", sha])).await?;
        self.run(checkout).await
    }

    async fn run(&self, argv: Vec<OsString>) -> Result<(), String> {
        let marker = format!("{:032x}", rand::random::<u128>());
        let mut child = self
            .house
            .spawner
            .spawn(self.command(argv, &marker)?)
            .await
            .map_err(|error| format!("git cannot be started: {error}"))?;
        let group = child.id().map(u32::cast_signed);
        let secret = self.token.map(Secret::expose).unwrap_or_default();
        let mut said = Capture::new(CLONE_OUTPUT_BYTES).without(Blot::values(
            self.token
                .iter()
                .map(|token| token.expose().as_bytes().to_vec())
                .collect(),
        ));
        let (input, output) = (child.stdin.take(), child.stderr.take());
        let talk = async {
            if let Some(mut input) = input {
                let _ = input.write_all(format!("{secret}\n").as_bytes()).await;
            }
            let Some(mut output) = output else { return };
            let mut buffer = [0; 4096];
            while let Ok(read) = output.read(&mut buffer).await {
                if read == 0 {
                    break;
                }
                said.push(&buffer[..read]);
            }
        };
        let ended = tokio::select! {
            ((), status) = async { tokio::join!(talk, child.wait()) } => Some(status),
            () = self.cancel.cancelled() => None,
            () = self.house.stop.cancelled() => None,
            () = tokio::time::sleep(CLONE_TIME) => None,
        };
        match ended {
            Some(Ok(status)) if status.success() => Ok(()),
            Some(Ok(status)) => Err(match said.take().trim() {
                "" => format!("git ended with {status}"),
                said => text::head_and_tail(said, CLONE_OUTPUT_BYTES),
            }),
            Some(Err(error)) => Err(error.to_string()),
            None => {
                let killed = tokio::task::spawn_blocking(move || kill_tree(group, SHELL_MARKER, &marker)).await;
                let _ = child.wait().await;
                match killed {
                    Ok(Ok(_)) if self.cancel.is_cancelled() => Err("it was cancelled".into()),
                    Ok(Ok(_)) => Err(format!("it took longer than {} s", CLONE_TIME.as_secs())),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }

    fn command(&self, argv: Vec<OsString>, marker: &str) -> Result<Command, String> {
        let bash = self.house.bash().ok_or("bash is not installed where it would run")?;
        let git = self
            .house
            .program("git")
            .ok_or("git is not installed where it would run")?;
        let mut env = self.house.environment(&self.folder.path);
        env.extend([
            (SHELL_MARKER, marker.into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ALLOW_PROTOCOL", "http:https".into()),
            ("GIT_LFS_SKIP_SMUDGE", "1".into()),
            ("GIT_CONFIG_COUNT", "1".into()),
            ("GIT_CONFIG_KEY_0", format!("credential.{}.helper", self.host).into()),
            ("GIT_CONFIG_VALUE_0", HELPER.into()),
        ]);
        if self.token.is_none() {
            env.retain(|(name, _)| !name.starts_with("GIT_CONFIG_COUNT"));
        }
        let mut command = match &self.house.sandbox {
            Some(sandbox) => {
                let mut command = sandbox.command(&self.folder.path, &env);
                command.arg(&bash);
                command
            }
            None => {
                let mut command = Command::new(&bash);
                command.env_clear().current_dir(&self.folder.path);
                command
            }
        };
        command.envs(env.iter().map(|(name, value)| (*name, value)));
        command
            .args(["--noprofile", "--norc", "-c", WITH_TOKEN, "bash"])
            .arg(git)
            .args(argv);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_host_and_no_address_has_one_in_it() {
        assert_eq!(host("https://github.com/a/b.git").as_deref(), Ok("https://github.com"));
        assert_eq!(host("http://127.0.0.1:8080/a").as_deref(), Ok("http://127.0.0.1:8080"));
        for url in [
            "https://me:secret@github.com/a",
            "ssh://git@github.com/a",
            "file:///etc",
            "ext::sh -c x",
            "-u",
            "https:///a",
            "git@github.com:a/b",
        ] {
            assert!(host(url).is_err(), "{url}");
        }
    }
}
