//! What contained tools can and cannot reach.

use perennial_executor::{Executor, Sandbox};
use serde_json::json;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn inside_only_the_workspace_is_there() {
    let mut rig = Rig::new(Sandbox::Auto).await;
    if let Some(reason) = rig.executor.uncontained_reason() {
        return println!("NOT RUN: {reason}");
    }
    let data = rig.data().display().to_string();
    std::fs::write(rig.data().join("key"), "SECRET").unwrap();
    std::fs::write(rig.data().join("perennial.db"), "SECRET").unwrap();
    std::fs::write(rig.dir.path().join("beside"), "SECRET").unwrap();
    for path in [
        "key",
        "perennial.db",
        "executor/journal",
        "executor/executor_id",
        "../beside",
    ] {
        let output = rig.fails(&format!("cat {data}/{path}; ls {data}/{path}")).await;
        assert!(
            output.contains("No such file") && !output.contains("SECRET"),
            "{path}: {output}"
        );
    }
    assert_eq!(
        rig.ok(&format!("ls {data} {data}/workspaces | grep sesn_")).await,
        format!("{}\n", session(1))
    );
    // What it may write outside goes nowhere.
    rig.ok("echo x > /tmp/escape; echo x > /dev/shm/escape").await;
    assert!(!std::path::Path::new("/tmp/escape").exists() && !std::path::Path::new("/dev/shm/escape").exists());
    for command in [
        "echo x > /etc/escape",
        "echo x > /usr/escape",
        "echo x > /escape",
        "mkdir /opt/escape",
    ] {
        assert!(rig.fails(command).await.contains("Read-only file system"), "{command}");
    }
    let home = std::env::home_dir().filter(|home| home.is_dir() && home.parent().is_some());
    if let Some(home) = home {
        assert_eq!(
            rig.ok(&format!(
                "ls -A {} | grep -v '^\\.\\?perennial' | wc -l",
                home.display()
            ))
            .await,
            "0\n"
        );
    }
    assert_eq!(rig.ok("ls -A /run /tmp | grep -c sock || true").await, "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_there_are_no_powers_and_no_other_processes() {
    let mut rig = Rig::new(Sandbox::Auto).await;
    if let Some(reason) = rig.executor.uncontained_reason() {
        return println!("NOT RUN: {reason}");
    }
    let status = rig
        .ok("grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status")
        .await;
    let zero = status
        .lines()
        .filter(|line| line.starts_with("CapEff") || line.starts_with("CapPrm"));
    assert!(
        zero.clone().count() == 2 && zero.clone().all(|line| line.ends_with("0000000000000000")),
        "{status}"
    );
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let own = std::process::id();
    assert!(
        rig.fails(&format!("tr '\\0' '\\n' < /proc/{own}/environ"))
            .await
            .contains("No such file")
    );
    let seen: u32 = rig.ok("ls /proc | grep -c '^[0-9]'").await.trim().parse().unwrap();
    assert!(seen < 8, "{seen}");
    assert!(
        rig.fails("umount /tmp || mount -t tmpfs none /mnt")
            .await
            .contains("exit code")
    );
    // Opened only, not written: root without powers still owns these files.
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/sys/kernel/uevent_helper",
    ] {
        if std::path::Path::new(path).exists() {
            assert!(
                rig.fails(&format!(": >> {path}")).await.contains("exit code 1"),
                "{path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bubblewrap_that_does_not_contain_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let open = async |script: Option<&str>| {
        let bin = tempfile::tempdir().unwrap();
        if let Some(script) = script {
            let path = bin.path().join("bwrap");
            std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut config = config(&dir.path().join(uuid::Uuid::now_v7().to_string()), Sandbox::Auto);
        config.path = bin.path().into();
        Executor::open(config).await.unwrap()
    };
    let pretend = r#"while [ "$1" != -- ]; do [ "$1" = --setenv ] && export "$2=$3"; shift; done; shift; exec "$@""#;
    for (script, expect) in [
        (None, "not installed"),
        (Some("echo no namespaces >&2; exit 1"), "no namespaces"),
        (Some("exit 0"), "wrote elsewhere"),
        // It runs the command, but hides nothing.
        (Some(pretend), "the probe run of bubblewrap failed"),
    ] {
        let executor = open(script).await;
        let reason = executor.uncontained_reason().unwrap();
        assert!(!executor.contained() && reason.contains(expect), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_tools_do_not_see_the_key_either() {
    for mut rig in Rig::both().await {
        let key = rig.data().join("key");
        std::fs::write(&key, "SECRET").unwrap();
        rig.ok("ln -s ../../key near; ln -s ../.. up; true").await;
        let absolute = key.display().to_string();
        for path in [absolute.as_str(), "../../key", "near", "up/key"] {
            let outcome = rig.run("read", json!({"file_path": path})).await;
            assert!(
                outcome.is_error && text(&outcome).contains("outside the workspace folder"),
                "{path}: {outcome:?}"
            );
        }
        let outcome = rig.run("grep", json!({"pattern": "SECRET"})).await;
        assert_eq!(text(&outcome), "[no match]\n");
    }
}
