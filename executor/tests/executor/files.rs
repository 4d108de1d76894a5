//! The file tools, and what lies outside the workspace.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use base64::Engine;
use perennial_executor::Sandbox;
use perennial_schema::content::{Block, Source};
use perennial_schema::tool::Outcome;
use serde_json::json;

use crate::rig::*;

/// A rig whose workspace exists.
async fn rig() -> Rig {
    let rig = Rig::new(Sandbox::Off).await;
    std::fs::create_dir_all(rig.folder()).unwrap();
    rig
}

fn fails(outcome: &Outcome, expect: &str, what: &str) {
    assert!(
        outcome.is_error && text(outcome).contains(expect),
        "{what}: expected {expect:?} in {outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out() {
    let mut rig = rig().await;
    let folder = rig.folder();
    let outside = rig.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "SECRET").unwrap();
    std::fs::create_dir_all(folder.join("in/deep")).unwrap();
    std::fs::write(folder.join("in/file"), "inside\n").unwrap();
    for (link, target) in [
        ("abs", "/etc/passwd"),
        ("up", "../../../outside/secret"),
        ("updir", "../../../outside"),
        ("in/deep/up", "../../../../../outside/secret"),
        ("chain", "up"),
        ("root", "/"),
        ("proc", "/proc/self/root/etc/passwd"),
        ("procfd", "/proc/self/cwd"),
        ("good", "in/file"),
        ("in/deep/good", "../file"),
    ] {
        symlink(target, folder.join(link)).unwrap();
    }
    let secret = outside.join("secret").display().to_string();
    let sly = format!("{}/../../../outside/secret", folder.display());
    let bad = [
        secret.as_str(),
        sly.as_str(),
        "/etc/passwd",
        "..",
        "../",
        "../../../outside/secret",
        "in/../../../../outside/secret",
        "abs",
        "up",
        "updir/secret",
        "in/deep/up",
        "chain",
        "root/etc/passwd",
        "proc",
        "procfd/Cargo.toml",
        "/proc/self/environ",
        "./../x",
    ];
    for path in bad {
        fails(
            &rig.run("read", json!({"file_path": path})).await,
            "outside the workspace folder",
            path,
        );
        fails(
            &rig.run("write", json!({"file_path": path, "content": "OWNED"})).await,
            "outside the workspace folder",
            path,
        );
        fails(
            &rig.run("edit", json!({"file_path": path, "old_string": "S", "new_string": "O"}))
                .await,
            "outside the workspace folder",
            path,
        );
        fails(
            &rig.run("glob", json!({"pattern": "**", "path": path})).await,
            "outside the workspace folder",
            path,
        );
        fails(
            &rig.run("grep", json!({"pattern": ".", "path": path})).await,
            "outside the workspace folder",
            path,
        );
    }
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "SECRET");
    let absolute = folder.join("in/file").display().to_string();
    for path in [
        "in/file",
        "./in/file",
        "in/deep/../file",
        "good",
        "in/deep/good",
        &absolute,
        &format!("{}/in/deep/good", folder.display()),
    ] {
        let outcome = rig.run("read", json!({"file_path": path})).await;
        assert_eq!((text(&outcome), outcome.is_error), ("inside\n", false), "{path}");
    }
    // A name is not a prefix: the sibling begins like the folder.
    let sibling = format!("{}x/file", folder.display());
    fails(
        &rig.run("read", json!({"file_path": sibling})).await,
        "outside the workspace folder",
        &sibling,
    );
    for (path, expect) in [
        ("", "empty"),
        ("a\u{0}b", "NUL"),
        ("missing", "no such file"),
        ("in/file/x", "not a directory"),
        ("in", "is a directory"),
        (".", "is a directory"),
    ] {
        fails(&rig.run("read", json!({"file_path": path})).await, expect, path);
    }
    let long = "n".repeat(5000);
    assert!(rig.run("read", json!({"file_path": long})).await.is_error);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_neither_waited_for_nor_opened() {
    let mut rig = rig().await;
    let folder = rig.folder();
    assert!(
        Command::new("mkfifo")
            .arg(folder.join("fifo"))
            .arg(folder.join(".gitignore"))
            .status()
            .unwrap()
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let mut names = vec!["fifo", "socket"];
    if Command::new("mknod")
        .arg(folder.join("device"))
        .args(["c", "1", "5"])
        .status()
        .unwrap()
        .success()
    {
        names.push("device");
    } else {
        println!("NOT RUN: devices cannot be made here");
    }
    for name in names {
        fails(
            &rig.run("read", json!({"file_path": name})).await,
            "not a regular file",
            name,
        );
        fails(
            &rig.run("write", json!({"file_path": name, "content": "x"})).await,
            "not a regular file",
            name,
        );
        fails(
            &rig.run("edit", json!({"file_path": name, "old_string": "a", "new_string": "b"}))
                .await,
            "not a regular file",
            name,
        );
        fails(
            &rig.run("grep", json!({"pattern": ".", "path": name})).await,
            "not a regular file",
            name,
        );
    }
    std::fs::write(folder.join("real"), "text\n").unwrap();
    let found = rig.run("grep", json!({"pattern": "text"})).await;
    assert_eq!(text(&found), "real:1:text\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_symlink_never_leads_out() {
    let mut rig = rig().await;
    let (folder, outside) = (rig.folder(), rig.dir.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "SECRET").unwrap();
    std::fs::create_dir_all(folder.join("real")).unwrap();
    std::fs::write(folder.join("real/file"), "fine").unwrap();
    symlink("real", folder.join("inward")).unwrap();
    symlink(&outside, folder.join("outward")).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (swapping, at) = (stop.clone(), folder.clone());
    let swapper = std::thread::spawn(move || {
        let mut swaps = 0_u64;
        while !swapping.load(std::sync::atomic::Ordering::Relaxed) {
            for target in ["inward", "outward"] {
                let _ = std::fs::remove_file(at.join("new"));
                let _ = std::fs::hard_link(at.join(target), at.join("new"));
                let _ = std::fs::rename(at.join("new"), at.join("swap"));
                swaps += 1;
            }
        }
        swaps
    });
    for round in 0..300 {
        let read = rig.run("read", json!({"file_path": "swap/file"})).await;
        assert!(!text(&read).contains("SECRET"), "{read:?}");
        rig.run(
            "write",
            json!({"file_path": format!("swap/new{}", round % 3), "content": "x"}),
        )
        .await;
        let found = rig.run("grep", json!({"pattern": "SECRET"})).await;
        assert!(!text(&found).contains(":1:"), "{found:?}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    println!("{} swaps", swapper.join().unwrap());
    let names: Vec<_> = std::fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["file"], "nothing was written outside");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_read_by_lines_and_bounded() {
    let mut rig = rig().await;
    let lines: String = (1..=100_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(rig.folder().join("big"), &lines).unwrap();
    std::fs::write(rig.folder().join("bytes"), b"ok\xff\n").unwrap();
    std::fs::write(rig.folder().join("empty"), "").unwrap();
    let part = rig
        .run("read", json!({"file_path": "big", "view_range": [99_999, -1]}))
        .await;
    assert_eq!(text(&part), "line 99999\nline 100000\n");
    let part = rig.run("read", json!({"file_path": "big", "view_range": [2, 3]})).await;
    assert_eq!(text(&part), "line 2\nline 3\n");
    let whole = rig.run("read", json!({"file_path": "big"})).await;
    assert!(!whole.is_error && text(&whole).len() <= perennial_schema::limits::TOOL_OUTPUT_BYTES);
    assert!(
        text(&whole).contains("read on with view_range ["),
        "{}",
        &text(&whole)[text(&whole).len() - 100..]
    );
    fails(
        &rig.run("read", json!({"file_path": "big", "view_range": [100_001, -1]}))
            .await,
        "has only 100000 lines",
        "past the end",
    );
    fails(
        &rig.run("read", json!({"file_path": "big", "view_range": [0, 1]})).await,
        "lines count from 1",
        "zero",
    );
    assert_eq!(
        text(&rig.run("read", json!({"file_path": "bytes"})).await),
        "ok\u{FFFD}\n"
    );
    assert_eq!(text(&rig.run("read", json!({"file_path": "empty"})).await), "[empty]");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_blocks_and_other_binaries_are_refused() {
    let mut rig = rig().await;
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 5000]].concat();
    for (name, start, media) in [
        ("a.png", png.as_slice(), "image/png"),
        ("misnamed.txt", b"GIF89a\0\0\0".as_slice(), "image/gif"),
        ("a.jpg", b"\xff\xd8\xff\xe0\0".as_slice(), "image/jpeg"),
        ("a.webp", b"RIFF\x01\0\0\0WEBPVP8 ".as_slice(), "image/webp"),
    ] {
        std::fs::write(rig.folder().join(name), start).unwrap();
        let outcome = rig.run("read", json!({"file_path": name})).await;
        let [
            Block::Image {
                source: Source::Base64 { media_type, data },
            },
        ] = outcome.content.as_slice()
        else {
            panic!("{outcome:?}")
        };
        assert_eq!(media_type, media);
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(data).unwrap(), start);
    }
    std::fs::write(rig.folder().join("program"), b"\x7fELF\0\0\0").unwrap();
    fails(
        &rig.run("read", json!({"file_path": "program"})).await,
        "a binary file; use bash",
        "binary",
    );
    let mut huge = png;
    huge.resize(5_000_001, 0);
    std::fs::write(rig.folder().join("huge.png"), huge).unwrap();
    fails(
        &rig.run("read", json!({"file_path": "huge.png"})).await,
        "more than 5000000 bytes",
        "huge",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_replaces_whole_files_and_keeps_their_mode() {
    let mut rig = rig().await;
    let folder = rig.folder();
    let outcome = rig
        .run("write", json!({"file_path": "a/b/c.txt", "content": "héllo"}))
        .await;
    assert_eq!(
        (text(&outcome), outcome.is_error),
        ("wrote 6 bytes to a/b/c.txt", false)
    );
    let path = folder.join("a/b/c.txt");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "héllo");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
    let (old, reader) = (path.metadata().unwrap().ino(), std::fs::File::open(&path).unwrap());
    symlink("a/b/c.txt", folder.join("link")).unwrap();
    rig.run("write", json!({"file_path": "link", "content": "two"})).await;
    assert!(
        folder.join("link").symlink_metadata().unwrap().is_symlink(),
        "written through, not over"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o750);
    assert_ne!(path.metadata().unwrap().ino(), old, "replaced, not overwritten");
    assert_eq!(
        std::io::read_to_string(reader).unwrap(),
        "héllo",
        "who had it open sees the old file whole"
    );
    symlink("nowhere", folder.join("dangling")).unwrap();
    fails(
        &rig.run("write", json!({"file_path": "dangling", "content": ""})).await,
        "symlink that leads nowhere",
        "dangling",
    );
    fails(
        &rig.run("write", json!({"file_path": "a", "content": ""})).await,
        "is a directory",
        "folder",
    );
    fails(
        &rig.run("write", json!({"file_path": "a/b/c.txt/d", "content": ""}))
            .await,
        "a/b/c.txt/d",
        "below a file",
    );
    let left: Vec<_> = std::fs::read_dir(folder.join("a/b"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["c.txt"], "no temporary file stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn editing_is_exact_and_journalled_once() {
    let mut rig = rig().await;
    let path = rig.folder().join("f");
    std::fs::write(&path, "one two one").unwrap();
    let edit = call(
        "edit",
        &json!({"file_path": "f", "old_string": "two", "new_string": "two two"}),
    );
    let first = rig.link.run(&edit).await;
    assert_eq!(text(&first), "replaced once in f");
    assert_eq!(
        rig.link.run(&edit).await,
        first,
        "sent again, it is answered and not done again"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one two two one");
    fails(
        &rig.run(
            "edit",
            json!({"file_path": "f", "old_string": "one", "new_string": "1"}),
        )
        .await,
        "occurs 2 times",
        "twice",
    );
    let all = rig
        .run(
            "edit",
            json!({"file_path": "f", "old_string": "one", "new_string": "1", "replace_all": true}),
        )
        .await;
    assert_eq!(text(&all), "replaced 2 times in f");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "1 two two 1");
    std::fs::write(&path, b"\xff").unwrap();
    fails(
        &rig.run("edit", json!({"file_path": "f", "old_string": "a", "new_string": "b"}))
            .await,
        "not UTF-8",
        "bytes",
    );
    fails(
        &rig.run("edit", json!({"file_path": "g", "old_string": "a", "new_string": "b"}))
            .await,
        "no such file",
        "missing",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn glob_lists_the_newest_first_and_minds_ignore_files() {
    let mut rig = rig().await;
    rig.ok("mkdir -p src/deep target/x .git .hidden; touch -d 2020-01-01 src/old.rs; touch -d 2021-01-01 src/deep/mid.rs; touch -d 2022-01-01 new.rs; touch target/x/t.rs .git/g.rs .hidden/h.rs src/deep/gen.rs; printf 'target/\\n' > .gitignore; printf 'gen.*\\n' > src/.gitignore; touch -d 2019-01-01 .hidden/h.rs; ln -s / rootlink").await;
    let list = async |rig: &mut Rig, input| text(&rig.run("glob", input).await).to_owned();
    assert_eq!(
        list(&mut rig, json!({"pattern": "**/*.rs"})).await,
        "new.rs\nsrc/deep/mid.rs\nsrc/old.rs\n.hidden/h.rs\n"
    );
    assert_eq!(list(&mut rig, json!({"pattern": "*.rs"})).await, "new.rs\n");
    assert_eq!(
        list(&mut rig, json!({"pattern": "**/*.rs", "path": "src"})).await,
        "src/deep/mid.rs\nsrc/old.rs\n"
    );
    assert_eq!(
        list(&mut rig, json!({"pattern": "src/{old,deep/mid}.rs"})).await,
        "src/deep/mid.rs\nsrc/old.rs\n"
    );
    let absolute = format!("{}/*.rs", rig.folder().display());
    assert_eq!(list(&mut rig, json!({"pattern": absolute})).await, "new.rs\n");
    assert_eq!(
        list(&mut rig, json!({"pattern": "rootlink/**"})).await,
        "[no file matches]\n"
    );
    fails(
        &rig.run("glob", json!({"pattern": "*", "path": "new.rs"})).await,
        "is not a directory",
        "file",
    );
    rig.ok("mkdir many; cd many; touch $(seq 1200); cd ..").await;
    let many = list(&mut rig, json!({"pattern": "many/*"})).await;
    assert_eq!(many.lines().count(), 1001);
    assert!(many.ends_with("[the newest 1000 of 1200 files]\n"), "{many}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grep_prints_path_line_and_text() {
    let mut rig = rig().await;
    rig.ok("mkdir -p a ignored; printf 'one\\ntwo needle\\n' > a/f; printf 'needle' > g; printf 'needle\\0' > binary; echo needle > ignored/i; echo ignored > .gitignore; printf 'needle \\377\\n' > latin; ln -s a/f link").await;
    let search = async |rig: &mut Rig, input| text(&rig.run("grep", input).await).to_owned();
    assert_eq!(
        search(&mut rig, json!({"pattern": "ne+dle"})).await,
        "a/f:2:two needle\ng:1:needle\nlatin:1:needle \u{FFFD}\n"
    );
    assert_eq!(
        search(&mut rig, json!({"pattern": "needle", "path": "a"})).await,
        "a/f:2:two needle\n"
    );
    assert_eq!(
        search(&mut rig, json!({"pattern": "^needle", "path": "g"})).await,
        "g:1:needle\n"
    );
    assert_eq!(search(&mut rig, json!({"pattern": "nothing"})).await, "[no match]\n");
    rig.ok("seq 5000 | sed 's/^/hay /' > hay; head -c 3000 /dev/zero | tr '\\0' w > wide")
        .await;
    let capped = search(&mut rig, json!({"pattern": "hay"})).await;
    assert_eq!(capped.lines().count(), 1001);
    assert!(capped.ends_with("hay:1000:hay 1000\n[there is more; narrow the search]\n"));
    let wide = search(&mut rig, json!({"pattern": "www"})).await;
    assert!(wide.len() < 600 && wide.ends_with("…\n"), "{wide}");
    fails(
        &rig.run("grep", json!({"pattern": "x", "path": "missing"})).await,
        "no such file",
        "missing",
    );
}
