//! S17 for git: repositories of an enemy, looked at by their diff and cloned. Nothing they name is run, nothing outside of the folder
//! is told or changed, and no name of theirs is taken for an argument. Uncontained: nothing else stands in the way here.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use perennial_executor::{Config, Executor, Sandbox};
use perennial_schema::frame::{Call, Workspace};
use perennial_schema::tool::Outcome;
use serde_json::{Value, json};

use crate::rig::*;

const SECRET: &str = "the-secret-of-the-outside";

/// An offered folder, and one beside it that is not and has a repository.
struct House {
    dir: tempfile::TempDir,
    link: Link,
    _executor: Arc<Executor>,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["offered", "outside"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let outside = dir.path().join("outside");
        git(&outside, &["init", "-q", "-b", "main"]);
        std::fs::write(outside.join("file"), format!("{SECRET}\n")).unwrap();
        git(&outside, &["add", "."]);
        git(&outside, &["commit", "-qm", "one"]);
        let config = Config {
            roots: vec![dir.path().join("offered")],
            ..config(&dir.path().join("data"), Sandbox::Off)
        };
        let executor = Arc::new(Executor::open(config).await.unwrap());
        let link = Link::open(&executor).await;
        Self {
            dir,
            link,
            _executor: executor,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A repository in the offered folder, with a commit and a change.
    fn repository(&self, name: &str) -> PathBuf {
        let path = self.at("offered").join(name);
        std::fs::create_dir(&path).unwrap();
        git(&path, &["init", "-q", "-b", "main"]);
        std::fs::write(path.join("file"), "one\n").unwrap();
        git(&path, &["add", "."]);
        git(&path, &["commit", "-qm", "one"]);
        std::fs::write(path.join("file"), "two\n").unwrap();
        path
    }

    async fn run(&mut self, tool: &str, input: &Value) -> Outcome {
        let path = self.at("offered").display().to_string();
        let call = Call {
            workspace: Workspace::Dir { path },
            ..call(tool, input)
        };
        self.link.run(&call).await
    }

    async fn diff(&mut self, path: &str) -> Outcome {
        let all = json!({"path": path, "staged": false, "untracked": true, "context": 3});
        self.run("workspace.diff", &all).await
    }

    /// What diffs printed so far, all of them.
    fn printed(&self) -> String {
        let mut printed = String::new();
        let mut folders = vec![self.at("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    printed.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
                }
            }
        }
        printed
    }

    /// Nothing ran, and nothing outside was told or changed.
    fn intact(&self, told: &Outcome, what: &str) {
        assert!(!self.at("ran").exists(), "{what}: a program ran");
        assert!(!format!("{told:?}").contains(SECRET), "{what}: {told:?}");
        assert!(!self.printed().contains(SECRET), "{what}: {}", self.printed());
        let status = git(&self.at("outside"), &["status", "--porcelain"]);
        assert_eq!(status, "", "{what}");
    }
}

/// What git says, with nobody's configuration.
fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@example.com",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repository_configures_is_not_run() {
    let mut house = House::new().await;
    let touch = format!("touch {}; cat", house.at("ran").display());
    for (n, keys) in [
        ["filter.x.clean", "filter.x.smudge"],
        ["filter.x.process", "filter.x.required"],
        ["filter.a=b.clean", "filter.a=b.process"],
        ["FILTER.x.CLEAN", "filter.x.Process"],
        ["diff.external", "diff.x.command"],
        ["diff.x.textconv", "core.fsmonitor"],
        ["core.pager", "core.alternateRefsCommand"],
    ]
    .iter()
    .enumerate()
    {
        let name = format!("r{n}");
        let path = house.repository(&name);
        std::fs::write(path.join(".gitattributes"), "* filter=x diff=x\n*le filter=a=b\n").unwrap();
        for key in keys {
            let value = if key.ends_with("required") {
                "true"
            } else {
                touch.as_str()
            };
            git(&path, &["config", key, value]);
        }
        let told = house.diff(&name).await;
        house.intact(&told, keys[0]);
        assert!(!told.is_error, "{keys:?}: {told:?}");
    }
    assert!(house.printed().contains("+two"), "nothing was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repository_within_one_configures_is_not_run() {
    let mut house = House::new().await;
    let touch = format!("touch {}; false", house.at("ran").display());
    let path = house.repository("super");
    let inner = path.join("inner");
    let from = house.at("outside").display().to_string();
    git(&path, &["clone", "-q", &from, "inner"]);
    std::fs::write(inner.join("file"), "one\n").unwrap();
    git(&inner, &["commit", "-qam", "no secret"]);
    git(&path, &["add", "inner"]);
    git(&path, &["commit", "-qm", "inner"]);
    git(&path, &["config", "diff.submodule", "diff"]);
    git(&path, &["config", "submodule.recurse", "true"]);
    git(&inner, &["config", "core.fsmonitor", &touch]);
    git(&inner, &["config", "diff.external", &touch]);
    std::fs::write(inner.join("file"), "two\n").unwrap();
    let told = house.diff("super").await;
    assert!(!house.at("ran").exists(), "a program of the inner one ran: {told:?}");
    assert!(!told.is_error, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_says_it_is_elsewhere_is_refused() {
    let mut house = House::new().await;
    let (offered, outside) = (house.at("offered"), house.at("outside"));
    let away = outside.display().to_string();
    let worktree = house.repository("worktree");
    git(&worktree, &["config", "core.worktree", &away]);
    let relative = house.repository("relative");
    git(&relative, &["config", "core.worktree", "../../../outside"]);
    let root = house.repository("root");
    git(&root, &["config", "core.worktree", "/"]);
    for (name, text) in [
        ("file", format!("gitdir: {away}/.git\n")),
        ("dotted", "gitdir: ../../outside/.git\n".into()),
    ] {
        std::fs::create_dir(offered.join(name)).unwrap();
        std::fs::write(offered.join(name).join(".git"), text).unwrap();
    }
    std::fs::create_dir(offered.join("linked")).unwrap();
    symlink(outside.join(".git"), offered.join("linked/.git")).unwrap();
    let common = house.repository("common");
    std::fs::write(common.join(".git/commondir"), format!("{away}/.git\n")).unwrap();
    symlink(&outside, offered.join("folder")).unwrap();
    for name in [
        "worktree",
        "relative",
        "root",
        "file",
        "dotted",
        "linked",
        "common",
        "folder",
        "..",
        "../outside",
    ] {
        let told = house.diff(name).await;
        assert!(told.is_error, "{name}: {told:?}");
        house.intact(&told, name);
    }
    // One that the repository itself made is known there.
    let made = offered.join("made").display().to_string();
    git(&outside, &["worktree", "add", "-q", "--orphan", "-b", "new", &made]);
    std::fs::write(offered.join("made/fresh"), "fresh\n").unwrap();
    let told = house.diff("made").await;
    assert!(!told.is_error, "{told:?}");
    assert!(house.printed().contains("+fresh"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_not_fetched() {
    let mut house = House::new().await;
    let path = house.repository("partial");
    let blob = git(&path, &["rev-parse", "HEAD:file"]);
    let (two, rest) = blob.trim().split_at(2);
    std::fs::remove_file(path.join(".git/objects").join(two).join(rest)).unwrap();
    let run = format!("ext::sh -c touch% {}", house.at("ran").display());
    for (key, value) in [
        ("remote.o.url", run.as_str()),
        ("remote.o.promisor", "true"),
        ("extensions.partialClone", "o"),
        ("protocol.ext.allow", "always"),
    ] {
        git(&path, &["config", key, value]);
    }
    let told = house.diff("partial").await;
    house.intact(&told, "a promisor");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_files_are_names() {
    let mut house = House::new().await;
    let path = house.repository("names");
    let ran = house.at("ran").display().to_string();
    let names = [
        "--output=owned".to_owned(),
        "-rf".into(),
        "--upload-pack=touch owned".into(),
        "a\nb".into(),
        "+++ b\ntouch owned".into(),
        ":(top)x".into(),
        ":".into(),
        "$(touch owned)".into(),
        "`touch owned`".into(),
        "; touch owned".into(),
        "| touch owned".into(),
        "\u{202e}gpj.exe".into(),
        "*".into(),
        format!("$(touch {})", ran.replace('/', "\u{2215}")),
        "é\u{1}\u{7f}".into(),
    ];
    for name in &names {
        std::fs::write(path.join(name), "named\n").unwrap();
    }
    let told = house.diff("names").await;
    assert!(!told.is_error, "{told:?}");
    house.intact(&told, "names");
    for folder in [path.as_path(), &house.at("offered")] {
        assert!(!folder.join("owned").exists());
    }
    let printed = house.printed();
    assert!(printed.matches("new file mode").count() >= names.len(), "{printed}");
    for name in names.iter().filter(|name| !name.contains('\n')) {
        assert!(printed.contains(name.as_str()), "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_argument_is_an_option() {
    let mut house = House::new().await;
    house.repository("r");
    let ran = house.at("ran").display().to_string();
    let options = [
        format!("--upload-pack=touch {ran}"),
        format!("--output={ran}"),
        format!("-c core.pager=touch {ran}"),
        "--ext-diff".into(),
        "-p".into(),
        "--".into(),
        "HEAD\n--output=x".into(),
        "HEAD..".into(),
        "HEAD:file".into(),
        "@{-1}".into(),
        format!("$(touch {ran})"),
        format!("`touch {ran}`"),
        String::new(),
    ];
    for option in &options {
        for member in ["base", "head"] {
            let mut input = json!({"path": "r", "staged": false, "untracked": true, "context": 3});
            input[member] = json!(option);
            let told = house.run("workspace.diff", &input).await;
            assert!(told.is_error, "{member} {option:?}: {told:?}");
            house.intact(&told, option);
        }
        let branch = json!({"type": "branch", "name": option});
        let commit = json!({"type": "commit", "sha": option});
        for checkout in [branch, commit] {
            let input = json!({"url": "http://127.0.0.1:9/r", "path": "cloned", "checkout": checkout});
            let told = house.run("workspace.clone", &input).await;
            assert!(told.is_error, "{option:?}: {told:?}");
            house.intact(&told, option);
        }
    }
    let away = house.at("outside").display().to_string();
    for url in [
        format!("ext::sh -c touch% {ran}"),
        format!("--upload-pack=touch {ran}"),
        format!("-utouch {ran}"),
        format!("ssh://-oProxyCommand=touch${{IFS}}{ran}/x"),
        format!("git@-oProxyCommand=touch {ran}:x"),
        format!("file://{away}"),
        away.clone(),
        "../outside".into(),
        "http://me:secret@127.0.0.1:9/r".into(),
        "http://--upload-pack=x/r".into(),
        "fd::0".into(),
        String::new(),
    ] {
        let told = house
            .run("workspace.clone", &json!({"url": url, "path": "cloned"}))
            .await;
        assert!(told.is_error, "{url}: {told:?}");
        house.intact(&told, &url);
    }
    for path in [
        away.as_str(),
        "../outside/new",
        "..",
        ".",
        "",
        "/",
        "a/../../outside/new",
    ] {
        let told = house
            .run("workspace.clone", &json!({"url": "http://127.0.0.1:9/r", "path": path}))
            .await;
        assert!(told.is_error, "{path}: {told:?}");
        house.intact(&told, path);
    }
    assert!(!house.at("offered/cloned").exists());
}
