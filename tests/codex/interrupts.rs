//! Interrupts: in the middle of a text, in a call, before the model answers. What runs is dropped at once, and the session's
//! next step is asked as if nothing had been.

use std::time::Instant;

use perennial_worker::harness::Harness;
use serde_json::json;

use crate::bench::{Bench, eventually, results, said, spoke};
use crate::upstream::{Reply, call, output, system, text, user};

#[tokio::test]
async fn giving_up_a_step_drops_its_request() {
    for reply in [Reply::Hangs, Reply::Stalls] {
        let Some(mut bench) = Bench::open(vec![reply, Reply::Says(vec![text("else")])]).await else {
            return;
        };
        let upstream = bench.upstream.clone();
        let asked = Instant::now();
        tokio::select! {
            step = bench.think(vec![said("go")]) => panic!("{step:?}"),
            () = upstream.asked(1) => {}
        }
        upstream.hung_up().await;
        println!("given up {:?} after it was asked", asked.elapsed());
        bench.harness.close().await;
        bench.deserted().await;
        // The same session goes on at once, with the same process.
        let process = bench.harness.process_id().await;
        bench.think(vec![said("go"), said("something else")]).await.unwrap();
        assert_eq!(
            bench.upstream.conversation(1),
            [system("You are a test."), user("go"), user("something else")]
        );
        assert_eq!(bench.harness.process_id().await, process);
    }
}

#[tokio::test]
async fn the_next_step_need_not_wait_for_the_end_of_the_last() {
    let Some(mut bench) = Bench::open(vec![Reply::Hangs, Reply::Says(vec![text("else")])]).await else {
        return;
    };
    let upstream = bench.upstream.clone();
    tokio::select! {
        step = bench.think(vec![said("go")]) => panic!("{step:?}"),
        () = upstream.asked(1) => {}
    }
    // Codex still knows the thread: to resume it now would be to join it.
    bench.another_drive();
    bench.think(vec![said("go"), said("now")]).await.unwrap();
    assert_eq!(bench.upstream.conversation(1)[1..], [user("go"), user("now")]);
    assert_eq!(bench.upstream.requests().len(), 2);
}

#[tokio::test]
async fn an_interrupt_in_a_call_ends_the_thread_and_asks_nothing() {
    let bash = call("call_a", "bash", &json!({"command": "sleep"}));
    let replies = vec![Reply::Says(vec![bash.clone()]), Reply::Says(vec![text("fine")])];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    bench.harness.close().await;
    bench.deserted().await;
    assert_eq!(bench.upstream.requests().len(), 1);
    let mut heard = results(&first, &["interrupted"]);
    heard.parts.extend(said("what now?").parts);
    bench.think(vec![said("go"), spoke(&first), heard]).await.unwrap();
    let expected = [bash, output("call_a", "interrupted"), user("what now?")];
    assert_eq!(
        bench.upstream.conversation(1)[2..],
        expected,
        "no words of Codex about an abort"
    );
}

#[tokio::test]
async fn dropping_everything_ends_the_process() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")])]).await else {
        return;
    };
    bench.think(vec![said("go")]).await.unwrap();
    bench.deserted().await;
    let process = bench.harness.process_id().await.unwrap();
    assert!(crate::bench::is_alive(process), "it stays for the next turn");
    assert_eq!(bench.homes(), 1);
    let scratch = bench.give_up();
    eventually(|| !crate::bench::is_alive(process) && std::fs::read_dir(scratch.path()).unwrap().count() == 0).await;
}
