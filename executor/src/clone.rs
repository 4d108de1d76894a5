//! A repository of a preparation: cloned beside its place, then moved there, so that a crash leaves no half of one.
//!
//! The token is read from a pipe by a shell that becomes git, and given to git by a credential helper for the repository's host
//! alone. It is in no command line, in no file and in no configuration that a clone keeps; of the machine's and the user's own
//! configuration nothing is read.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use perennial_schema::Secret;
use perennial_schema::resource::Checkout;
use perennial_schema::step::CloneInput;
use tokio_util::sync::CancellationToken;

use crate::blot::Blot;
use crate::capture::Capture;
use crate::git::{Git, Run};
use crate::limits::{CLONE_TIME, GIT_OUTPUT_BYTES};
use crate::serve::House;
use crate::workspace::{Folder, explain, open_regular};

/// Becomes its arguments, with the token of its input in the environment.
const WITH_TOKEN: &str = r#"
IFS= read -r PERENNIAL_GIT_TOKEN
export PERENNIAL_GIT_TOKEN
git=()
while test "$1" != --; do git+=("$1"); shift; done
shift
exec "${git[@]}" "$@" </dev/null
"#;
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
    // With a token, and with none of another host's: a helper that is asked for more says nothing.
    let helper = (format!("credential.{host}.helper"), HELPER.to_owned());
    let cloning = Cloning {
        git: Git { house, folder, cancel },
        settings: token.map(|_| helper).into_iter().collect(),
        token,
    };
    let cloned = cloning.fetch(input, &aside).await.and_then(|()| {
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

struct Cloning<'a> {
    git: Git<'a>,
    settings: Vec<(String, String)>,
    token: Option<&'a Secret>,
}

impl Cloning<'_> {
    async fn fetch(&self, input: &CloneInput, aside: &Path) -> Result<(), String> {
        let mut argv: Vec<OsString> = ["clone", "--quiet", "--template="].map(OsString::from).into();
        match &input.checkout {
            Some(Checkout::Branch { name }) => argv.push(format!("--branch={name}").into()),
            Some(Checkout::Commit { .. }) => argv.push("--no-checkout".into()),
            None => {}
        }
        argv.extend(["--".into(), OsString::from(&input.url), aside.into()]);
        self.run(argv).await?;
        let within = |rest: &[&str]| -> Vec<OsString> {
            let rest = rest.iter().map(OsString::from);
            ["-C".into(), aside.into()].into_iter().chain(rest).collect()
        };
        if let Some(Checkout::Commit { sha }) = &input.checkout {
            if sha.is_empty() || !sha.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err("the commit is no hash".into());
            }
            let checkout = within(&["checkout", "--quiet", "--detach", sha]);
            if self.run(checkout.clone()).await.is_err() {
                // On no branch: the remote may give it out all the same.
                self.run(within(&["fetch", "--quiet", "origin", sha])).await?;
                self.run(checkout).await?;
            }
        }
        // Where the session began, for whoever asks what it changed. An empty repository has no such place.
        let _ = self.run(within(&["update-ref", "refs/perennial/base", "HEAD"])).await;
        Ok(())
    }

    async fn run(&self, argv: Vec<OsString>) -> Result<(), String> {
        let token = self.token.map(Secret::expose).unwrap_or_default();
        let hidden = self.token.iter().map(|token| token.expose().as_bytes().to_vec());
        let run = Run {
            script: WITH_TOKEN,
            argv,
            settings: &self.settings,
            input: &format!("{token}\n"),
            time: CLONE_TIME,
            said: Capture::new(GIT_OUTPUT_BYTES).without(Blot::values(hidden.collect())),
            output: &mut Capture::new(0),
        };
        self.git.run(run).await
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
