//! A command as files: what the editor starts is a script that makes sure that it is the first and only one, puts on the environment
//! and the sandbox, and becomes the shell that runs the command. Files, because words are quoted differently by every editor, and
//! because what stands in them, secrets among it, is then neither in the editor's logs nor on a command line.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::Program;
use crate::limits::{PANE_KEPT_BYTES, PANE_OUTPUT_BYTES, PANE_SAID_BYTES};
use crate::process::{JOURNAL_MARKER, SHELL_MARKER};
use crate::sandbox::{Env, Sandbox};
use crate::shell::{eval, prologue, quoted};
use crate::workspace::private_dir;

/// What the next command of a session begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The working directory.
    folder: String,
    /// Exported variables, as commands of bash.
    exports: String,
}

/// Where the scripts are.
#[derive(Clone, Debug)]
pub(crate) struct Scripts {
    dir: PathBuf,
}

/// What a script is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) bash: PathBuf,
    /// The program `env`.
    pub(super) env_program: PathBuf,
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) folder: &'a Path,
    pub(super) env: Env,
    pub(super) variables: &'a IndexMap<String, String>,
    pub(super) kept: Option<&'a Kept>,
    pub(super) command: &'a str,
}

/// One command's files.
#[derive(Debug)]
pub(super) struct Script {
    dir: PathBuf,
    nonce: String,
    /// What its processes are found by.
    pub(super) marker: String,
    pub(super) program: Program,
}

/// What a shell said of its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// None when it did not come to say it: it left by `exit`, was killed, or never was.
    pub(super) status: Option<i32>,
    pub(super) kept: Option<Kept>,
    /// Something still ran in the background.
    pub(super) jobs: bool,
    /// What the sandbox said, when it could not be made.
    pub(super) noise: String,
}

impl Scripts {
    /// Makes the folder, without what an earlier process left there. Blocks.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("executor").join("panes");
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        private_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Whether programs of this place can be named without quotes.
    pub(crate) fn are_plain(&self) -> bool {
        is_plain(self.dir.as_os_str())
    }

    /// Blocks.
    pub(super) fn write(&self, parts: Parts<'_>) -> io::Result<Script> {
        let marker = format!("{:032x}", rand::random::<u128>());
        let nonce = format!("{:032x}", rand::random::<u128>());
        let dir = self.dir.join(&marker);
        private_dir(&dir)?;
        let mut env = parts.env;
        env.push((SHELL_MARKER, marker.clone().into()));
        let marks = env
            .iter()
            .filter(|(name, _)| [JOURNAL_MARKER, SHELL_MARKER].contains(name));
        let marks: Vec<(&str, String)> = marks
            .map(|(name, value)| (*name, value.to_string_lossy().into_owned()))
            .collect();
        let inner = inner(parts.variables, parts.kept, &marks, parts.command, &nonce);
        store(&dir.join("shell"), inner.as_bytes())?;
        let shell = [parts.bash.as_os_str(), "--noprofile".as_ref(), "--norc".as_ref()];
        let argv: Vec<Vec<u8>> = match parts.sandbox {
            Some(sandbox) => {
                let command = sandbox.command(parts.folder, &env);
                let command = command.as_std();
                let outside = std::iter::once(command.get_program()).chain(command.get_args());
                outside.chain(shell).map(word).collect()
            }
            None => shell.map(word).to_vec(),
        };
        let outer = outer(&dir, &parts.env_program, &env, &argv);
        let path = dir.join("run");
        store(&path, &outer)?;
        Ok(Script {
            program: Program {
                program: parts.bash.to_string_lossy().into_owned(),
                arguments: vec![path.to_string_lossy().into_owned()],
                env: marks,
                folder: parts.folder.to_owned(),
                output_bytes: PANE_OUTPUT_BYTES,
            },
            dir,
            nonce,
            marker,
        })
    }
}

impl Script {
    /// Makes sure that the command does not begin any more; whether it had not. Blocks.
    pub(super) fn withdraw(&self) -> bool {
        // The same act by which it begins: one of the two is first.
        File::create_new(begun(&self.dir)).is_ok()
    }

