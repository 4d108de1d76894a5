//! Turns, results, recovery.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_engine::ports::{Part, StopKind};
use perennial_worker::harness::Harness;

use crate::bench::{Bench, lives, results, said, shown, spoke};

#[tokio::test]
async fn a_turn_without_tools_leaves_nothing_behind() {
    let mut bench = Bench::open();
    let step = bench.think(&[said("/think hm\n/say hello\n/tokens 2")]).await.unwrap();
    assert_eq!((shown(&step).as_str(), step.stop), ("~ hello 1 2", StopKind::EndTurn));
    assert_eq!(bench.sink.text, "hello 1 2");
    assert_eq!(step.usage.output_tokens, 0, "unknown");
    assert_eq!((bench.harness.process_id(), bench.homes()), (None, 0));
}

#[tokio::test]
async fn calls_made_together_are_one_step_and_their_results_reach_the_process_that_asked() {
    let mut bench = Bench::open();
    let script = said(
        "/say look\n/tool bash {\"command\": \"ls\"}\n/tool read {\"path\": \"x\"}\n/then\n/tool read {\"path\": \"y\"}\n/say done",
    );
    let mut messages = vec![script];
    let first = bench.think(&messages).await.unwrap();
    let both = shown(&first);
    let (bash, read) = (r#"bash{"command":"ls"}"#, r#"read{"path":"x"}"#);
    assert!(
        both == format!("look {bash} {read}") || both == format!("look {read} {bash}"),
        "{both}"
    );
    let process = bench.harness.process_id().expect("it waits for results");
    let ids: Vec<&str> = first
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolUse { native_id, .. } => Some(native_id.as_str()),
            _ => None,
        })
        .collect();
    assert!(ids[0] != ids[1] && ids[0].starts_with("acp_"), "{ids:?}");

    messages.extend([spoke(&first), results(&first)]);
    let second = bench.think(&messages).await.unwrap();
    let second_shown = shown(&second);
    assert!(
        second_shown.contains("bash-") && second_shown.contains("read-"),
        "{second_shown}"
    );
    assert!(second_shown.ends_with(r#"read{"path":"y"}"#), "{second_shown}");
    assert_eq!(bench.harness.process_id(), Some(process), "the same process goes on");

    messages.extend([spoke(&second), results(&second)]);
    let third = bench.think(&messages).await.unwrap();
    assert_eq!(shown(&third), "<read-0>done");
    assert_eq!((bench.harness.process_id(), bench.homes()), (None, 0));
}

#[tokio::test]
async fn a_killed_process_is_followed_by_one_that_reads_the_record() {
    let mut bench = Bench::open();
    let mut messages = vec![said(
        "/tool bash {\"command\": \"once\"}\n/then\n/say I was told $PROMPT",
    )];
    let first = bench.think(&messages).await.unwrap();
    let process = bench.harness.process_id().unwrap();
    kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL).unwrap();
    messages.extend([spoke(&first), results(&first)]);
    // The wall dies first, and takes the agent with it a moment later.
    bench.until_gone().await;
    let second = bench.think(&messages).await.unwrap();
    let told = shown(&second);
    assert!(told.starts_with("I was told"), "no call is made again: {told}");
    for line in [
        "[you used the tool bash]\n| {\"command\":\"once\"}",
        "[bash answered]\n| bash-0",
        "Go on from",
    ] {
        assert!(told.contains(line), "{line} is missing in {told}");
    }
}

#[tokio::test]
async fn the_next_turn_is_told_the_past_and_then_what_is_new() {
    let mut bench = Bench::open();
    bench.agent.system = Some("You are a test.".into());
    let mut messages = vec![said("/say first")];
    let first = bench.think(&messages).await.unwrap();
    messages.extend([spoke(&first), said("/say told: $PROMPT")]);
    let told = shown(&bench.think(&messages).await.unwrap());
    assert!(
        told.starts_with("told: You are a test.\n\nThis conversation was held"),
        "{told}"
    );
    assert!(
        told.contains("[user]\n| /say first\n[you]\n| first\n</record>\n\nNow the user says:\n/say told"),
        "{told}"
    );
}

