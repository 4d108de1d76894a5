//! `perennial session pull SESSION [DIR]`

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use clap::Args;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::diff::DiffArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::sanitize;
use crate::verbs::Context;

/// Apply what a session changed to a checkout of yours
///
/// Files that you changed yourself are not touched: if the session changed one of them too, nothing is applied. Where your commits
/// differ, changes are merged (git apply --3way), and what does not fit is marked in the files.
#[derive(Debug, Args)]
pub struct PullArgs {
    session: String,
    /// The checkout
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The repository in the session's folder [default: its one repository, else the folder]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Changes from this revision on [default: where the session began]
    #[arg(long, value_name = "REVISION")]
    base: Option<String>,
}

/// Pulls.
pub async fn run(context: &Context, args: PullArgs) -> Result<Exit, Error> {
    let top = top(&args.dir).await?;
    let ask = DiffArgs::of(args.session, args.path, args.base);
    let patch = context
        .client()?
        .bytes(&ask.url(), &ask.query(), "text/x-patch")
        .await?;
    let files = changed(&top, &patch).await?;
    if files.is_empty() {
        output::note("the session changed nothing");
        return Ok(Exit::Done);
    }
    let dirty = dirty(&top, &files).await?;
    if !dirty.is_empty() {
        return Err(failed(format!(
            "nothing was applied: the session changed files that you changed too; commit or stash them first:\n  {}",
            dirty.join("\n  ")
        )));
    }
    // All or nothing but for conflicts, which are between the session's and what is committed here.
    let applied = git(&top, &["apply", "--3way", "--whitespace=nowarn", "-"], &patch).await?;
    let conflicts = git(&top, &["diff", "--name-only", "--diff-filter=U", "-z"], &[]).await?;
    let conflicts = words(&conflicts.stdout);
    match (applied.status.success(), conflicts.is_empty()) {
        (true, _) => {
            output::note(&format!("applied the changes of {} files", files.len()));
            Ok(Exit::Done)
        }
        (false, true) => Err(failed(format!("nothing was applied: {}", said(&applied)))),
        (false, false) => Err(failed(format!(
            "applied, with conflicts that are marked in these files:\n  {}",
            conflicts.join("\n  ")
        ))),
    }
}

/// Which files a patch changes, as they are called afterwards.
async fn changed(top: &Path, patch: &[u8]) -> Result<Vec<String>, Error> {
    if patch.is_empty() {
        return Ok(Vec::new());
    }
    let read = git(top, &["apply", "--numstat", "-z", "-"], patch).await?;
    if !read.status.success() {
        return Err(failed(format!("the patch is not understood here: {}", said(&read))));
    }
    let words = words(&read.stdout);
    let names = words.iter().map(|word| word.splitn(3, '\t').last().unwrap_or(word));
    Ok(names.map(str::to_owned).collect())
}

fn said(output: &Output) -> String {
    sanitize(String::from_utf8_lossy(&output.stderr).trim())
}

async fn top(dir: &Path) -> Result<PathBuf, Error> {
    let found = git(dir, &["rev-parse", "--show-toplevel"], &[]).await?;
    if !found.status.success() {
        return Err(Error::Usage(format!("{} is no checkout of git", dir.display())));
    }
    let text = String::from_utf8_lossy(&found.stdout);
    Ok(PathBuf::from(text.trim_end_matches('\n')))
}

fn failed(message: String) -> Error {
    Error::Failed(message)
}

/// Which of these files are not as the newest commit has them.
async fn dirty(top: &Path, files: &[String]) -> Result<Vec<String>, Error> {
    let mut dirty = Vec::new();
    for some in files.chunks(200) {
        let mut argv = vec![
            "--literal-pathspecs",
            "status",
            "--porcelain",
            "--untracked-files=all",
            "--ignored=matching",
            "-z",
            "--",
        ];
        argv.extend(some.iter().map(String::as_str));
        let told = git(top, &argv, &[]).await?;
        if !told.status.success() {
            return Err(failed(format!("git status: {}", said(&told))));
        }
        dirty.extend(
            words(&told.stdout)
                .into_iter()
                .map(|line| line.get(3..).unwrap_or(&line).to_owned()),
        );
    }
    Ok(dirty)
}

fn words(text: &[u8]) -> Vec<String> {
    let words = text.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

async fn git(dir: &Path, argv: &[&str], input: &[u8]) -> Result<Output, Error> {
    let unrun = |error: std::io::Error| failed(format!("git cannot be run: {error}"));
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(argv);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(unrun)?;
    let pipe = child.stdin.take();
    let write = async {
        if let Some(mut pipe) = pipe {
            // It may end before it has read it all, and say why.
            let _ = pipe.write_all(input).await;
        }
    };
    let ((), ended) = tokio::join!(write, child.wait_with_output());
    ended.map_err(unrun)
}