    /// Blocks.
    pub(super) fn said(&self) -> Said {
        let mut said = Vec::new();
        match File::open(self.dir.join("said")) {
            Ok(file) => match file.take(PANE_SAID_BYTES).read_to_end(&mut said) {
                Ok(_) => parse(&said, &self.nonce),
                Err(_) => Said::default(),
            },
            Err(_) => Said::default(),
        }
    }

    /// Blocks.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, "a command's script cannot be removed");
        }
    }
}

/// Whether a word is one word to every shell.
pub(crate) fn is_plain(word: &OsStr) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@:,".contains(byte);
    word.as_bytes().iter().all(plain)
}

fn begun(dir: &Path) -> PathBuf {
    dir.join("begun")
}

fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// What the editor starts. `noclobber` makes the file or fails, in one step: who comes second goes away.
fn outer(dir: &Path, env_program: &Path, env: &Env, argv: &[Vec<u8>]) -> Vec<u8> {
    let mut script = b"set -C\n: >".to_vec();
    script.extend(word(begun(dir).as_os_str()));
    script.extend(b" || exit 125\nexec ");
    script.extend(word(env_program.as_os_str()));
    script.extend(b" -i");
    for (name, value) in env {
        script.extend(format!(" {name}=").into_bytes());
        script.extend(word(value));
    }
    for one in argv {
        script.push(b' ');
        script.extend(one);
    }
    script.extend(b" <");
    script.extend(word(dir.join("shell").as_os_str()));
    script.extend(b" 2>>");
    script.extend(word(dir.join("said").as_os_str()));
    script.push(b'\n');
    script
}

