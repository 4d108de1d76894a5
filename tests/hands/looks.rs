//! A machine's files looked for, its repositories and their changes, and many files stored at once: within its folder, on its owner's
//! terms, whatever a path, a pattern or a name says (S17).

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use perennial_proof::rig::client::Answer;
use perennial_tests::git::git;
use perennial_tests::server::binary;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::rig::{Device, Stand};

const SECRET: &str = "the-secret-of-the-outside";

async fn get(stand: &Stand, device: &Device, what: &str, query: &[(&str, &str)]) -> Result<Answer> {
    let path = format!("/v1/executors/{}/{what}", device.id);
    stand
        .client()
        .send(stand.client().request("GET", &path).query(query))
        .await
}

/// A form with these files.
fn form(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, bytes) in files {
        form.extend(
            format!("--x-y\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n").bytes(),
        );
        form.extend(*bytes);
        form.extend(b"\r\n");
    }
    form.extend(b"--x-y--\r\n");
    form
}

async fn put(stand: &Stand, device: &Device, query: &[(&str, &str)], form: Vec<u8>) -> Result<Answer> {
    let path = format!("/v1/executors/{}/uploads", device.id);
    let request = stand.client().request("PUT", &path).query(query);
    let request = request
        .header("content-type", "multipart/form-data; boundary=x-y")
        .body(form);
    stand.client().send(request).await
}

