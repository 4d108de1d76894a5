//! SIGKILL of the harness process alone, at random moments: nothing is asked twice behind the log's back, no call is lost,
//! and what is asked next is the log. (The worker's own death: `tests/harness_rig`.)

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_engine::kernel::Message;
use perennial_engine::ports::{ModelStep, Part};
use rand::Rng;
use serde_json::json;

use crate::bench::{Bench, family, results, said, spoke};
use crate::upstream::{Reply, call, output, reasoning, text, user};

/// Kills a process and everything below it.
pub(crate) fn kill_family(process: u32) {
    for process in family(process) {
        let _ = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
    }
}

fn rounds() -> usize {
    let torture = std::env::var("PERENNIAL_TORTURE").is_ok_and(|value| value == "1");
    if torture { 100 } else { 10 }
}

/// One step, tried again as the turn loop would.
async fn step(bench: &mut Bench, messages: &[Message]) -> (ModelStep, usize) {
    for failures in 0.. {
        match bench.think(messages.to_vec()).await {
            Ok(step) => return (step, failures),
            Err(error) => assert!(error.retryable && failures < 5, "{error}"),
        }
    }
    unreachable!("the loop above is endless")
}

#[tokio::test]
async fn the_process_may_die_at_any_moment() {
    let Some(mut bench) = Bench::open(Vec::new()).await else {
        return;
    };
    let bash = |id: &str| call(id, "bash", &json!({"command": id}));
    let mut failed = 0;
    for round in 0..rounds() {
        let conversation = bench.upstream.requests().len();
        // A killed attempt may use up an answer; the same one comes again.
        for _ in 0..3 {
            bench.upstream.push(Reply::Says(vec![
                reasoning("rs_1", "c2Vj"),
                bash("call_a"),
                bash("call_b"),
            ]));
        }
        let messages = vec![said(&format!("round {round}"))];
        let (first, failures) = tokio::join!(step_killed(&mut bench, &messages, random(60)), async {}).0;
        failed += failures;
        assert_eq!(
            first
                .parts
                .iter()
                .filter(|part| matches!(part, Part::ToolUse { .. }))
                .count(),
            2
        );

        bench.upstream.clear();
        for _ in 0..3 {
            bench.upstream.push(Reply::Says(vec![text("done")]));
        }
        if let Some(process) = bench.harness.process_id().await
            && round % 2 == 0
        {
            kill_family(process);
        }
        let messages = [messages, vec![spoke(&first), results(&first, &["a", "b"])]].concat();
        let (_, failures) = step_killed(&mut bench, &messages, random(30)).await;
        failed += failures;
        bench.upstream.clear();

        let expected = [
            user(&format!("round {round}")),
            reasoning("rs_1", "c2Vj"),
            bash("call_a"),
            bash("call_b"),
            output("call_a", "a"),
            output("call_b", "b"),
        ];
        for n in conversation..bench.upstream.requests().len() {
            let sent = bench.upstream.conversation(n);
            assert!(
                sent[1..] == expected || sent[1..] == expected[..1],
                "round {round}: neither the log before the call nor after it: {sent:?}"
            );
        }
    }
    assert_eq!(bench.upstream.violations(), Vec::<String>::new());
    println!(
        "{} kills of the process, {failed} attempts failed and were made again",
        rounds() * 2
    );
}

fn random(below_millis: u64) -> Duration {
    Duration::from_micros(rand::rng().random_range(0..below_millis * 1_000))
}

/// A step while the process is killed after a while.
async fn step_killed(bench: &mut Bench, messages: &[Message], after: Duration) -> (ModelStep, usize) {
    let settings = bench.another_session();
    let killer = tokio::spawn(async move {
        tokio::time::sleep(after).await;
        if let Some(process) = settings.harness.process_id().await {
            kill_family(process);
        }
    });
    let outcome = step(bench, messages).await;
    killer.await.unwrap();
    outcome
}
