//! What a SIGKILL leaves, seen by the next process on the same data directory.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use perennial_executor::{Executor, Sandbox};
use perennial_schema::event::Raw;
use perennial_schema::frame::{Call, CallState, Refusal, ToExecutor};
use perennial_schema::tool::{Effect, args_hash};
use serde_json::json;

use crate::rig::*;

const HELPER: &str = "PERENNIAL_TEST_CRASH_HELPER";

/// Not a test but the process that the tests below kill: serves one call that never ends.
#[tokio::test(flavor = "multi_thread")]
async fn helper_that_is_killed() {
    let Ok(data) = std::env::var(HELPER) else { return };
    let sandbox = if std::env::var_os("PERENNIAL_TEST_OFF").is_some() {
        Sandbox::Off
    } else {
        Sandbox::Auto
    };
    let executor = Arc::new(Executor::open(config(Path::new(&data), sandbox)).await.unwrap());
    let link = Link::open(&executor).await;
    for line in std::io::stdin().lines() {
        let call: Call = serde_json::from_str(&line.unwrap()).unwrap();
        link.send(ToExecutor::Call(call)).await;
    }
    std::future::pending::<()>().await;
}

/// Starts the helper with these calls, waits for `ready`, kills it.
async fn killed_while(data: &Path, sandbox: Sandbox, calls: &[&Call], ready: impl FnMut() -> bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "crash::helper_that_is_killed", "--nocapture"])
        .env(HELPER, data);
    if sandbox == Sandbox::Off {
        command.env("PERENNIAL_TEST_OFF", "1");
    }
    let mut helper = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = helper.stdin.take().unwrap();
    for call in calls {
        writeln!(stdin, "{}", serde_json::to_string(call).unwrap()).unwrap();
    }
    drop(stdin);
    eventually("the helper is there", ready).await;
    helper.kill().unwrap();
    helper.wait().unwrap();
}