#[tokio::test]
async fn words_in_mid_turn_start_it_again_with_them() {
    let mut bench = Bench::open();
    let mut messages = vec![said("/tool bash {}\n/then\n/say never")];
    let first = bench.think(&messages).await.unwrap();
    let process = bench.harness.process_id().unwrap();
    let mut steered = results(&first);
    steered.parts.extend(said("/say other").parts);
    messages.extend([spoke(&first), steered]);
    let step = bench.think(&messages).await.unwrap();
    assert!(!shown(&step).contains("<bash-0>"), "{}", shown(&step));
    assert!(!lives(process), "the first one is gone");
}

#[tokio::test]
async fn an_interrupt_tells_the_agent_and_ends_it() {
    let mut bench = Bench::open();
    let trace = bench.scratch.path().join("trace");
    bench.set(|settings| settings.bubblewrap = None);
    bench.variable("AGENT_TRACE", trace.to_str().unwrap());
    let messages = [said("/say waiting\n/sleep 60000")];
    let noted = async |what: &str| {
        while std::fs::read_to_string(&trace).unwrap_or_default() != what {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = bench.think(&messages) => panic!("it ended: {ended:?}"),
        () = noted("waiting") => {}
    }
    let ended = async {
        noted("cancelled").await;
        while bench.homes() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
}

#[tokio::test]
async fn closing_a_parked_turn_tells_the_agent_too() {
    let mut bench = Bench::open();
    let trace = bench.scratch.path().join("trace");
    bench.set(|settings| settings.bubblewrap = None);
    bench.variable("AGENT_TRACE", trace.to_str().unwrap());
    bench.think(&[said("/tool bash {}\n/say x")]).await.unwrap();
    bench.harness.close().await;
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "cancelled");
    assert_eq!(
        (bench.harness.process_id(), bench.homes()),
        (None, 1),
        "only the trace is left"
    );
}

#[tokio::test]
async fn words_that_are_late_stand_before_the_call_they_belong_to() {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", "late");
    let step = bench.think(&[said("/say look\n/tool bash {}")]).await.unwrap();
    assert_eq!(shown(&step), "look bash{}");
}

#[tokio::test]
async fn an_agent_that_does_not_wait_is_followed_by_one_that_reads_the_result() {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", "impatient");
    let mut messages = vec![said("/say $STARTED\n/tool bash {}\n/then\n/say $STARTED $PROMPT")];
    let first = bench.think(&messages).await.unwrap();
    bench.until_gone().await;
    messages.extend([spoke(&first), results(&first)]);
    let second = shown(&bench.think(&messages).await.unwrap());
    let (before, after) = (shown(&first), second.split_once(' ').unwrap());
    assert!(!before.starts_with(after.0), "another process: {before} {second}");
    assert!(
        after.1.contains("[bash answered]\n| bash-0") && !second.contains("no result"),
        "{second}"
    );
}

#[tokio::test]
async fn the_agent_gets_its_access_and_nothing_of_ours() {
    for contained in [true, false] {
        let mut bench = Bench::open();
        if !contained {
            bench.set(|settings| settings.bubblewrap = None);
        }
        for (name, value) in [("A", "{base_url}"), ("B", "{key}"), ("C", "{model}")] {
            bench.variable(name, value);
        }
        let told = shown(&bench.think(&[said("/say $ENVIRONMENT")]).await.unwrap());
        let mut variables: Vec<_> = told
            .split_terminator(';')
            .map(|one| one.split_once('=').unwrap())
            .collect();
        variables.sort_unstable();
        // bubblewrap adds where it is.
        variables.retain(|(name, _)| *name != "PWD");
        let names: Vec<_> = variables.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["A", "B", "C", "HOME", "PATH", "TERM", "TMPDIR", "TZ"]);
        let given: Vec<_> = variables[..3].iter().map(|(_, value)| *value).collect();
        assert_eq!(given, ["http://127.0.0.1:9", "test-key", "some-model"]);
    }
}

#[tokio::test]
async fn permission_is_given() {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", "asks");
    let step = bench.think(&[said("/tool bash {}")]).await.unwrap();
    assert_eq!(shown(&step), "bash{}");
}
