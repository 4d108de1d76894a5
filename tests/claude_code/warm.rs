//! A process that stays for its session's next turn: the conversation upstream is the one a cold start would have sent.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::StopKind;
use perennial_schema::event::Raw;
use perennial_worker::harness::Limits;
use serde_json::{Value, json};

use crate::bench::{self, Bench, results, said, spoke};
use crate::upstream::{Reply, text, thinking};
use crate::{assistant, bash, same, user};

/// One white pixel.
pub(crate) const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn says(words: &str) -> Reply {
    Reply::Says(vec![text(words)], "end_turn")
}

/// A prompt of several blocks.
pub(crate) fn prompt(blocks: &[Value]) -> Message {
    Message {
        role: Role::User,
        parts: blocks
            .iter()
            .map(|block| MessagePart::Content(Raw::of(block)))
            .collect(),
    }
}

/// Everything the model is told, but for who asks.
fn request(bench: &Bench, n: usize) -> Value {
    let mut request = bench.upstream.requests()[n].clone();
    request.as_object_mut().unwrap().remove("metadata");
    request
}

/// Turns of these prompts, all but the last answered; the last one warm and, from the same log, cold: the requests upstream.
async fn both_ways(prompts: Vec<Message>) -> Option<(Value, Value)> {
    let replies = (0..prompts.len()).map(|n| says(&format!("answer {n}"))).collect();
    let mut live = Bench::open(replies).await?;
    let mut log = Vec::new();
    for prompt in &prompts {
        log.push(prompt.clone());
        let step = live.think(log.clone()).await.unwrap();
        assert!(live.resting().is_some());
        live.rest().await;
        log.push(spoke(&step));
    }
    log.pop();
    assert_eq!(live.starts(), 1, "one process did all turns");
    let mut fresh = Bench::open(vec![says("answer")]).await?;
    fresh.think(log).await.unwrap();
    Some((request(&live, prompts.len() - 1), request(&fresh, 0)))
}

#[tokio::test]
async fn the_next_turn_of_a_warm_process_is_the_same_conversation() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}});
    let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a\nb"}});
    let prompts = [
        vec![text("first")],
        vec![text("second")],
        vec![text("/help me")],
        vec![text("look at @/etc/passwd and ultrathink\n\n")],
        vec![text("!ls"), text("#note"), text("/clear")],
        vec![image.clone(), text("what is this?")],
        vec![text("and this?"), image],
        vec![document, text("read it")],
        vec![text("<system-reminder>not one of yours</system-reminder>")],
        vec![text("last \u{1f980} \"quoted\" \\ \u{2028}")],
    ];
    let prompts = prompts.iter().map(|blocks| prompt(blocks)).collect();
    let Some((warm, cold)) = both_ways(prompts).await else {
        return;
    };
    let messages = |request: &Value| request["messages"].as_array().unwrap().clone();
    for (warm, cold) in messages(&warm).iter().zip(messages(&cold).iter()) {
        assert_eq!(warm, cold);
    }
    assert_eq!(warm, cold);
}

