//! What has changed in a repository of a workspace folder: from where the session began (a clone remembers it, else the newest
//! commit) to the files as they are, untracked ones included. Nothing in the repository is touched: index and new objects are
//! copies elsewhere. Nothing that the repository configures is run, and nothing outside of the folder is looked at, wherever it says
//! its files or its objects are; a worktree may have its repository elsewhere if that knows it.
//!
//! What git prints goes to the call's output as it is: a line with the two commits and two lengths, then so many bytes of which
//! files changed and how (`--raw --numstat -z`), then so many bytes of patch.

use std::ffi::OsString;

use perennial_schema::step::DiffInput;

use crate::capture::Capture;
use crate::git::{Git, Run};
use crate::limits::{DIFF_TIME, GIT_OUTPUT_BYTES};

/// Gets git and its settings up to `--`, then path, base, head, what of the files, and lines of context.
const SCRIPT: &str = r#"
set -eu
git=()
while test "$1" != --; do git+=("$1"); shift; done
shift
path=$1 base=$2 head=$3 what=$4 context=$5
git() { command "${git[@]}" "$@"; }
commit() { git rev-parse --verify --quiet --end-of-options "$1^{commit}" || { echo "there is no commit $1 in $path" >&2; exit 3; }; }
root=$(pwd -P)
inside() { case $1/ in "${root%/}"/*) ;; *) echo "the repository of $path reaches out of the folder that is worked in" >&2; exit 3 ;; esac; }
cd -- "$path"
inside "$(pwd -P)"
export GIT_ALLOW_PROTOCOL= GIT_NO_LAZY_FETCH=1
git rev-parse --show-toplevel >/dev/null
cd -- "$(git rev-parse --show-toplevel)"
top=$(pwd -P)
inside "$top"
own=$(cd -- "$(git rev-parse --absolute-git-dir)" && pwd -P)
common=$(cd -- "$(git rev-parse --path-format=absolute --git-common-dir)" && pwd -P)
if test -f "$own/gitdir" && test ! -L "$top/.git" && test "$(cat -- "$own/gitdir")" = "$top/.git"; then
    # A worktree that was made by the repository itself: its own place is below there.
    case $own in "$common"/worktrees/*) ;; *) inside "$own"; inside "$common" ;; esac
else inside "$own"; inside "$common"; fi
# Programs that files pass through are a repository's to name, and not ours to run. An empty one is none.
count=0
set_config() { export "GIT_CONFIG_KEY_$count=$1" "GIT_CONFIG_VALUE_$count=$2"; count=$((count + 1)); }
while IFS= read -r -d '' key; do
    set_config "$key" ''
    set_config "${key%.*}.required" false
done < <(git config --null --name-only --get-regexp '^filter[.].*[.](clean|smudge|process)$' || true)
export GIT_CONFIG_COUNT=$count
tmp=$(mktemp -d)
trap 'rm -rf -- "$tmp"' EXIT
to=-
if test -n "$base"; then from=$(commit "$base")
elif from=$(git rev-parse --verify --quiet 'refs/perennial/base^{commit}'); then :
elif from=$(git rev-parse --verify --quiet 'HEAD^{commit}'); then :
else from=$(git hash-object -t tree /dev/null); fi
case $what in
commits) to=$(commit "$head"); between=("$from" "$to") ;;
staged) between=(--cached "$from") ;;
*)
    objects=$(git rev-parse --path-format=absolute --git-path objects)
    index=$(git rev-parse --path-format=absolute --git-path index)
    # With its time: what was written in the same second is told by it.
    if test -e "$index"; then cp -p -- "$index" "$tmp/index"; fi
    mkdir -- "$tmp/objects"
    export GIT_INDEX_FILE="$tmp/index" GIT_OBJECT_DIRECTORY="$tmp/objects" GIT_ALTERNATE_OBJECT_DIRECTORIES="$objects"
    if test "$what" = tracked; then git add --update -- :/; else git add --all -- :/; fi
    between=(--cached "$from") ;;
esac
how=(--no-color --no-ext-diff --no-textconv --full-index --find-renames --submodule=short --ignore-submodules=dirty --src-prefix=a/ --dst-prefix=b/ --unified="$context")
git diff "${how[@]}" --raw --numstat -z "${between[@]}" -- >"$tmp/files"
git diff "${how[@]}" --binary --patch "${between[@]}" -- >"$tmp/patch"
printf '%s %s %s %s\n' "$from" "$to" "$(($(wc -c <"$tmp/files")))" "$(($(wc -c <"$tmp/patch")))"
cat -- "$tmp/files" "$tmp/patch"
"#;

/// Fills `output`. An error is told to whoever asked.
pub(crate) async fn diff(git: Git<'_>, input: &DiffInput, output: &mut Capture) -> Result<(), String> {
    input.check()?;
    let path = git.folder.relative(&input.path)?;
    let meta = git.folder.dir.metadata(&path);
    if !meta.is_ok_and(|meta| meta.is_dir()) {
        return Err(format!("there is no folder {} in the workspace", input.path));
    }
    let what = match (&input.head, input.staged, input.untracked) {
        (Some(_), _, _) => "commits",
        (None, true, _) => "staged",
        (None, false, true) => "files",
        (None, false, false) => "tracked",
    };
    let text = |given: &Option<String>| OsString::from(given.clone().unwrap_or_default());
    let argv = vec![
        path.into(),
        text(&input.base),
        text(&input.head),
        what.into(),
        input.context.to_string().into(),
    ];
    // What a repository's configuration would run by itself.
    let settings = [
        ("core.fsmonitor", "false"),
        ("core.hooksPath", "/dev/null"),
        ("core.quotePath", "false"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let run = Run {
        script: SCRIPT,
        argv,
        settings: &settings,
        input: "",
        time: DIFF_TIME,
        said: Capture::new(GIT_OUTPUT_BYTES),
        output,
    };
    let ended = git.run(run).await;
    ended.map_err(|error| match error.contains("not a git repository") {
        true => format!("{} is not in a git repository", input.path),
        false => error,
    })
}
