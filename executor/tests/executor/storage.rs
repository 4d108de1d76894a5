//! A disk that is full or cannot be written.

use std::process::Command;
use std::sync::Arc;

use perennial_executor::{Executor, OpenError, Sandbox};
use perennial_schema::frame::{CallState, Refusal, ToExecutor};
use serde_json::json;

use crate::rig::*;

/// A small file system, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                println!("NOT RUN: no small file system can be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: shells of the executor may still be inside.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [64 * 1024, 1024, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_calls_and_loses_no_result() {
    let Some(small) = Small::mount() else { return };
    let data = small.0.path().join("data");
    let executor = Arc::new(Executor::open(config(&data, Sandbox::Off)).await.unwrap());
    let mut link = Link::open(&executor).await;
    let folder = data.join("workspaces").join(session(1).to_string());
    let before = bash("echo before");
    let before_outcome = link.run(&before).await;
    // One call is under way while the disk fills up.
    let running =
        bash(": > begun; while [ ! -e /proc/$$/cwd/go ]; do sleep 0.01; done; head -c 9000 /dev/zero | tr '\\0' e");
    link.send(ToExecutor::Call(running.clone())).await;
    eventually("it begins", || folder.join("begun").exists()).await;
    std::fs::write(folder.join("go.new"), "").unwrap();
    fill(&data.join("filler"));
    std::fs::rename(folder.join("go.new"), folder.join("go")).unwrap();
    let outcome = link.result(running.call_id).await;
    assert_eq!(text(&outcome), "e".repeat(9000), "it ran, so its caller is told");
    assert_eq!(
        link.settle(&running).await,
        Ok(CallState::Done {
            outcome: outcome.clone()
        })
    );
    let refused = bash("echo refused >> ledger");
    link.send(ToExecutor::Call(refused.clone())).await;
    let reason = link.refusal(refused.call_id).await;
    assert!(
        matches!(&reason, Refusal::JournalUnavailable { message } if message.contains("No space")),
        "{reason:?}"
    );
    assert_eq!(link.settle(&refused).await, Ok(CallState::NeverStarted));
    assert_eq!(
        link.settle(&before).await,
        Ok(CallState::Done {
            outcome: before_outcome.clone()
        }),
        "reading works"
    );
    let listed = link.run(&call("glob", &json!({"pattern": "go"}))).await;
    assert_eq!(text(&listed), "go\n", "what needs no journal works");
    let write = call("write", &json!({"file_path": "f", "content": "x"}));
    link.send(ToExecutor::Call(write.clone())).await;
    assert!(matches!(
        link.refusal(write.call_id).await,
        Refusal::JournalUnavailable { .. }
    ));
    // Space again: work resumes, and what waited is stored.
    std::fs::remove_file(data.join("filler")).unwrap();
    assert!(text(&link.run(&refused).await).contains("[no output]"));
    assert_eq!(std::fs::read_to_string(folder.join("ledger")).unwrap(), "refused\n");
    link.close().await;
    executor.close().await;
    drop(executor);
    let executor = Arc::new(Executor::open(config(&data, Sandbox::Off)).await.unwrap());
    let mut link = Link::open(&executor).await;
    assert_eq!(link.settle(&running).await, Ok(CallState::Done { outcome }));
    assert_eq!(
        link.settle(&before).await,
        Ok(CallState::Done {
            outcome: before_outcome
        })
    );
    link.close().await;
    executor.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_starts_nothing() {
    let Some(small) = Small::mount() else { return };
    let data = small.0.path().join("data");
    let executor = Arc::new(Executor::open(config(&data, Sandbox::Off)).await.unwrap());
    let mut link = Link::open(&executor).await;
    let mut first = bash("echo first");
    first.workspace = perennial_schema::frame::Workspace::Dir { path: "/usr".into() };
    link.run(&first).await;
    executor.close().await;
    link.close().await;
    drop(executor);
    let remount = |how: &str| {
        let status = Command::new("mount")
            .args(["-o", how])
            .arg(small.0.path())
            .status()
            .unwrap();
        assert!(status.success());
    };
    let executor = Arc::new(Executor::open(config(&data, Sandbox::Off)).await.unwrap());
    let mut link = Link::open(&executor).await;
    // The lock is open for writing, which holds a plain remount up; a journal that is a folder fails alike.
    let journal = data.join("executor/journal").join(format!("{}.jsonl", session(2)));
    std::fs::create_dir(&journal).unwrap();
    let mut refused = bash("echo refused > /dev/null");
    refused.session = session(2);
    link.send(ToExecutor::Call(refused.clone())).await;
    assert!(matches!(
        link.refusal(refused.call_id).await,
        Refusal::JournalUnavailable { .. }
    ));
    assert!(
        !data.join("workspaces").join(session(2).to_string()).exists(),
        "nothing was started"
    );
    std::fs::remove_dir(&journal).unwrap();
    link.run(&refused).await;
    executor.close().await;
    link.close().await;
    drop(executor);
    remount("remount,ro");
    let error = Executor::open(config(&data, Sandbox::Off)).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::Journal(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem),
        "{error:?}"
    );
    remount("remount,rw");
    Executor::open(config(&data, Sandbox::Off)).await.unwrap();
}
