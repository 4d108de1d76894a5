//! Calls: attach, settle, refuse, cancel.

use perennial_executor::{Config, Executor, OpenError, Sandbox};
use perennial_schema::frame::{CallState, FromExecutor, Refusal, ToExecutor, Workspace};
use perennial_schema::tool::{Effect, Outcome};
use serde_json::json;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn hello_comes_first_and_says_who_we_are() {
    let rig = Rig::new(Sandbox::Off).await;
    let hello = &rig.link.hello;
    assert_eq!(
        (hello.executor_id, hello.journal_id),
        (rig.executor.executor_id(), rig.executor.journal_id())
    );
    assert_eq!(hello.card.tools, ["bash", "read", "write", "edit", "glob", "grep"]);
    assert!(!hello.card.contained && hello.card.os == "linux");
    assert_eq!(rig.executor.uncontained_reason(), Some("the sandbox is switched off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_sent_again_gets_the_stored_result_and_runs_once() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let call = bash("echo ran >> ledger; wc -l < ledger");
    let first = rig.link.run(&call).await;
    assert_eq!(text(&first), "1\n");
    assert_eq!(rig.link.run(&call).await, first);
    assert_eq!(
        rig.link.settle(&call).await,
        Ok(CallState::Done { outcome: first.clone() })
    );
    let mut other = call.clone();
    other.args_hash = "0".repeat(64);
    rig.link.send(ToExecutor::Call(other.clone())).await;
    assert_eq!(rig.link.refusal(other.call_id).await, Refusal::OtherArguments);
    assert_eq!(rig.link.settle(&other).await, Err(Refusal::OtherArguments));
    assert_eq!(std::fs::read_to_string(rig.folder().join("ledger")).unwrap(), "ran\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_call_is_attached_to_and_outlives_its_link() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let call = bash(": > begun; while [ ! -e go ]; do sleep 0.01; done; echo ran >> ledger; echo end");
    rig.link.send(ToExecutor::Call(call.clone())).await;
    let (begun, go) = (rig.folder().join("begun"), rig.folder().join("go"));
    eventually("it begins", || begun.exists()).await;
    let mut other = call.clone();
    other.args_hash = "other".into();
    rig.link.send(ToExecutor::Call(other)).await;
    assert_eq!(rig.link.refusal(call.call_id).await, Refusal::OtherArguments);
    let old = std::mem::replace(&mut rig.link, Link::open(&rig.executor).await);
    old.close().await;
    assert_eq!(rig.link.settle(&call).await, Ok(CallState::Running));
    rig.link.send(ToExecutor::Call(call.clone())).await;
    let mut third = Link::open(&rig.executor).await;
    third.send(ToExecutor::Call(call.clone())).await;
    third.ping().await;
    assert_eq!(third.settle(&call).await, Ok(CallState::Running));
    std::fs::write(go, "").unwrap();
    let outcome = rig.link.result(call.call_id).await;
    assert_eq!(text(&outcome), "end\n");
    assert_eq!(third.result(call.call_id).await, outcome);
    rig.link.ping().await;
    assert_eq!(rig.link.settle(&call).await, Ok(CallState::Done { outcome }));
    assert_eq!(std::fs::read_to_string(rig.folder().join("ledger")).unwrap(), "ran\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_reaches_the_journal_with_no_link_at_all() {
    let rig = Rig::new(Sandbox::Off).await;
    let call = bash(": > begun; while [ ! -e go ]; do sleep 0.01; done; echo end; : > done");
    rig.link.send(ToExecutor::Call(call.clone())).await;
    let (begun, done, journal) = (rig.folder().join("begun"), rig.folder().join("done"), rig.journal());
    eventually("it begins", || begun.exists()).await;
    let go = rig.folder().join("go");
    let Rig { executor, link, dir } = rig;
    link.close().await;
    std::fs::write(go, "").unwrap();
    eventually("it ends", || done.exists()).await;
    eventually("it is stored", || {
        std::fs::read_to_string(&journal).unwrap().contains(r#"{"result""#)
    })
    .await;
    let mut link = Link::open(&executor).await;
    assert_eq!(
        link.settle(&call).await,
        Ok(CallState::Done {
            outcome: Outcome {
                exit_code: Some(0),
                ..Outcome::text("end\n", false)
            }
        })
    );
    drop(dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_epoch_is_refused_whatever_it_says_also_after_reopening() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let hanging = rig.hang("begun").await;
    let mut newer = call("read", &json!({"file_path": "begun"}));
    newer.epoch = 5;
    rig.link.run(&newer).await;
    let stale = bash("echo stale >> ledger");
    rig.link.send(ToExecutor::Call(stale.clone())).await;
    assert_eq!(rig.link.refusal(stale.call_id).await, Refusal::StaleEpoch { seen: 5 });
    assert_eq!(rig.link.settle(&hanging).await, Err(Refusal::StaleEpoch { seen: 5 }));
    rig.link.send(cancel(&hanging)).await;
    assert_eq!(rig.link.refusal(hanging.call_id).await, Refusal::StaleEpoch { seen: 5 });
    let mut current = hanging.clone();
    current.epoch = 5;
    assert_eq!(
        rig.link.settle(&current).await,
        Ok(CallState::Running),
        "the stale cancel did nothing"
    );
    // Another session has its own mark.
    let mut elsewhere = bash("echo fine");
    elsewhere.session = session(2);
    assert_eq!(text(&rig.link.run(&elsewhere).await), "fine\n");
    rig.executor.close().await;
    let Rig { dir, executor, link } = rig;
    link.close().await;
    drop(executor);
    let executor = std::sync::Arc::new(
        Executor::open(config(&dir.path().join("data"), Sandbox::Off))
            .await
            .unwrap(),
    );
    let mut link = Link::open(&executor).await;
    link.send(ToExecutor::Call(stale.clone())).await;
    assert_eq!(link.refusal(stale.call_id).await, Refusal::StaleEpoch { seen: 5 });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_shell_begins_for_the_newest_lease_or_not_at_all() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let running = bash(": > begun; while [ ! -e go ]; do sleep 0.01; done");
    rig.link.send(ToExecutor::Call(running.clone())).await;
    let begun = rig.folder().join("begun");
    eventually("it begins", || begun.exists()).await;
    let (mut forgotten, mut wanted) = (bash("echo forgotten >> ledger"), bash("echo wanted >> ledger"));
    rig.link.send(ToExecutor::Call(forgotten.clone())).await;
    rig.link.send(ToExecutor::Call(wanted.clone())).await;
    rig.link.ping().await;
    wanted.epoch = 2;
    assert_eq!(rig.link.settle(&wanted).await, Ok(CallState::Running));
    std::fs::write(rig.folder().join("go"), "").unwrap();
    assert_eq!(
        rig.link.refusal(forgotten.call_id).await,
        Refusal::StaleEpoch { seen: 2 }
    );
    assert!(!rig.link.result(wanted.call_id).await.is_error);
    forgotten.epoch = 2;
    assert_eq!(rig.link.settle(&forgotten).await, Ok(CallState::NeverStarted));
    assert_eq!(
        std::fs::read_to_string(rig.folder().join("ledger")).unwrap(),
        "wanted\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_kills_what_runs_and_drops_what_waits() {
    for mut rig in Rig::both().await {
        let sleep = unique_sleep();
        let running = bash(&format!("echo partial; setsid sleep {sleep} & sleep {sleep}"));
        rig.link.send(ToExecutor::Call(running.clone())).await;
        eventually("both sleep", || processes(&sleep).len() >= 2).await;
        let waiting = bash("echo never >> ledger");
        rig.link.send(ToExecutor::Call(waiting.clone())).await;
        assert_eq!(rig.link.settle(&waiting).await, Ok(CallState::Running));
        rig.link.send(cancel(&waiting)).await;
        let dropped = rig.link.result(waiting.call_id).await;
        assert!(
            dropped.is_error && text(&dropped).contains("was not begun"),
            "{dropped:?}"
        );
        assert_eq!(
            rig.link.settle(&waiting).await,
            Ok(CallState::Done { outcome: dropped }),
            "nobody starts it later"
        );
        rig.link.send(cancel(&running)).await;
        let outcome = rig.link.result(running.call_id).await;
        assert!(
            outcome.is_error && text(&outcome).starts_with("partial\n[cancelled (asked to stop)"),
            "{outcome:?}"
        );
        assert_eq!(processes(&sleep), [] as [u32; 0], "answered while alive");
        assert!(!rig.folder().join("ledger").exists());
        // A cancel of what is over or unknown is nothing.
        rig.link.send(cancel(&running)).await;
        rig.link.send(cancel(&bash("x"))).await;
        assert!(rig.ok("echo on").await.ends_with("on\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settle_never_starts_and_read_calls_leave_no_trace() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let never = bash("echo never >> ledger");
    assert_eq!(rig.link.settle(&never).await, Ok(CallState::NeverStarted));
    rig.ok("echo hi > file").await;
    let read = call("read", &json!({"file_path": "file"}));
    rig.link.run(&read).await;
    assert_eq!(rig.link.settle(&read).await, Ok(CallState::NeverStarted));
    assert!(!rig.folder().join("ledger").exists());
    // Who declares a shell command harmless is not believed.
    let mut lying = bash("echo once >> counted; wc -l < counted");
    lying.effect = Effect::Read;
    let first = rig.link.run(&lying).await;
    assert_eq!(rig.link.run(&lying).await, first);
    assert_eq!(text(&first), "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_does_not_fit_is_told_to_the_model() {
    let mut rig = Rig::new(Sandbox::Off).await;
    for (tool, input, expect) in [
        ("nonsense", json!({}), "no tool named \"nonsense\""),
        ("web_fetch", json!({}), "no tool named \"web_fetch\""),
        ("bash", json!({"command": 7}), "the input of bash does not fit"),
        ("bash", json!([]), "it is not an object"),
        ("bash", json!({}), "needs a command"),
        ("read", json!({}), "missing field `file_path`"),
        ("read", json!(null), "the input of read does not fit"),
        ("bash", json!({"command": "a\u{0}b"}), "NUL"),
        ("grep", json!({"pattern": "("}), "the pattern cannot be used"),
        ("glob", json!({"pattern": "["}), "the pattern cannot be used"),
    ] {
        let outcome = rig.run(tool, input).await;
        assert!(
            outcome.is_error && text(&outcome).contains(expect),
            "{tool}: {outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_loses_its_shell() {
    for mut rig in Rig::both().await {
        let sleep = unique_sleep();
        rig.ok(&format!(
            "sleep {sleep} & while ! grep -aq {sleep} /proc/$!/cmdline; do :; done"
        ))
        .await;
        assert!(!processes(&sleep).is_empty());
        rig.link.send(ToExecutor::Forget { session: session(1) }).await;
        eventually("its jobs are gone", || processes(&sleep).is_empty()).await;
        let hanging = rig.hang("begun").await;
        rig.link.send(ToExecutor::Forget { session: session(1) }).await;
        let outcome = rig.link.result(hanging.call_id).await;
        assert!(
            text(&outcome).contains("[cancelled (the session was deleted)"),
            "{outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_calls_with_an_outcome_that_is_known_afterwards() {
    for mut rig in Rig::both().await {
        let sandbox = if rig.executor.contained() {
            Sandbox::Auto
        } else {
            Sandbox::Off
        };
        let hanging = rig.hang("begun").await;
        rig.executor.close().await;
        let outcome = rig.link.result(hanging.call_id).await;
        assert!(
            text(&outcome).contains("[cancelled (the executor is shutting down)"),
            "{outcome:?}"
        );
        let late = bash("echo late");
        rig.link.send(ToExecutor::Call(late.clone())).await;
        assert_eq!(rig.link.refusal(late.call_id).await, Refusal::Busy);
        let Rig { dir, executor, link } = rig;
        let second = Executor::open(config(&dir.path().join("data"), sandbox)).await;
        assert!(matches!(second, Err(OpenError::Journal(error)) if error.kind() == std::io::ErrorKind::ResourceBusy));
        let ids = (executor.executor_id(), executor.journal_id());
        link.close().await;
        drop(executor);
        let executor = std::sync::Arc::new(Executor::open(config(&dir.path().join("data"), sandbox)).await.unwrap());
        assert_eq!((executor.executor_id(), executor.journal_id()), ids);
        let mut link = Link::open(&executor).await;
        assert_eq!(link.settle(&hanging).await, Ok(CallState::Done { outcome }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_the_host_are_checked() {
    let mut rig = Rig::new(Sandbox::Auto).await;
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("file");
    std::fs::write(&file, "").unwrap();
    let data = rig.data();
    let mut check = async |path: &std::path::Path, tool: &str| {
        let mut call = if tool == "bash" {
            bash("pwd; echo x > made")
        } else {
            call("glob", &json!({"pattern": "*"}))
        };
        call.workspace = Workspace::Dir {
            path: path.display().to_string(),
        };
        rig.link.run(&call).await
    };
    let fine = check(host.path(), "bash").await;
    assert_eq!(text(&fine), format!("{}\n", host.path().display()));
    assert_eq!(std::fs::read_to_string(host.path().join("made")).unwrap(), "x\n");
    for (path, expect) in [
        (host.path().join("missing").as_path(), "cannot be opened"),
        (file.as_path(), "is not a directory"),
        (std::path::Path::new("relative"), "not an absolute path"),
        (std::path::Path::new("/"), "lie inside one another"),
        (data.as_path(), "lie inside one another"),
        (data.parent().unwrap(), "lie inside one another"),
        (data.join("executor").as_path(), "lie inside one another"),
    ] {
        for tool in ["bash", "glob"] {
            let outcome = check(path, tool).await;
            assert!(
                outcome.is_error && text(&outcome).contains(expect),
                "{}: {outcome:?}",
                path.display()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_copied_once_and_whole() {
    let mut rig = Rig::with(Sandbox::Off, |limits| limits.copy_entries = 50).await;
    rig.ok("mkdir -p a/b; echo deep > a/b/c; ln -s a/b/c link; ln -s /etc/passwd out; printf x > run; chmod 755 run; mkfifo pipe; touch -d 2001-01-01 a/b/c; mkdir closed; echo y > closed/f; chmod 500 closed").await;
    let mut copy = async |from: u128, to: u128| {
        rig.link
            .send(ToExecutor::CopyWorkspace {
                from: session(from),
                to: session(to),
            })
            .await;
        let pick = |frame: &FromExecutor| match frame {
            FromExecutor::WorkspaceCopied { to: done, error } if *done == session(to) => Some(error.clone()),
            _ => None,
        };
        rig.link.expect("copied", pick).await
    };
    assert_eq!(copy(1, 2).await, None);
    assert!(copy(1, 2).await.unwrap().contains("exists already"));
    assert_eq!(copy(77, 78).await, None, "nothing to copy");
    let root = rig.data().join("workspaces");
    let made = root.join(session(2).to_string());
    assert!(!root.join(session(78).to_string()).exists());
    assert_eq!(std::fs::read_to_string(made.join("a/b/c")).unwrap(), "deep\n");
    assert_eq!(std::fs::read_link(made.join("link")).unwrap().to_str(), Some("a/b/c"));
    assert_eq!(
        std::fs::read_link(made.join("out")).unwrap().to_str(),
        Some("/etc/passwd")
    );
    assert!(!made.join("pipe").exists() && made.join("closed/f").exists());
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    assert_eq!(made.join("run").metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(
        made.join("closed").metadata().unwrap().permissions().mode() & 0o777,
        0o500
    );
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(made.join("a/b/c").metadata().unwrap().mtime() / 86_400 / 365, 31);
    rig.ok("for n in $(seq 60); do : > many$n; done").await;
    rig.link
        .send(ToExecutor::CopyWorkspace {
            from: session(1),
            to: session(3),
        })
        .await;
    let pick = |frame: &FromExecutor| match frame {
        FromExecutor::WorkspaceCopied { error, .. } => Some(error.clone()),
        _ => None,
    };
    assert!(
        rig.link
            .expect("copied", pick)
            .await
            .unwrap()
            .contains("more than 50 files")
    );
    let left: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn the_defaults_hide_the_home_of_whoever_runs_us() {
    let config = Config::new("/data");
    assert_eq!(config.home, std::env::home_dir());
    assert_eq!(
        (config.sandbox, config.limits.shells, config.limits.shell_idle.as_secs()),
        (Sandbox::Auto, 64, 1800)
    );
}