async fn modes() -> Vec<Sandbox> {
    let rigs = Rig::both().await;
    rigs.iter()
        .map(|rig| {
            if rig.executor.contained() {
                Sandbox::Auto
            } else {
                Sandbox::Off
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_nothing_runs_and_a_once_call_is_lost() {
    for sandbox in modes().await {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let (near, far) = (unique_sleep(), unique_sleep());
        let call = bash(&format!("echo ran >> ledger; setsid sleep {far} & sleep {near}"));
        let queued = bash("echo queued >> ledger");
        killed_while(&data, sandbox, &[&call, &queued], || {
            !processes(&near).is_empty() && !processes(&far).is_empty()
        })
        .await;
        if sandbox == Sandbox::Off {
            // The kernel ends our children; a grandchild that left the group is found when the next process opens.
            assert!(!processes(&far).is_empty(), "the test lost its point");
        }
        let executor = Arc::new(Executor::open(config(&data, sandbox)).await.unwrap());
        // The kernel may still be at work on what died with the helper; what outlived it must be gone by now.
        assert!(sandbox == Sandbox::Auto || processes(&far).is_empty());
        let mut link = Link::open(&executor).await;
        assert_eq!(link.settle(&call).await, Ok(CallState::Lost));
        assert_eq!(processes(&near), [] as [u32; 0]);
        assert_eq!(processes(&far), [] as [u32; 0]);
        link.send(ToExecutor::Call(call.clone())).await;
        assert_eq!(link.refusal(call.call_id).await, Refusal::Lost);
        assert_eq!(
            link.settle(&queued).await,
            Ok(CallState::NeverStarted),
            "it only waited"
        );
        let told = link.run(&queued).await;
        assert!(text(&told).starts_with("[fresh shell: "), "{told:?}");
        let ledger = data.join("workspaces").join(session(1).to_string()).join("ledger");
        assert_eq!(std::fs::read_to_string(ledger).unwrap(), "ran\nqueued\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_call_that_was_lost_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let sleep = unique_sleep();
    let mut call = bash(&format!(
        "echo ran >> ledger; [ -e second ] || sleep {sleep}; wc -l < ledger"
    ));
    call.effect = Effect::Idempotent;
    killed_while(&data, Sandbox::Off, &[&call], || !processes(&sleep).is_empty()).await;
    std::fs::write(data.join("workspaces").join(session(1).to_string()).join("second"), "").unwrap();
    let executor = Arc::new(Executor::open(config(&data, Sandbox::Off)).await.unwrap());
    let mut link = Link::open(&executor).await;
    assert_eq!(link.settle(&call).await, Ok(CallState::Lost));
    // The same call declared otherwise is not let through.
    let mut once = call.clone();
    once.effect = Effect::Once;
    link.send(ToExecutor::Call(once)).await;
    assert_eq!(link.refusal(call.call_id).await, Refusal::Lost);
    let outcome = link.run(&call).await;
    assert!(text(&outcome).ends_with("\n2\n"), "{outcome:?}");
    assert_eq!(link.settle(&call).await, Ok(CallState::Done { outcome }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_executor_takes_its_processes_along() {
    for rig in Rig::both().await {
        let sleep = unique_sleep();
        let call = bash(&format!("setsid sleep {sleep} & sleep {sleep}"));
        rig.link.send(ToExecutor::Call(call.clone())).await;
        eventually("both sleep", || processes(&sleep).len() >= 2).await;
        let Rig { dir, executor, link } = rig;
        link.close().await;
        drop(executor);
        eventually("they are gone", || processes(&sleep).is_empty()).await;
        drop(dir);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_kills_what_carries_the_journals_mark_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let executor = Executor::open(config(&data, Sandbox::Off)).await.unwrap();
    let journal = executor.journal_id().to_string();
    executor.close().await;
    drop(executor);
    let sleep = |mark: &str| {
        let mut command = Command::new("sleep");
        command
            .arg(unique_sleep())
            .env("PERENNIAL_JOURNAL", mark)
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let (mut ours, mut foreign, mut longer) = (sleep(&journal), sleep("jrnl_other"), sleep(&format!("{journal}0")));
    let executor = Executor::open(config(&data, Sandbox::Off)).await.unwrap();
    let status = ours
        .try_wait()
        .unwrap()
        .map(|status| std::os::unix::process::ExitStatusExt::signal(&status));
    assert_eq!(status, Some(Some(9)), "dead before the executor answers");
    for spared in [&mut foreign, &mut longer] {
        assert!(spared.try_wait().unwrap().is_none());
        spared.kill().unwrap();
        spared.wait().unwrap();
    }
    drop(executor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_journal_is_cut_and_a_damaged_one_refuses() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let done = bash("echo done");
    rig.link.run(&done).await;
    let (path, data) = (rig.journal(), rig.data());
    let Rig { dir, executor, link } = rig;
    link.close().await;
    executor.close().await;
    drop(executor);
    let whole = std::fs::read(&path).unwrap();
    let lines: Vec<_> = BufReader::new(whole.as_slice()).lines().map(Result::unwrap).collect();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with(r#"{"started":{"call_id":"sevt_"#)),
        "{lines:?}"
    );
    // The result is torn: it was never answered, so the call is lost.
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let executor = Arc::new(Executor::open(config(&data, Sandbox::Off)).await.unwrap());
    let mut link = Link::open(&executor).await;
    assert_eq!(link.settle(&done).await, Ok(CallState::Lost));
    executor.close().await;
    link.close().await;
    drop(executor);
    // Damage in the middle: this session's calls are refused, others work, and repair is noticed.
    std::fs::write(&path, [b"{damage}\n".as_slice(), &whole].concat()).unwrap();
    let executor = Arc::new(Executor::open(config(&data, Sandbox::Off)).await.unwrap());
    let mut link = Link::open(&executor).await;
    let refused = link.settle(&done).await;
    assert!(
        matches!(&refused, Err(Refusal::JournalUnavailable { message }) if message.contains("line 1")),
        "{refused:?}"
    );
    let mut other = bash("echo other");
    other.session = session(2);
    assert_eq!(text(&link.run(&other).await), "other\n");
    std::fs::write(&path, &whole).unwrap();
    assert!(matches!(link.settle(&done).await, Ok(CallState::Done { .. })));
    drop(dir);
}

#[test]
fn the_helpers_calls_survive_their_encoding() {
    let call = bash("echo 'é'");
    let back: Call = serde_json::from_str(&serde_json::to_string(&call).unwrap()).unwrap();
    assert_eq!(back, call);
    assert_eq!(
        args_hash("bash", Raw::of(&json!({"command": "echo 'é'"})).text()),
        call.args_hash
    );
}
