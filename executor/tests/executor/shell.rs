//! The persistent shell.

use std::time::{Duration, Instant};

use perennial_executor::Sandbox;
use perennial_schema::frame::{CallState, Refusal, ToExecutor};
use serde_json::json;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn folder_and_environment_persist_until_restart() {
    for mut rig in Rig::both().await {
        let folder = rig.folder().display().to_string();
        assert_eq!(rig.ok("pwd; echo $HOME").await, format!("{folder}\n{folder}\n"));
        rig.ok("mkdir -p sub && cd sub && X=kept && export Y=too; f() { echo fun; }")
            .await;
        assert_eq!(
            rig.ok("basename \"$PWD\"; echo $X; bash -c 'echo $Y'; f").await,
            "sub\nkept\ntoo\nfun\n"
        );
        let fresh = rig.run("bash", json!({"restart": true})).await;
        assert_eq!((text(&fresh), fresh.is_error), ("[fresh shell]", false));
        assert_eq!(
            rig.ok("pwd; echo \"<$X>\"").await,
            format!("{}\n<>\n", rig.folder().display())
        );
        let both = rig.run("bash", json!({"restart": true, "command": "echo again"})).await;
        assert_eq!(text(&both), "again\n", "a restart that was asked for needs no note");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_merged_in_order_and_the_exit_code_is_told() {
    for mut rig in Rig::both().await {
        assert_eq!(rig.ok("echo a; echo b >&2; echo c").await, "a\nb\nc\n");
        assert_eq!(rig.ok("true").await, "[no output]");
        assert_eq!(rig.ok("printf 'no newline'").await, "no newline");
        assert_eq!(rig.fails("echo x; (exit 7)").await, "x\n[exit code 7]");
        assert_eq!(rig.fails("printf x; false").await, "x\n[exit code 1]");
        assert!(
            rig.fails("no-such-program")
                .await
                .contains("command not found\n[exit code 127]")
        );
        assert_eq!(
            rig.ok("echo next").await,
            "next\n",
            "a failed command leaves the shell alone"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_command_says_breaks_the_framing() {
    for mut rig in Rig::both().await {
        for (command, expect) in [
            ("echo 'open", "unexpected EOF"),
            ("echo \"open", "unexpected EOF"),
            ("echo $(echo", "unexpected EOF"),
            ("if true; then", "syntax error"),
            (") ; }", "syntax error"),
            ("return 4", "can only `return'"),
            ("echo 00000000000000000000000000000000 0 >&99", "Bad file descriptor"),
            ("echo 00000000000000000000000000000000 0 >&98", "Bad file descriptor"),
        ] {
            let output = rig.fails(command).await;
            assert!(output.contains(expect), "{command}: {output}");
            assert!(rig.ok("echo sane").await.ends_with("sane\n"), "after {command}");
        }
        for (command, expect) in [
            ("cat <<EOF\nhello", "hello"),
            ("break; continue; true", ""),
            ("exec >/dev/null 2>&1", ""),
            ("exec 2>&-", ""),
            ("echo it\\'s '$HOME' \"\\\\\" # comment", "it's $HOME \\"),
            ("echo tail \\", "tail"),
            ("\n\n  echo lines\n\n", "lines"),
            ("shopt -s extglob; set -o pipefail", ""),
        ] {
            let output = rig.ok(command).await;
            assert!(output.contains(expect), "{command}: {output}");
            assert_eq!(rig.ok("echo sane").await, "sane\n", "after {command}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_empty() {
    for mut rig in Rig::both().await {
        assert_eq!(rig.ok("cat; read x; echo rc=$?; cat").await, "rc=1\n");
        assert_eq!(rig.ok("exec 0</proc/self/status; true").await, "[no output]");
        assert_eq!(rig.ok("cat; echo still").await, "still\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_goes_away_is_replaced_and_the_model_is_told() {
    for mut rig in Rig::both().await {
        for (command, code) in [
            ("echo x; exit 3", "[exit code 3]"),
            ("set -e; echo x; false; echo never", "[exit code 1]"),
            ("exec sh -c 'echo x; exit 9'", "[exit code 9]"),
        ] {
            let output = rig.fails(command).await;
            assert!(
                output.starts_with("x\n") || output.contains("]\nx\n"),
                "{command}: {output}"
            );
            assert!(
                output.contains(code) && output.contains("next command gets a fresh one"),
                "{command}: {output}"
            );
            assert!(!output.contains("never"), "{output}");
        }
        let fresh = rig.ok("echo on").await;
        assert!(
            fresh.starts_with("[fresh shell: ") && fresh.ends_with("\non\n"),
            "{fresh}"
        );
        assert_eq!(rig.ok("echo on").await, "on\n", "told once");
        let gone = rig.ok("exit 0").await;
        assert!(gone.contains("[exit code 0]") && gone.contains("fresh one"), "{gone}");
        let killed = rig.fails("kill -9 $$").await;
        assert!(
            killed.contains("[killed by signal 9]") || killed.contains("[exit code 137]"),
            "{killed}"
        );
        // More than a pipe holds, from the program that took the shell's place.
        let big = rig.ok("exec head -c 200000 /dev/zero").await;
        assert!(big.contains("[exit code 0]") && big.len() > 100_000, "{}", big.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn background_jobs_neither_delay_the_answer_nor_lose_their_output() {
    for mut rig in Rig::both().await {
        let begun = Instant::now();
        assert_eq!(rig.ok("sleep 1000 & echo started").await, "started\n");
        assert!(begun.elapsed() < Duration::from_secs(20));
        rig.ok("(while [ ! -e go ]; do sleep 0.01; done; echo late; : > done) &")
            .await;
        std::fs::write(rig.folder().join("go"), "").unwrap();
        let done = rig.folder().join("done");
        eventually("the job is done", || done.exists()).await;
        let output = rig.ok("echo now").await;
        assert!(
            output.starts_with("[printed by background jobs since the last command]\nlate\n"),
            "{output}"
        );
        assert!(output.ends_with("\nnow\n"), "{output}");
        // One that prints without end fills no pipe and hides no answer.
        rig.ok("yes background &").await;
        for _ in 0..3 {
            let output = rig.ok("true").await;
            assert!(
                output.len() <= perennial_schema::limits::TOOL_OUTPUT_BYTES,
                "{}",
                output.len()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_kills_everything_and_says_so() {
    for mut rig in Rig::both().await {
        let (near, far) = (unique_sleep(), unique_sleep());
        // One in the shell's group, one that left group and session, one that ignores what it can.
        let command =
            format!("X=1; echo before; setsid sh -c 'trap \"\" TERM HUP; sleep {far}; sleep {far}' & sleep {near}");
        let call = call("bash", &json!({"command": command, "timeout_ms": 700}));
        rig.link.send(ToExecutor::Call(call.clone())).await;
        eventually("both sleep", || {
            !processes(&near).is_empty() && !processes(&far).is_empty()
        })
        .await;
        let outcome = rig.link.result(call.call_id).await;
        assert!(outcome.is_error);
        let said = text(&outcome);
        assert!(said.starts_with("before\n[timed out after 700 ms"), "{said}");
        assert_eq!(processes(&near), [] as [u32; 0], "answered while alive");
        assert_eq!(processes(&far), [] as [u32; 0], "answered while alive");
        let next = rig.ok("echo \"<$X>\"").await;
        assert!(next.starts_with("[fresh shell: ") && next.ends_with("<>\n"), "{next}");
    }
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_is_bounded_in_memory() {
    for mut rig in Rig::both().await {
        rig.ok("true").await;
        let before = peak_memory();
        let output = rig
            .ok("echo FIRST; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo LAST")
            .await;
        assert!(output.starts_with("FIRST\n") && output.ends_with("LAST\n"));
        assert!(
            output.len() <= perennial_schema::limits::TOOL_OUTPUT_BYTES,
            "{}",
            output.len()
        );
        assert!(output.contains("bytes omitted"));
        // Other tests run beside this one, so the margin is wide; keeping it all would be over it.
        let grown = peak_memory().saturating_sub(before);
        assert!(grown < 80_000_000, "{grown}");
        let endless = rig.run("bash", json!({"command": "yes", "timeout_ms": 300})).await;
        assert!(
            text(&endless).contains("[timed out")
                && text(&endless).len() <= perennial_schema::limits::TOOL_OUTPUT_BYTES
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_bytes_become_storable() {
    for mut rig in Rig::both().await {
        let output = rig
            .ok("printf 'a\\0b\\377c\\303\\251d'; head -c 1000 /dev/urandom")
            .await;
        assert!(
            output.starts_with("a\u{FFFD}b\u{FFFD}céd") && !output.contains('\0'),
            "{output:?}"
        );
        let output = rig.ok("head -c 1000000 /dev/zero").await;
        assert!(!output.contains('\0') && output.len() <= perennial_schema::limits::TOOL_OUTPUT_BYTES);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_commands_arrive_whole() {
    for mut rig in Rig::both().await {
        let long = "x'".repeat(40_000);
        let quoted = long.replace('\'', "'\\''");
        let output = rig.ok(&format!("printf %s '{quoted}' | wc -c; echo end")).await;
        assert_eq!(output, "80000\nend\n");
        let too_long = rig.fails(&format!(": {}", "x".repeat(300_000))).await;
        assert!(too_long.contains("write a script file"), "{too_long}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_a_session_run_one_after_the_other_in_order() {
    for mut rig in Rig::both().await {
        let calls: Vec<_> = (0..20)
            .map(|n| bash(&format!("echo {n} >> order; echo {n} >> order")))
            .collect();
        for call in &calls {
            rig.link.send(ToExecutor::Call(call.clone())).await;
        }
        for call in &calls {
            rig.link.result(call.call_id).await;
        }
        let expect: String = (0..20).map(|n| format!("{n}\n{n}\n")).collect();
        assert_eq!(std::fs::read_to_string(rig.folder().join("order")).unwrap(), expect);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_do_not_wait_for_each_other_and_the_total_is_bounded() {
    let mut rig = Rig::with(Sandbox::Off, |limits| limits.calls = 2).await;
    let hanging = rig.hang("one").await;
    let mut other = bash("echo two");
    other.session = session(2);
    assert_eq!(text(&rig.link.run(&other).await), "two\n");
    let queued = bash("echo three");
    rig.link.send(ToExecutor::Call(queued.clone())).await;
    let refused = bash("echo four");
    rig.link.send(ToExecutor::Call(refused.clone())).await;
    assert_eq!(rig.link.refusal(refused.call_id).await, Refusal::Busy);
    assert_eq!(rig.link.settle(&refused).await, Ok(CallState::NeverStarted));
    rig.link.send(cancel(&hanging)).await;
    assert!(text(&rig.link.result(queued.call_id).await).ends_with("three\n"));
    assert_eq!(rig.ok("echo free").await, "free\n");
}

/// A call that belongs to no session is one of its own: however fast they come, one after another, there is room for each.
#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_make_room() {
    let mut rig = Rig::with(Sandbox::Off, |limits| (limits.sessions, limits.calls) = (64, 4)).await;
    for n in 1..=500 {
        let mut call = call("ls", &json!({"path": "."}));
        call.session = session(n);
        rig.link.send(ToExecutor::Call(call.clone())).await;
        rig.link.result(call.call_id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_shells_live_and_none_idles_for_long() {
    let mut rig = Rig::with(Sandbox::Off, |limits| limits.shells = 2).await;
    for n in 1..=3 {
        let mut call = bash("V=old; echo $$");
        call.session = session(n);
        rig.link.run(&call).await;
    }
    let mut second = bash("echo $V");
    second.session = session(2);
    assert_eq!(
        text(&rig.link.run(&second).await),
        "old\n",
        "only the longest idle one made room"
    );
    let first = rig.ok("echo \"<$V>\"").await;
    assert!(
        first.starts_with("[fresh shell: ") && first.ends_with("<>\n"),
        "{first}"
    );

    let mut rig = Rig::with(Sandbox::Off, |limits| limits.shell_idle = Duration::from_millis(50)).await;
    let sleep = unique_sleep();
    rig.ok(&format!(
        "sleep {sleep} & while ! grep -aq {sleep} /proc/$!/cmdline; do :; done"
    ))
    .await;
    eventually("the idle shell is closed with its jobs", || {
        processes(&sleep).is_empty()
    })
    .await;
    assert!(rig.ok("echo").await.starts_with("[fresh shell: "));
}

/// More sessions than there may be shells: each has its turn, in the order they came, and none is refused.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_take_turns_at_few_shells() {
    let mut rig = Rig::with(Sandbox::Off, |limits| limits.shells = 2).await;
    let order = rig.dir.path().join("order");
    let calls: Vec<_> = (1..=12)
        .map(|n| {
            let mut call = bash(&format!("echo {n} >> {}; sleep 0.2; echo {n}", order.display()));
            call.session = session(n);
            call
        })
        .collect();
    for call in &calls {
        rig.link.send(ToExecutor::Call(call.clone())).await;
        // It runs or is in line.
        assert_ne!(rig.link.settle(call).await, Ok(CallState::NeverStarted));
    }
    // One that waits is stopped before its turn, and does not hold up the others.
    rig.link.send(cancel(&calls[6])).await;
    for (n, call) in (1..=12).zip(&calls) {
        let outcome = rig.link.result(call.call_id).await;
        if n == 7 {
            assert!(outcome.is_error && text(&outcome).contains("not begun"), "{outcome:?}");
        } else {
            assert_eq!(text(&outcome), format!("{n}\n"));
        }
    }
    let begun = std::fs::read_to_string(&order).unwrap();
    let begun: Vec<u32> = begun.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(begun.len(), 11, "{begun:?}");
    // Two at a time, so neighbours may swap.
    let late = begun
        .iter()
        .enumerate()
        .map(|(at, n)| n.abs_diff(u32::try_from(at).unwrap() + 1));
    assert!(late.max() <= Some(3), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_small_and_ours() {
    for mut rig in Rig::both().await {
        let output = rig.ok("env | cut -d= -f1 | sort").await;
        let names: Vec<&str> = output.lines().collect();
        let known = [
            "HOME",
            "LANG",
            "OLDPWD",
            "PAGER",
            "PATH",
            "PERENNIAL_JOURNAL",
            "PERENNIAL_SHELL",
            "PWD",
            "SHLVL",
            "TERM",
            "_",
        ];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        assert_eq!(
            rig.ok("echo $HOME $TERM $LANG").await,
            format!("{} dumb C.UTF-8\n", rig.folder().display())
        );
    }
}
