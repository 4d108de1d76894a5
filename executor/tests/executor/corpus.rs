//! S17: names of an enemy, every file tool against every one of them. What is outside stays as it is and is not told, whatever a
//! path says, whatever is swapped meanwhile, and whichever folder was named to work in.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use perennial_executor::{Config, Executor, Sandbox};
use perennial_schema::frame::{Call, Workspace};
use perennial_schema::tool::Outcome;
use serde_json::{Value, json};

use crate::rig::*;

const SECRET: &str = "the-secret-of-the-outside";

/// Two offered folders, and one beside them that is not.
struct House {
    dir: tempfile::TempDir,
    link: Link,
    _executor: Arc<Executor>,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one/in/deep", "two", "outside"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("outside/file"), SECRET).unwrap();
        std::fs::write(dir.path().join("one/in/file"), "inside\n").unwrap();
        let config = Config {
            roots: vec![dir.path().join("one"), dir.path().join("two")],
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

    async fn run(&mut self, tool: &str, input: &Value, dir: &Path) -> Outcome {
        let path = dir.display().to_string();
        let call = Call {
            workspace: Workspace::Dir { path },
            ..call(tool, input)
        };
        self.link.run(&call).await
    }

    /// Nothing outside was changed, made or told.
    fn intact(&self, told: &Outcome, what: &str) {
        assert!(!format!("{told:?}").contains(SECRET), "{what}: {told:?}");
        let left: Vec<_> = std::fs::read_dir(self.at("outside"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["file"], "{what}");
        assert_eq!(
            std::fs::read_to_string(self.at("outside/file")).unwrap(),
            SECRET,
            "{what}"
        );
    }
}

/// Every file tool, with a path where it takes one.
fn tools(path: &str) -> [(&'static str, Value); 5] {
    [
        ("read", json!({"file_path": path})),
        ("write", json!({"file_path": path, "content": "OWNED"})),
        (
            "edit",
            json!({"file_path": path, "old_string": "secret", "new_string": "OWNED"}),
        ),
        ("glob", json!({"pattern": "**", "path": path})),
        ("grep", json!({"pattern": "secret", "path": path})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out() {
    let mut house = House::new().await;
    let (one, outside) = (house.at("one"), house.at("outside/file"));
    for (link, target) in [
        ("absolute", outside.as_path()),
        ("folder", &house.at("outside")),
        ("relative", Path::new("../outside/file")),
        ("in/deep/relative", Path::new("../../../outside/file")),
        ("chained", Path::new("in/deep/relative")),
        ("self", Path::new("self")),
        ("round", Path::new("about")),
        ("about", Path::new("round")),
        ("nowhere", Path::new("../outside/new")),
        ("root", Path::new("/")),
        ("proc", Path::new("/proc/self/root")),
        ("cwd", Path::new("/proc/self/cwd")),
        ("exe", Path::new("/proc/self/exe")),
        ("fd", Path::new("/proc/self/fd/0")),
        ("stdin", Path::new("/dev/stdin")),
        ("other", Path::new("../two")),
    ] {
        symlink(target, one.join(link)).unwrap();
    }
    let absolute = outside.display().to_string();
    let dotted = format!("{}/../outside/file", one.display());
    let through = format!("root{absolute}");
    let proc = format!("proc{absolute}");
    let deep = "in/deep/".repeat(2000);
    let climb = format!("{}outside/file", "../".repeat(3000));
    let long = "n".repeat(256);
    let names = [
        absolute.as_str(),
        dotted.as_str(),
        &through,
        &proc,
        &deep,
        &climb,
        &long,
        "..",
        "../outside/file",
        "in/../../outside/file",
        "in/deep/../../../outside/file",
        "./././../outside/file",
        "in//..//..//outside//file",
        "absolute",
        "absolute/",
        "folder/file",
        "folder/../outside/file",
        "relative",
        "in/deep/relative",
        "chained",
        "self",
        "round",
        "nowhere",
        "cwd/Cargo.toml",
        "exe",
        "fd",
        "stdin",
        "other/../outside/file",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
        "/dev/stdin",
        "//etc/passwd",
        "file:///etc/passwd",
        "~/.ssh/id_rsa",
        "..\\outside\\file",
        "%2e%2e/outside/file",
        "..%2foutside%2ffile",
        "\u{2024}\u{2024}/outside/file",
        "\u{ff0e}\u{ff0e}/outside/file",
        "..\u{2215}outside\u{2215}file",
        "..\u{200b}/outside/file",
        "\u{202e}elif/edistuo/..",
        "a\u{0}/../../outside/file",
        "\u{0}",
        "",
        " ",
        "\n",
    ];
    for name in names {
        for (tool, input) in tools(name) {
            let told = house.run(tool, &input, &one).await;
            house.intact(&told, &format!("{tool} {name:?}"));
        }
    }
    // The folders themselves, named to work in.
    for name in [
        "outside",
        "one/../outside",
        "one/folder",
        "one/root",
        "one/cwd",
        "one/self",
        "data",
        "",
        "one/in/file",
    ] {
        let dir = house.at(name);
        for (tool, input) in tools("file") {
            let told = house.run(tool, &input, &dir).await;
            assert!(told.is_error, "{tool} in {}: {told:?}", dir.display());
            house.intact(&told, &format!("{tool} in {}", dir.display()));
        }
    }
    for odd in ["relative", "", "one\u{0}"] {
        assert!(
            house
                .run("read", &json!({"file_path": "file"}), Path::new(odd))
                .await
                .is_error,
            "{odd:?}"
        );
    }
    // And from one that is offered into another one that is, only by being named.
    std::fs::write(house.at("two/file"), "second\n").unwrap();
    assert!(
        house
            .run("read", &json!({"file_path": "other/file"}), &one)
            .await
            .is_error
    );
    let two = house.at("two");
    let told = house.run("read", &json!({"file_path": "file"}), &two).await;
    assert_eq!((text(&told), told.is_error), ("second\n", false));
}

/// What has another name outside is a file of this folder: it is read, and replaced here alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_is_not_written_through() {
    let mut house = House::new().await;
    let one = house.at("one");
    std::fs::hard_link(house.at("outside/file"), one.join("hard")).unwrap();
    let edit = json!({"file_path": "hard", "old_string": "secret", "new_string": "OWNED"});
    for (tool, input) in [
        ("edit", edit),
        ("write", json!({"file_path": "hard", "content": "OWNED"})),
    ] {
        let told = house.run(tool, &input, &one).await;
        assert!(!told.is_error, "{told:?}");
        assert!(std::fs::read_to_string(one.join("hard")).unwrap().contains("OWNED"));
        house.intact(&told, tool);
    }
}

/// The folder that is worked in is swapped for one outside, at whatever moment: what was opened was inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_folder_never_leads_out() {
    let mut house = House::new().await;
    let one = house.at("one");
    std::fs::create_dir(one.join("real")).unwrap();
    std::fs::write(one.join("real/file"), "fine").unwrap();
    symlink(house.at("outside"), one.join("link")).unwrap();
    symlink("real", one.join("inward")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (swapping, at) = (stop.clone(), one.clone());
    let swapper = std::thread::spawn(move || {
        let mut swaps = 0_u64;
        while !swapping.load(Ordering::Relaxed) {
            for target in ["inward", "link"] {
                let _ = std::fs::remove_file(at.join("new"));
                let _ = std::fs::hard_link(at.join(target), at.join("new"));
                let _ = std::fs::rename(at.join("new"), at.join("swap"));
                swaps += 1;
            }
        }
        swaps
    });
    let swap = one.join("swap");
    let (mut inside, mut refused) = (0, 0);
    for round in 0..400 {
        for (tool, input) in tools("file") {
            let input = match tool {
                "write" => json!({"file_path": format!("made{}", round % 3), "content": "x"}),
                _ => input,
            };
            let told = house.run(tool, &input, &swap).await;
            house.intact(&told, tool);
            if told.is_error {
                refused += 1;
            } else {
                inside += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let swaps = swapper.join().unwrap();
    println!("{swaps} swaps, {inside} calls inside, {refused} refused");
    assert!(
        swaps > 0 && inside > 0 && refused > 0,
        "the race did not happen: {swaps} {inside} {refused}"
    );
}