async fn cli(stand: &Stand, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary()?)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", stand.dir.path())
        .env("PERENNIAL_DATA_DIR", &stand.up.data_dir)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn paths(found: &Value, list: &str) -> Vec<String> {
    let found = found[list].as_array().into_iter().flatten();
    found.filter_map(|one| Some(one["path"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn files_are_found_by_name_and_by_text() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    for (name, text) in [
        ("a.rs", "fn one() {}\n// TODO: two\n"),
        ("in/b.rs", "TODO three\n"),
        ("in/c.txt", "TODO four\n"),
        ("left/out.rs", "TODO never\n"),
        ("binary.rs", "TODO\0never\n"),
        (".gitignore", "left\n"),
        ("--text=x.rs", "TODO five\n"),
    ] {
        let path = device.work.join(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    let named = get(&stand, &device, "search", &[("name", "*.rs")]).await?.ok()?;
    assert_eq!(paths(&named, "files"), ["--text=x.rs", "a.rs", "binary.rs", "in/b.rs"]);
    let nested = get(&stand, &device, "search", &[("name", "in/*")]).await?.ok()?;
    assert_eq!(paths(&nested, "files"), ["in/b.rs", "in/c.txt"]);
    let both = get(&stand, &device, "search", &[("name", "*.rs"), ("text", "TODO.? t")])
        .await?
        .ok()?;
    assert_eq!(
        both["files"],
        json!([{"path": "a.rs", "bytes": 25, "lines": [{"number": 2, "text": "// TODO: two"}]},
               {"path": "in/b.rs", "bytes": 11, "lines": [{"number": 1, "text": "TODO three"}]}])
    );
    let below = get(&stand, &device, "search", &[("text", "TODO"), ("path", "in")])
        .await?
        .ok()?;
    assert_eq!(paths(&below, "files"), ["b.rs", "c.txt"]);
    assert_eq!(below["truncated"], false);
    let told = cli(
        &stand,
        &["executor", "search", "laptop", "--text", "TODO t", "--name", "*.rs"],
    )
    .await?;
    assert_eq!(told, "in/b.rs:1:TODO three\n");

    for n in 0..1_100 {
        std::fs::write(device.work.join(format!("in/{n}.many")), "x")?;
    }
    let many = get(&stand, &device, "search", &[("name", "*.many")]).await?.ok()?;
    assert_eq!((paths(&many, "files").len(), &many["truncated"]), (1_000, &json!(true)));
    let bomb = format!("({}){{1000}}{{1000}}", "a|b");
    for (query, status) in [
        (vec![], 400),
        (vec![("text", "(")], 400),
        (vec![("name", "[")], 400),
        (vec![("text", bomb.as_str())], 400),
        (vec![("name", "*"), ("path", "nowhere")], 404),
        (vec![("name", "*"), ("path", "a.rs")], 404),
    ] {
        let answer = get(&stand, &device, "search", &query).await?;
        ensure!(answer.status == status, "{query:?}: {} {}", answer.status, answer.body);
    }
    Ok(())
}

#[tokio::test]
async fn repositories_are_listed_and_their_changes_told() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let one = device.work.join("one");
    let two = device.work.join("in/deep/two");
    for path in [&one, &two] {
        std::fs::create_dir_all(path)?;
        git(path, &["init", "-q", "-b", "trunk"])?;
        std::fs::write(path.join("file"), "one\n")?;
        git(path, &["add", "."])?;
        git(path, &["commit", "-qm", "one"])?;
    }
    let commit = git(&one, &["rev-parse", "HEAD"])?.trim().to_owned();
    git(&two, &["pack-refs", "--all"])?;
    let second = git(&two, &["rev-parse", "HEAD"])?.trim().to_owned();
    let listed = get(&stand, &device, "repositories", &[]).await?.ok()?;
    assert_eq!(
        listed["repositories"],
        json!([{"path": "in/deep/two", "branch": "trunk", "commit": second}, {"path": "one", "branch": "trunk", "commit": commit}])
    );
    git(&one, &["checkout", "-q", "--detach"])?;
    let listed = get(&stand, &device, "repositories", &[("path", "one")]).await?.ok()?;
    assert_eq!(listed["repositories"], json!([{"path": ".", "commit": commit}]));
    ensure!(
        cli(&stand, &["executor", "repositories", "laptop"])
            .await?
            .contains(&second)
    );

    std::fs::write(one.join("file"), "two\n")?;
    std::fs::write(one.join("new"), "new\n")?;
    let diff = get(&stand, &device, "diff", &[("path", "one")]).await?.ok()?;
    assert_eq!(paths(&diff, "files"), ["file", "new"]);
    assert_eq!(
        (&diff["type"], &diff["base"]),
        (&json!("executor_diff"), &json!(commit))
    );
    let tracked = get(&stand, &device, "diff", &[("path", "one"), ("untracked", "false")])
        .await?
        .ok()?;
    assert_eq!(paths(&tracked, "files"), ["file"]);
    let patch = cli(&stand, &["executor", "diff", "laptop", "--path", "one"]).await?;
    ensure!(patch.contains("+two") && patch.contains("+new"), "{patch}");
    // Of the same length and written in the second of the commit: of that git knows by the time of its index alone.
    git(&two, &["config", "core.trustctime", "false"])?;
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let dated = |path: &Path| File::options().write(true).open(path)?.set_modified(then);
    dated(&two.join("file"))?;
    git(&two, &["update-index", "--refresh"])?;
    dated(&two.join(".git/index"))?;
    std::fs::write(two.join("file"), "two\n")?;
    dated(&two.join("file"))?;
    let diff = get(&stand, &device, "diff", &[("path", "in/deep/two")]).await?.ok()?;
    assert_eq!(paths(&diff, "files"), ["file"]);
    let none = get(&stand, &device, "diff", &[("path", "in")]).await?;
    ensure!(
        none.status == 409 && none.body.to_string().contains("not in a git repository"),
        "{:?}",
        none.body
    );
    Ok(())
}

#[tokio::test]
async fn many_files_are_stored_at_once_and_each_whole_or_not_at_all() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let big = vec![b'x'; 3_000_000];
    let files: [(&str, &[u8]); 3] = [("a.bin", &big), ("deep/b c.txt", b"--x-y\r\n"), ("-rf", b"")];
    let stored = put(&stand, &device, &[("path", "to")], form(&files)).await?.ok()?;
    assert_eq!(stored["files"][0], json!({"path": "to/a.bin", "bytes": 3_000_000}));
    assert_eq!(paths(&stored, "files").len(), 3);
    ensure!(std::fs::read(device.work.join("to/a.bin"))? == big);
    assert_eq!(std::fs::read(device.work.join("to/-rf"))?, b"");

    let here = stand.dir.path().join("here");
    std::fs::create_dir(&here)?;
    for name in ["x", "y"] {
        std::fs::write(here.join(name), name)?;
    }
    let (x, y) = (
        here.join("x").display().to_string(),
        here.join("y").display().to_string(),
    );
    let told = cli(&stand, &["executor", "upload", "laptop", &x, &y, "--to", "cli"]).await?;
    assert_eq!(told, "cli/x  1 bytes\ncli/y  1 bytes\n");
    assert_eq!(std::fs::read_to_string(device.work.join("cli/y"))?, "y");

    let mut large = form(&[("too-large", &vec![0; 50_000_001])]);
    let answer = put(&stand, &device, &[], std::mem::take(&mut large)).await?;
    ensure!(
        answer.status == 413 && !device.work.join("too-large").exists(),
        "{}",
        answer.status
    );
    let names: Vec<String> = (0..501).map(|n| format!("many/{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    let answer = put(&stand, &device, &[], form(&many)).await?;
    ensure!(answer.status == 413, "{}", answer.status);
    assert_eq!(std::fs::read_dir(device.work.join("many"))?.count(), 500);
    let whole = form(&[("broken", b"abc")]);
    let answer = put(&stand, &device, &[], whole[..whole.len() - 12].to_vec()).await?;
    ensure!(
        answer.status == 400 && !device.work.join("broken").exists(),
        "{}",
        answer.status
    );
    Ok(())
}

/// Everything beneath a folder, with links as such.
fn tree(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.symlink_metadata()?.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn no_path_and_no_name_leads_out() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let outside = stand.dir.path().join("outside");
    std::fs::create_dir(&outside)?;
    git(&outside, &["init", "-q", "-b", SECRET])?;
    std::fs::write(outside.join(SECRET), format!("{SECRET}\n"))?;
    symlink(&outside, device.work.join("folder"))?;
    symlink("../outside", device.work.join("relative"))?;
    symlink("/", device.work.join("root"))?;
    symlink("/proc/self/root", device.work.join("proc"))?;
    let before = tree(&outside)?;
    let absolute = outside.display().to_string();
    let dotted = format!("{}/../../outside", device.work.display());
    let through = format!("root{absolute}");
    let paths = [
        absolute.as_str(),
        &dotted,
        &through,
        "folder",
        "relative",
        "folder/",
        "proc",
        "..",
        "../..",
        "../../outside",
        "a/../../..",
        "/",
        "/etc",
        "/proc/self/root",
        "~",
        "%2e%2e",
        "..%2f..",
        "a\nb",
        "--output=x",
        "-x",
        "\u{ff0e}\u{ff0e}/outside",
    ];
    for path in paths {
        for (what, query) in [
            ("search", vec![("path", path), ("text", "secret")]),
            ("search", vec![("path", path), ("name", "**")]),
            ("repositories", vec![("path", path)]),
            ("diff", vec![("path", path)]),
            ("diff", vec![("dir", path)]),
        ] {
            let answer = get(&stand, &device, what, &query).await?;
            ensure!(
                (400..500).contains(&answer.status),
                "{what} {path}: {} {}",
                answer.status,
                answer.body
            );
            ensure!(
                !answer.body.to_string().contains(SECRET),
                "{what} {path}: {}",
                answer.body
            );
        }
        let answer = put(&stand, &device, &[("path", path)], form(&[("owned", b"x")])).await?;
        // What only looks like a way out is the name of a folder.
        let named = device.work.join(path).join("owned");
        ensure!(answer.status != 200 || named.exists(), "upload {path}: {}", answer.body);
    }
    for name in [
        "../owned",
        "/owned",
        "a/../../owned",
        "folder/owned",
        "relative/owned",
        "root/owned",
        "..",
        ".",
        "",
        "a/",
        "a//b",
        "..\\owned",
        ".git/hooks/post-checkout",
        "a/.git/config",
        "a\u{1}b",
    ] {
        let answer = put(&stand, &device, &[], form(&[(name, b"x")])).await?;
        ensure!(
            (400..500).contains(&answer.status),
            "{name}: {} {}",
            answer.status,
            answer.body
        );
    }
    // From the folder itself, where the links are only names.
    let found = get(&stand, &device, "search", &[("text", "secret")]).await?.ok()?;
    ensure!(!found.to_string().contains(SECRET), "{found}");
    let found = get(&stand, &device, "repositories", &[]).await?.ok()?;
    ensure!(!found.to_string().contains(SECRET), "{found}");
    assert_eq!(tree(&outside)?, before);
    ensure!(!stand.dir.path().join("owned").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_swapped_meanwhile_never_leads_out() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let outside = stand.dir.path().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("file"), SECRET)?;
    git(&outside, &["init", "-q", "-b", SECRET])?;
    std::fs::create_dir(device.work.join("real"))?;
    std::fs::write(device.work.join("real/file"), "inside")?;
    symlink(&outside, device.work.join("out"))?;
    symlink("real", device.work.join("in"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let (swapping, work) = (stop.clone(), device.work.clone());
    let swapper = std::thread::spawn(move || {
        let mut swaps = 0_u64;
        while !swapping.load(Ordering::Relaxed) {
            for target in ["in", "out"] {
                let _ = std::fs::hard_link(work.join(target), work.join("new"));
                let _ = std::fs::rename(work.join("new"), work.join("swap"));
                let _ = std::fs::remove_file(work.join("new"));
                swaps += 1;
            }
        }
        swaps
    });
    let (mut inside, mut refused) = (0, 0);
    for _ in 0..100 {
        for (what, query) in [
            ("search", vec![("path", "swap"), ("text", ".")]),
            ("repositories", vec![("path", "swap")]),
        ] {
            let answer = get(&stand, &device, what, &query).await?;
            ensure!(!answer.body.to_string().contains(SECRET), "{what}: {}", answer.body);
            if answer.status == 200 {
                inside += 1;
            } else {
                refused += 1;
            }
        }
        let answer = put(&stand, &device, &[("path", "swap")], form(&[("owned", b"x")])).await?;
        if answer.status == 200 {
            inside += 1;
        } else {
            refused += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let swaps = swapper.join().map_err(|_| anyhow::anyhow!("the swapper died"))?;
    println!("{swaps} swaps, {inside} inside, {refused} refused");
    ensure!(
        swaps > 0 && inside > 0 && refused > 0,
        "the race did not happen: {swaps} {inside} {refused}"
    );
    ensure!(!outside.join("owned").exists());
    Ok(())
}
