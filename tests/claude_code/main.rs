//! The claude-code harness with the real binary against a scripted Messages endpoint.
//!
//! The harness relies on hidden flags and a measured file format, so these tests compare what the binary really sends
//! upstream. Without the binary they print `NOT RUN` and fail where everything must run.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]
#![expect(clippy::needless_pass_by_value, reason = "conversations are built of literals")]

mod bench;
mod canaries;
mod failures;
mod upstream;
mod warm;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_engine::ports::{Part, StopKind};
use perennial_schema::event::ErrorKind;
use perennial_worker::harness::Harness;
use serde_json::{Value, json};

use bench::{Bench, broken_tool, called, results, said, spoke, tools};
use upstream::{Reply, text, thinking, tool_use};

fn bash(id: &str, command: &str) -> Value {
    tool_use(id, "bash", json!({"command": command}))
}

fn result(id: &str, text: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": text}], "is_error": false})
}

/// The harness leaves out `is_error: false`, and shows a single text as a string; to a model all are the same.
fn same(mut messages: Vec<Value>) -> Vec<Value> {
    for block in messages
        .iter_mut()
        .flat_map(|message| message["content"].as_array_mut().unwrap())
    {
        if block["type"] == "tool_result" {
            if block["is_error"].is_null() {
                block["is_error"] = json!(false);
            }
            if let Some(text) = block["content"].as_str() {
                block["content"] = json!([{"type": "text", "text": text}]);
            }
        }
    }
    messages
}

fn user(blocks: Vec<Value>) -> Value {
    json!({"role": "user", "content": blocks})
}

fn assistant(blocks: Vec<Value>) -> Value {
    json!({"role": "assistant", "content": blocks})
}

#[tokio::test]
async fn a_fresh_turn_sends_the_prompt_and_nothing_else() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")], "end_turn")]).await else {
        return;
    };
    let step = bench.think(vec![said("go")]).await.unwrap();
    assert!(
        matches!(&step.parts[..], [Part::Text { text, .. }] if text == "hello"),
        "{step:?}"
    );
    assert_eq!(
        (step.stop, step.usage.input_tokens, step.usage.output_tokens),
        (StopKind::EndTurn, 11, 7)
    );
    assert_eq!(bench.sink.text, "hello");
    assert_eq!(bench.harness.process_id(), None, "it waits for no results");

    assert_eq!(bench.upstream.conversation(0), [user(vec![text("go")])]);
    let requests = bench.upstream.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["model"], "claude-opus-4-5");
    let offered: Vec<_> = requests[0]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(offered, ["mcp__router__bash", "mcp__router__read"]);
    let system = requests[0]["system"].as_array().unwrap();
    assert!(
        system.iter().any(|block| block["text"] == "You are a test."),
        "{system:?}"
    );
}

