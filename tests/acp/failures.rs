//! What goes wrong, and what is said about it.

use std::time::Duration;

use perennial_engine::ports::ModelError;

use crate::bench::{Bench, said, shown};

async fn failure(mode: &str) -> (Bench, ModelError) {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", mode);
    bench.set(|settings| settings.silence = Duration::from_millis(700));
    let error = bench.think(&[said("/say hi")]).await.unwrap_err();
    (bench, error)
}

#[tokio::test]
async fn each_failure_is_told_so_that_a_person_understands() {
    let cases = [
        ("no-http", false, "takes no MCP server over HTTP"),
        ("old", false, "version 1 is needed"),
        ("auth", false, "[acp.tester] env"),
        ("silent", true, "said nothing"),
        ("dies", true, "no reason to live"),
    ];
    for (mode, retryable, says) in cases {
        let (bench, error) = failure(mode).await;
        assert_eq!(error.retryable, retryable, "{mode}: {error}");
        assert!(
            error.message.contains(says) && error.message.contains("acp:tester"),
            "{mode}: {error}"
        );
        assert_eq!(bench.homes(), 0, "{mode}");
    }
}

#[tokio::test]
async fn an_agent_without_tools_needs_no_mcp() {
    let mut bench = Bench::open();
    bench.variable("AGENT_MODE", "no-http");
    bench.tools.clear();
    assert_eq!(shown(&bench.think(&[said("/say hi")]).await.unwrap()), "hi");
}

#[tokio::test]
async fn programs_that_are_none_are_named() {
    for (program, contained) in [("/nowhere/agent", true), ("/nowhere/agent", false), ("/bin/cat", false)] {
        let mut bench = Bench::with("x", program.into(), "http://127.0.0.1:9");
        if !contained {
            bench.set(|settings| settings.bubblewrap = None);
        }
        if program == "/bin/cat" {
            // It echoes what it is told, which is no answer.
            bench.set(|settings| settings.arguments = vec!["/nowhere".into()]);
        }
        let error = bench.think(&[said("hi")]).await.unwrap_err();
        assert!(error.message.contains("acp:x"), "{error}");
        assert!(error.message.contains("nowhere"), "{error}");
    }
}
