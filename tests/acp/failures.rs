//! What goes wrong, and what is said about it.

use std::time::Duration;

use perennial_engine::ports::{ModelError, StopKind};
use perennial_worker::harness::Limits;

use crate::bench::{Bench, lives, said, shown};

const MIB: u64 = 1024 * 1024;

async fn failure(mode: &str) -> (Bench, ModelError) {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", mode);
    bench.set(|settings| {
        settings.starting = Duration::from_secs(10);
        settings.silence = Duration::from_secs(10);
        settings.step_bytes = MIB;
        match mode {
            "mute" => settings.starting = Duration::from_millis(700),
            "silent" => settings.silence = Duration::from_millis(700),
            "endless" => settings.step_bytes = u64::MAX,
            _ => {}
        }
        *settings = settings.clone().within(Limits {
            process_bytes: 128 * MIB,
            ..Limits::default()
        });
    });
    let error = bench.think(&[said("/say hi")]).await.unwrap_err();
    (bench, error)
}

async fn check(cases: &[(&str, bool, &str)]) {
    for (mode, retryable, says) in cases {
        let (bench, error) = failure(mode).await;
        assert_eq!(error.retryable, *retryable, "{mode}: {error}");
        assert!(
            error.message.contains(says) && error.message.contains("acp:tester"),
            "{mode}: {error}"
        );
        assert_eq!(bench.homes(), 0, "{mode}");
    }
}

#[tokio::test]
async fn each_failure_is_told_so_that_a_person_understands() {
    check(&[
        ("no-http", false, "takes no MCP server over HTTP"),
        ("old", false, "does not speak version 1"),
        ("auth", false, "[acp.tester] env"),
        ("fails", true, "the model is on holiday"),
        ("dies", true, "exit status: 3; no reason to live"),
        ("breaks", true, "exit status: 4; this is too much"),
    ])
    .await;
}

#[tokio::test]
async fn who_hangs_is_given_up() {
    check(&[
        ("mute", true, "did not greet within"),
        ("silent", true, "said nothing for"),
    ])
    .await;
}

#[tokio::test]
async fn who_says_or_takes_too_much_is_ended() {
    check(&[
        ("floods", true, "KiB for one step"),
        ("endless", true, "a line is longer than"),
        ("swells", true, "MiB of memory"),
    ])
    .await;
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", "refuses");
    let step = bench.think(&[said("/say no")]).await.unwrap();
    assert_eq!((shown(&step).as_str(), step.stop), ("no", StopKind::Refusal));
}

#[tokio::test]
async fn lines_that_are_no_messages_are_passed_over() {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", "banner");
    assert_eq!(shown(&bench.think(&[said("/say hi")]).await.unwrap()), "hi");
}

#[tokio::test]
async fn an_agent_without_tools_needs_no_mcp() {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", "no-http");
    bench.tools.clear();
    assert_eq!(shown(&bench.think(&[said("/say hi")]).await.unwrap()), "hi");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_and_not_tried_again() {
    for contained in [true, false] {
        let mut bench = Bench::with("x", "/nowhere/agent".into(), "http://127.0.0.1:9");
        if !contained {
            bench.set(|settings| settings.bubblewrap = None);
        }
        let error = bench.think(&[said("hi")]).await.unwrap_err();
        assert!(!error.retryable, "{error}");
        assert!(error.message.contains("acp:x (/nowhere/agent)"), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_speaks_something_else_is_named_with_its_last_words() {
    // The second one echoes what it is told, which is no answer.
    for (arguments, says) in [(vec!["/nowhere".to_owned()], "No such file"), (Vec::new(), "acp:x")] {
        let mut bench = Bench::with("x", "/bin/cat".into(), "http://127.0.0.1:9");
        bench.set(|settings| {
            settings.arguments = arguments;
            settings.starting = Duration::from_secs(2);
        });
        let error = bench.think(&[said("hi")]).await.unwrap_err();
        assert!(
            error.message.contains("acp:x") && error.message.contains(says),
            "{error}"
        );
        assert_eq!(bench.homes(), 0);
    }
}

#[tokio::test]
async fn what_an_agent_started_goes_with_it() {
    let mut bench = Bench::open();
    bench.set(|settings| settings.bubblewrap = None);
    let step = bench.think(&[said("/say $CHILD\n/tool bash {}")]).await.unwrap();
    let told = shown(&step);
    let child: u32 = told.split_once(' ').unwrap().0.parse().unwrap();
    let agent = bench.harness.process_id().unwrap();
    assert!(lives(child) && lives(agent));
    perennial_worker::harness::Harness::close(&mut bench.harness).await;
    assert!(!lives(child) && !lives(agent));
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn no_more_processes_run_than_may() {
    let mut first = Bench::open();
    first.set(|settings| {
        *settings = settings.clone().within(Limits {
            processes: 1,
            ..Limits::default()
        });
    });
    first.think(&[said("/tool bash {}")]).await.unwrap();
    let mut second = first.another();
    let asked = [said("/say hi")];
    let mut thinking = std::pin::pin!(second.think(&asked));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut thinking).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    perennial_worker::harness::Harness::close(&mut first.harness).await;
    assert_eq!(shown(&thinking.await.unwrap()), "hi");
}