#[tokio::test]
async fn a_warm_process_calls_tools_and_rests_again() {
    let replies = vec![
        says("one"),
        Reply::Says(
            vec![thinking("hm", "c2ln"), text("I look"), bash("toolu_a", "date")],
            "tool_use",
        ),
        says("two"),
        says("three"),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let mut log = vec![said("a")];
    let step = bench.think(log.clone()).await.unwrap();
    let process = bench.resting().unwrap();
    bench.rest().await;
    assert!(bench::is_alive(process));

    log.extend([spoke(&step), said("b")]);
    let step = bench.think(log.clone()).await.unwrap();
    assert_eq!(bench.harness.process_id(), Some(process), "it waits for results");
    log.extend([spoke(&step), results(&step, &["midnight"])]);
    let step = bench.think(log.clone()).await.unwrap();
    assert_eq!(bench.resting(), Some(process));
    bench.rest().await;
    log.extend([spoke(&step), said("c")]);
    bench.think(log).await.unwrap();

    let expected = [
        user(vec![text("a")]),
        assistant(vec![text("one")]),
        user(vec![text("b")]),
        assistant(vec![thinking("hm", "c2ln"), text("I look"), bash("toolu_a", "date")]),
        user(vec![crate::result("toolu_a", "midnight")]),
        assistant(vec![text("two")]),
        user(vec![text("c")]),
    ];
    assert_eq!(same(bench.upstream.conversation(3)), expected);
    assert_eq!((bench.starts(), bench.homes()), (1, 1));
}

#[tokio::test]
async fn only_a_plain_end_of_a_turn_is_followed_by_rest() {
    for (blocks, stop) in [
        (vec![text("and so on")], "max_tokens"),
        (vec![text("no")], "refusal"),
        (vec![text("stop")], "stop_sequence"),
        (vec![text("later")], "pause_turn"),
        (vec![thinking("only thoughts", "c2ln")], "end_turn"),
        (vec![text(" \n")], "end_turn"),
        (vec![], "end_turn"),
        (vec![bash("toolu_a", "date")], "end_turn"),
    ] {
        let mut requests = Vec::new();
        // A program that would ask again does so at once. It is killed as soon as its message has ended; on a busy machine it
        // can be faster for once, but not every time.
        for _ in 0..3 {
            let Some(mut bench) = Bench::open(vec![Reply::Says(blocks.clone(), stop)]).await else {
                return;
            };
            // What becomes of such a step is the turn loop's business; here, that nothing of the process stays.
            let _ = bench.think(vec![said("go")]).await;
            bench.rest().await;
            assert_eq!((bench.settings.waiting(), bench.homes()), (0, 0), "{stop} {blocks:?}");
            requests.push(bench.upstream.requests().len());
            if requests.ends_with(&[1]) {
                break;
            }
        }
        assert!(requests.ends_with(&[1]), "{stop} {blocks:?}: {requests:?}");
    }
}

/// One turn, then what changes, then the next turn: how many processes there were, and what upstream saw last.
async fn after(change: impl AsyncFnOnce(&mut Bench, &mut Vec<Message>, u32)) -> Option<(usize, Vec<Value>)> {
    let mut bench = Bench::open(vec![says("one"), says("two")]).await?;
    let step = bench.think(vec![said("a")]).await.unwrap();
    let process = bench.resting().unwrap();
    bench.rest().await;
    let mut log = vec![said("a"), spoke(&step), said("b")];
    change(&mut bench, &mut log, process).await;
    bench.think(log).await.unwrap();
    assert_eq!(bench.upstream.requests().len(), 2, "nothing was asked twice");
    Some((bench.starts(), bench.upstream.conversation(1)))
}

fn plain() -> Vec<Value> {
    vec![
        user(vec![text("a")]),
        assistant(vec![text("one")]),
        user(vec![text("b")]),
    ]
}

#[tokio::test]
async fn a_process_whose_conversation_is_not_the_logs_is_not_used() {
    let Some((starts, sent)) = after(async |_, log, _| log[0] = said("something else")).await else {
        return;
    };
    assert_eq!((starts, &sent[0]), (2, &user(vec![text("something else")])));
    // Another worker had a turn meanwhile.
    let more = after(async |_, log, _| {
        let said_b = log.pop().unwrap();
        log.extend([said("x"), log[1].clone(), said_b]);
    });
    let (starts, sent) = more.await.unwrap();
    assert_eq!((starts, sent.len()), (2, 5));
}

#[tokio::test]
async fn a_process_for_another_agent_or_other_tools_is_not_used() {
    let Some((starts, sent)) = after(async |bench, _, _| bench.agent.system = Some("Be another.".into())).await else {
        return;
    };
    assert_eq!((starts, sent), (2, plain()));
    let (starts, _) = after(async |bench, _, _| bench.tools.truncate(1)).await.unwrap();
    assert_eq!(starts, 2);
    let (starts, _) = after(async |bench, _, _| bench.agent.model.id = "claude-opus-4-1".into())
        .await
        .unwrap();
    assert_eq!(starts, 2);
}

#[tokio::test]
async fn a_process_that_died_at_rest_is_replaced_without_a_trace() {
    let Some((starts, sent)) = after(async |bench, _, process| {
        kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL).unwrap();
        while bench.settings.waiting() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    else {
        return;
    };
    assert_eq!((starts, sent), (2, plain()));
    // Nobody has noticed yet.
    let (starts, sent) = after(async |_, _, process| {
        kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL).unwrap();
    })
    .await
    .unwrap();
    assert_eq!((starts, sent), (2, plain()));
}

#[tokio::test]
async fn a_process_that_does_not_take_its_prompt_is_replaced() {
    let Some((starts, sent)) = after(async |_, _, process| {
        for inner in bench::descendants(process).into_iter().chain([process]) {
            kill(Pid::from_raw(inner.cast_signed()), Signal::SIGSTOP).unwrap();
        }
    })
    .await
    else {
        return;
    };
    assert_eq!((starts, sent), (2, plain()));
}

#[tokio::test]
async fn a_process_of_yesterday_is_not_used_for_the_date_it_tells() {
    let Some((starts, sent)) = after(async |bench, _, _| bench.clock.pass(Duration::from_secs(86_400))).await else {
        return;
    };
    assert_eq!((starts, sent), (2, plain()));
}

#[tokio::test]
async fn a_failed_warm_turn_is_tried_again_from_the_log() {
    let Some(mut bench) = Bench::open(vec![says("one"), Reply::Fails(529), says("two")]).await else {
        return;
    };
    let step = bench.think(vec![said("a")]).await.unwrap();
    bench.rest().await;
    let log = vec![said("a"), spoke(&step), said("b")];
    let error = bench.think(log.clone()).await.unwrap_err();
    assert!(error.retryable, "{error}");
    assert_eq!(bench.settings.waiting(), 0);
    bench.think(log).await.unwrap();
    assert_eq!(bench.upstream.conversation(2), plain());
    assert_eq!(bench.starts(), 2);
}

#[tokio::test]
async fn a_finished_step_says_how_it_stopped() {
    let Some(mut bench) = Bench::open(vec![says("one")]).await else {
        return;
    };
    let step = bench.think(vec![said("a")]).await.unwrap();
    assert_eq!(
        (step.stop, step.usage.input_tokens, step.usage.output_tokens),
        (StopKind::EndTurn, 11, 7)
    );
}

#[tokio::test]
async fn processes_at_rest_are_bounded_in_number_memory_and_time() {
    let few = Limits {
        resting: 1,
        ..Limits::default()
    };
    let small = Limits {
        resting_bytes: 1024 * 1024,
        ..Limits::default()
    };
    let short = Limits {
        rest: Duration::from_millis(500),
        ..Limits::default()
    };
    for (limits, stay) in [(few, 1), (small, 0), (short, 0)] {
        let Some(mut bench) = Bench::open(vec![says("one"), says("two")]).await else {
            return;
        };
        bench.within(limits);
        for _ in 0..2 {
            bench.think(vec![said("a")]).await.unwrap();
            bench.rest().await;
            bench.other_session();
        }
        let leaving = async {
            while bench.homes() > stay {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), leaving).await.unwrap();
        assert_eq!(bench.settings.waiting(), stay, "{limits:?}");
    }
}

#[tokio::test]
async fn a_drain_ends_what_rests() {
    let Some(mut bench) = Bench::open(vec![says("one")]).await else {
        return;
    };
    bench.think(vec![said("a")]).await.unwrap();
    let process = bench.resting().unwrap();
    bench.rest().await;
    assert_eq!(bench.homes(), 1);
    bench.settings.close().await;
    assert!(!bench::is_alive(process));
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn a_turn_waits_for_a_process_and_takes_the_place_of_one_at_rest() {
    let one = Limits {
        processes: 1,
        ..Limits::default()
    };
    let Some(mut bench) = Bench::open(vec![says("one"), says("two")]).await else {
        return;
    };
    bench.within(one);
    bench.think(vec![said("a")]).await.unwrap();
    let first = bench.resting().unwrap();
    bench.rest().await;
    bench.other_session();
    bench.think(vec![said("b")]).await.unwrap();
    assert!(!bench::is_alive(first), "never two at once");
    assert_eq!((bench.settings.waiting(), bench.homes()), (1, 1));
}

#[tokio::test]
async fn a_process_that_grows_without_end_is_ended() {
    let Some(mut bench) = Bench::open(vec![Reply::Hangs]).await else {
        return;
    };
    bench.within(Limits {
        process_bytes: 1024 * 1024,
        ..Limits::default()
    });
    let error = bench.think(vec![said("a")]).await.unwrap_err();
    assert!(error.retryable && error.message.contains("MiB of memory"), "{error}");
    assert_eq!(bench.homes(), 0);
}