#[tokio::test]
async fn results_of_the_log_reach_the_process_that_asked() {
    let replies = vec![
        Reply::Says(vec![text("I look"), bash("toolu_a", "date")], "tool_use"),
        Reply::Says(vec![text("it is late")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("time?")]).await.unwrap();
    assert_eq!(
        called(&first),
        [("toolu_a".into(), "bash".into(), json!({"command": "date"}))]
    );
    let process = bench.harness.process_id().expect("a process that waits");

    let started = Instant::now();
    let second = bench
        .think(vec![said("time?"), spoke(&first), results(&first, &["midnight"])])
        .await
        .unwrap();
    let took = started.elapsed();
    assert!(
        matches!(&second.parts[..], [Part::Text { text, .. }] if text == "it is late"),
        "{second:?}"
    );
    assert_eq!(bench.resting(), Some(process), "the turn is over");
    println!("warm step: {took:?}");

    let expected = [
        user(vec![text("time?")]),
        assistant(vec![text("I look"), bash("toolu_a", "date")]),
        user(vec![result("toolu_a", "midnight")]),
    ];
    assert_eq!(same(bench.upstream.conversation(1)), expected);
    assert_eq!(bench.upstream.requests().len(), 2);
    assert_eq!(bench.starts(), 1, "one process did both steps");
}

#[tokio::test]
async fn parallel_calls_are_answered_together() {
    let calls = vec![
        bash("toolu_a", "one"),
        bash("toolu_b", "two"),
        tool_use("toolu_c", "read", json!({"file_path": "x"})),
    ];
    let replies = vec![
        Reply::Says(calls.clone(), "tool_use"),
        Reply::Says(vec![text("done")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    assert_eq!(called(&first).len(), 3);
    bench
        .think(vec![said("go"), spoke(&first), results(&first, &["1", "2", "3"])])
        .await
        .unwrap();
    let expected = [
        user(vec![text("go")]),
        assistant(calls),
        user(vec![
            result("toolu_a", "1"),
            result("toolu_b", "2"),
            result("toolu_c", "3"),
        ]),
    ];
    assert_eq!(same(bench.upstream.conversation(1)), expected);
    assert_eq!(bench.starts(), 1);
}

#[tokio::test]
async fn a_killed_process_is_replaced_from_the_log_without_a_trace() {
    let call = bash("toolu_a", "make");
    let replies = vec![
        Reply::Says(
            vec![thinking("hm", "sig+/=="), text("I build"), call.clone()],
            "tool_use",
        ),
        Reply::Says(vec![bash("toolu_b", "ls")], "tool_use"),
        Reply::Says(vec![text("built")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("build")]).await.unwrap();
    let process = bench.harness.process_id().unwrap();
    kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL).unwrap();

    let so_far = vec![
        said("build"),
        spoke(&first),
        results(&first, &["settled by the router"]),
    ];
    let second = bench.think(so_far.clone()).await.unwrap();
    let mut expected = vec![
        user(vec![text("build")]),
        assistant(vec![thinking("hm", "sig+/=="), text("I build"), call]),
        user(vec![result("toolu_a", "settled by the router")]),
    ];
    assert_eq!(same(bench.upstream.conversation(1)), expected);
    assert_eq!(bench.upstream.requests().len(), 2, "nothing was asked twice");
    assert_eq!(bench.starts(), 2);

    // The new process goes on like the old one would have.
    let messages = [so_far, vec![spoke(&second), results(&second, &["a b"])]].concat();
    bench.think(messages).await.unwrap();
    expected.extend([
        assistant(vec![bash("toolu_b", "ls")]),
        user(vec![result("toolu_b", "a b")]),
    ]);
    assert_eq!(same(bench.upstream.conversation(2)), expected);
    assert_eq!(bench.starts(), 2);
}

#[tokio::test]
async fn thinking_goes_back_with_its_signature() {
    let said_first = vec![thinking("let me see", "c2ln+/=="), bash("toolu_a", "date")];
    let replies = vec![
        Reply::Says(said_first.clone(), "tool_use"),
        Reply::Says(vec![text("done")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    assert!(matches!(&first.parts[0], Part::Thinking { native, .. } if native.provider == "anthropic"));
    bench
        .think(vec![said("go"), spoke(&first), results(&first, &["x"])])
        .await
        .unwrap();
    assert_eq!(bench.upstream.conversation(1)[1], assistant(said_first));
}

#[tokio::test]
async fn a_word_in_mid_turn_starts_from_the_log() {
    let replies = vec![
        Reply::Says(vec![bash("toolu_a", "date")], "tool_use"),
        Reply::Says(vec![text("understood")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    let process = bench.harness.process_id().unwrap();
    let mut heard = results(&first, &["x"]);
    heard.parts.extend(said("rather not").parts);
    bench.think(vec![said("go"), spoke(&first), heard]).await.unwrap();
    assert!(!bench::is_alive(process));
    let last = user(vec![result("toolu_a", "x"), text("rather not")]);
    let sent = same(bench.upstream.conversation(1));
    assert_eq!(sent[2..], [last]);
    assert_eq!(bench.starts(), 2);
}

#[tokio::test]
async fn the_next_turn_is_the_whole_conversation() {
    let replies = vec![
        Reply::Says(vec![text("one")], "end_turn"),
        Reply::Says(vec![text("two")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("a")]).await.unwrap();
    bench.think(vec![said("a"), spoke(&first), said("b")]).await.unwrap();
    let expected = [
        user(vec![text("a")]),
        assistant(vec![text("one")]),
        user(vec![text("b")]),
    ];
    assert_eq!(bench.upstream.conversation(1), expected);
}

#[tokio::test]
async fn a_history_of_250_messages_is_sent_as_it_is() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("done")], "end_turn")]).await else {
        return;
    };
    let (mut log, mut expected) = (Vec::new(), Vec::new());
    for n in 0..62 {
        let call = vec![text(&format!("I look {n}")), bash(&format!("toolu_{n}"), "date")];
        let (asks, ends) = (
            bench::step(call.clone()),
            bench::step(vec![text(&format!("it is {n}"))]),
        );
        log.extend([
            said(&format!("time {n}?")),
            spoke(&asks),
            results(&asks, &["noon"]),
            spoke(&ends),
        ]);
        expected.extend([
            user(vec![text(&format!("time {n}?"))]),
            assistant(call),
            user(vec![result(&format!("toolu_{n}"), "noon")]),
            assistant(vec![text(&format!("it is {n}"))]),
        ]);
    }
    log.extend([said("and now?")]);
    expected.extend([user(vec![text("and now?")])]);
    bench.think(log).await.unwrap();
    assert_eq!(same(bench.upstream.conversation(0)), expected);
}

#[tokio::test]
async fn a_long_result_arrives_whole() {
    let long = "all work and no play\n".repeat(12_000);
    let replies = vec![
        Reply::Says(vec![bash("toolu_a", "cat")], "tool_use"),
        Reply::Says(vec![text("long")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    bench
        .think(vec![said("go"), spoke(&first), results(&first, &[&long])])
        .await
        .unwrap();
    let sent = same(bench.upstream.conversation(1));
    let got = sent[2]["content"][0]["content"][0]["text"].as_str().unwrap();
    assert_eq!(
        (got.len(), got == long),
        (long.len(), true),
        "{}",
        &got[..200.min(got.len())]
    );
    assert_eq!(bench.starts(), 1);
}

#[tokio::test]
async fn what_a_result_says_does_not_depend_on_the_way_it_takes() {
    let call = || Reply::Says(vec![bash("toolu_a", "true")], "tool_use");
    let done = || Reply::Says(vec![text("done")], "end_turn");
    for output in ["", " ", "<persisted-output>", "two\n\nlines\n", "\u{1b}[31mred\u{fffd}"] {
        let Some(mut live) = Bench::open(vec![call(), done()]).await else {
            return;
        };
        let first = live.think(vec![said("go")]).await.unwrap();
        let messages = vec![said("go"), spoke(&first), results(&first, &[output])];
        live.think(messages.clone()).await.unwrap();
        let Some(mut fresh) = Bench::open(vec![done()]).await else {
            return;
        };
        fresh.think(messages).await.unwrap();
        assert_eq!(
            same(live.upstream.conversation(1)),
            same(fresh.upstream.conversation(0)),
            "{output:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_may_have_no_system_prompt_and_another_effort() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")], "end_turn")]).await else {
        return;
    };
    bench.agent.system = None;
    bench.agent.model.effort = Some(serde_json::from_str(r#"{"type": "low"}"#).unwrap());
    bench.think(vec![said("go")]).await.unwrap();
    assert_eq!(bench.upstream.conversation(0), [user(vec![text("go")])]);
    assert_eq!(bench.upstream.requests()[0]["output_config"]["effort"], "low");
}

#[tokio::test]
async fn a_call_of_a_tool_that_does_not_exist_is_answered_by_the_log() {
    let ghost = tool_use("toolu_a", "ghost", json!({}));
    let replies = vec![
        Reply::Says(vec![ghost.clone()], "tool_use"),
        Reply::Says(vec![text("sorry")], "end_turn"),
        // For the process that is ended: it may be quick enough to ask once more.
        Reply::Says(vec![text("sorry")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    assert_eq!(called(&first)[0].1, "ghost");
    assert_eq!(bench.harness.process_id(), None, "the harness would answer it itself");
    bench
        .think(vec![
            said("go"),
            spoke(&first),
            results(&first, &["there is no such tool"]),
        ])
        .await
        .unwrap();
    let requests = bench.upstream.requests().len();
    let last = bench.upstream.conversation(requests - 1);
    let expected = [
        assistant(vec![ghost]),
        user(vec![result("toolu_a", "there is no such tool")]),
    ];
    assert_eq!(same(last)[1..], expected);
}

#[tokio::test]
async fn a_full_answer_is_not_followed_by_prompts_of_the_harness() {
    let replies = vec![
        Reply::Says(vec![text("and so on")], "max_tokens"),
        Reply::Says(vec![text("no")], "end_turn"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let step = bench.think(vec![said("go")]).await.unwrap();
    assert_eq!(step.stop, StopKind::MaxTokens);
    assert!(
        matches!(&step.parts[..], [Part::Text { text, .. }] if text == "and so on"),
        "{step:?}"
    );
    assert_eq!(bench.harness.process_id(), None);
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("no")], "refusal")]).await else {
        return;
    };
    let step = bench.think(vec![said("go")]).await.unwrap();
    assert_eq!(step.stop, StopKind::Refusal);
    assert_eq!(bench.upstream.requests().len(), 1, "no other model is asked");
}

#[tokio::test]
async fn giving_up_a_step_ends_the_process() {
    let Some(mut bench) = Bench::open(vec![Reply::Hangs]).await else {
        return;
    };
    let upstream = bench.upstream.clone();
    tokio::select! {
        step = bench.think(vec![said("go")]) => panic!("{step:?}"),
        () = upstream.asked(1) => {}
    }
    upstream.hung_up().await;
    bench.harness.close().await;
    let buried = async {
        while bench.homes() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), buried).await.unwrap();
}

#[tokio::test]
async fn closing_ends_a_waiting_process() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![bash("toolu_a", "x")], "tool_use")]).await else {
        return;
    };
    bench.think(vec![said("go")]).await.unwrap();
    let process = bench.harness.process_id().unwrap();
    assert!(bench::is_alive(process));
    assert_eq!(bench.homes(), 1);
    bench.harness.close().await;
    assert!(!bench::is_alive(process));
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn a_process_without_our_tools_fails_the_attempt() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")], "end_turn")]).await else {
        return;
    };
    bench.tools = [tools(), vec![broken_tool()]].concat();
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::McpConnectionFailedError, "{error}");
    assert!(error.retryable);
    assert_eq!(bench.sink.text, "", "nothing of such a turn is shown");
}

#[tokio::test]
async fn it_sees_neither_our_environment_nor_our_files() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![bash("toolu_a", "x")], "tool_use")]).await else {
        return;
    };
    bench.think(vec![said("go")]).await.unwrap();
    let inner = bench::descendants(bench.harness.process_id().unwrap());
    let Some(claude) = inner.into_iter().find(|process| bench::name(*process) == "claude") else {
        println!("NOT RUN: bubblewrap does not work here");
        return;
    };
    let proc = std::path::PathBuf::from(format!("/proc/{claude}"));
    let environment = std::fs::read_to_string(proc.join("environ")).unwrap();
    let ours = |name: &str| {
        environment
            .split('\0')
            .any(|entry| entry.starts_with(&format!("{name}=")))
    };
    assert!(
        ours("ANTHROPIC_API_KEY") && !ours("CARGO_MANIFEST_DIR"),
        "it starts from an empty environment"
    );
    let root = proc.join("root");
    assert!(root.join("session/projects").exists());
    let seen = |path: &str| root.join(path.trim_start_matches('/')).exists();
    assert!(!seen(env!("CARGO_MANIFEST_DIR")) && !seen("/root") && !seen("/home") && !seen("/etc/shadow"));
    assert_eq!(std::fs::read_dir(root.join("session/work")).unwrap().count(), 0);
    bench.harness.close().await;
}

#[tokio::test]
async fn it_runs_without_bubblewrap_too() {
    let replies = vec![
        Reply::Says(vec![bash("toolu_a", "date")], "tool_use"),
        Reply::Says(vec![text("done")], "end_turn"),
    ];
    let Some(mut bench) = Bench::uncontained(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    bench
        .think(vec![said("go"), spoke(&first), results(&first, &["x"])])
        .await
        .unwrap();
    assert_eq!(
        same(bench.upstream.conversation(1))[2..],
        [user(vec![result("toolu_a", "x")])]
    );
}