/// What the shell is told: as one of our own, and to say at the end where it is and what it has exported.
fn inner(
    variables: &IndexMap<String, String>,
    kept: Option<&Kept>,
    marks: &[(&'static str, String)],
    command: &str,
    nonce: &str,
) -> String {
    let mut script = prologue(variables);
    if let Some(Kept { folder, exports }) = kept {
        script.push_str(&format!("{}\ncd -- {}\n", exports.trim_end(), quoted(folder)));
    }
    // Those of the command before came with what was kept.
    for (name, value) in marks {
        script.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    script.push_str(&eval(command));
    script.push_str(&format!(
        "builtin set -- \"$?\"\nbuiltin printf '%s %s\\n' {nonce} \"$1\" >&99\nbuiltin pwd >&99\nbuiltin printf '\\0' >&99\n\
         builtin jobs -rp >&99\nbuiltin printf '\\0' >&99\nbuiltin export -p >&99\nbuiltin exit \"$1\"\n"
    ));
    script
}

fn parse(said: &[u8], nonce: &str) -> Said {
    let text = String::from_utf8_lossy(said);
    let Some((noise, told)) = text.split_once(nonce) else {
        return Said {
            noise: text.into_owned(),
            ..Said::default()
        };
    };
    let (status, rest) = told.split_once('\n').unwrap_or((told, ""));
    let mut rest = rest.splitn(3, '\0');
    let (folder, jobs, exports) = (rest.next(), rest.next(), rest.next());
    let kept = folder.zip(exports).map(|(folder, exports)| Kept {
        folder: folder.strip_suffix('\n').unwrap_or(folder).to_owned(),
        exports: exports.to_owned(),
    });
    Said {
        status: status.trim().parse().ok(),
        // More of it is cut off somewhere, and half of it is not what there was.
        kept: kept.filter(|kept| kept.exports.len() <= PANE_KEPT_BYTES),
        jobs: jobs.is_some_and(|jobs| !jobs.trim().is_empty()),
        noise: noise.to_owned(),
    }
}

/// One word for bash, whatever its bytes.
fn word(text: &OsStr) -> Vec<u8> {
    let quoted = text.as_bytes().iter().flat_map(|byte| match byte {
        b'\'' => br"'\''".to_vec(),
        byte => vec![*byte],
    });
    std::iter::once(b'\'').chain(quoted).chain([b'\'']).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output, Stdio};

    use super::*;

    struct Bench {
        folder: tempfile::TempDir,
        scripts: Scripts,
    }

    impl Bench {
        fn open() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let scripts = Scripts::open(folder.path()).unwrap();
            Self { folder, scripts }
        }

        fn script(&self, command: &str, kept: Option<&Kept>) -> Script {
            let variables = [("TOKEN".to_owned(), "it's".to_owned())].into();
            let parts = Parts {
                bash: "/bin/bash".into(),
                env_program: "/usr/bin/env".into(),
                sandbox: None,
                folder: self.folder.path(),
                env: vec![("PATH", "/usr/bin:/bin".into())],
                variables: &variables,
                kept,
                command,
            };
            self.scripts.write(parts).unwrap()
        }
    }

    /// As an editor does that starts programs itself, or one that gives a shell what it was asked for.
    fn start(script: &Script, joined: bool) -> Output {
        let Program {
            program,
            arguments,
            env,
            folder,
            ..
        } = &script.program;
        let mut command = if joined {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("({program} {}\n) </dev/null", arguments.join(" "))]);
            command
        } else {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        };
        command.envs(env.iter().map(|(name, value)| (name, value)));
        command
            .current_dir(folder)
            .env("FOREIGN", "x")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    #[test]
    fn a_command_begins_once_and_however_it_is_started() {
        for joined in [false, true] {
            let bench = Bench::open();
            let script = bench.script("echo \"$TOKEN ${FOREIGN-none}\"; echo err >&2; (exit 3)", None);
            let ran = start(&script, joined);
            assert_eq!(String::from_utf8_lossy(&ran.stdout), "it's none\nerr\n");
            assert_eq!((ran.status.code(), script.said().status), (Some(3), Some(3)));
            // A second time, or a late first.
            assert!(!script.withdraw());
            let again = start(&script, joined);
            assert_eq!((again.status.code(), again.stdout.len()), (Some(125), 0));
            let late = bench.script("echo ran", None);
            assert!(late.withdraw());
            assert_eq!(start(&late, joined).stdout.len(), 0);
            late.remove();
            assert_eq!(start(&late, joined).stdout.len(), 0, "nor when its files are gone");
        }
    }

    #[test]
    fn folder_and_exports_are_handed_on_and_nothing_else() {
        let bench = Bench::open();
        let first = bench.script(
            "mkdir 'a b'; cd 'a b'; export X=$'1\\n2'; Y=3; sleep 5 >/dev/null 2>&1 & cd .; false",
            None,
        );
        start(&first, false);
        let said = first.said();
        assert_eq!((said.status, said.jobs), (Some(1), true), "{said:?}");
        let next = bench.script("pwd; echo \"$X ${Y-none}\"; exit 4", said.kept.as_ref());
        let ran = start(&next, false);
        let folder = bench.folder.path().join("a b");
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout),
            format!("{}\n1\n2 none\n", folder.display())
        );
        // It left before it could say anything.
        assert_eq!(next.said(), Said::default());
        assert_eq!(ran.status.code(), Some(4));
        // Its own mark, not the one before.
        let marked = bench.script(&format!("echo \"${SHELL_MARKER}\""), said.kept.as_ref());
        assert_eq!(
            String::from_utf8_lossy(&start(&marked, false).stdout).trim(),
            marked.marker
        );
    }

    #[test]
    fn what_is_too_much_to_hand_on_is_not() {
        let long = format!("N 0\n/\n\0\0declare -x A=\"{}\"\n", "x".repeat(PANE_KEPT_BYTES));
        let said = parse(long.as_bytes(), "N");
        assert_eq!((said.status, said.kept), (Some(0), None));
        assert_eq!(parse(b"bwrap: no", "N").noise, "bwrap: no");
        assert!(is_plain("/home/a/x-1.sh".as_ref()) && !is_plain("/my files".as_ref()) && !is_plain("/a$b".as_ref()));
    }
}
