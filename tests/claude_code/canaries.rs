//! What the pinned Claude Code sends upstream and to our tools, word for word but for what changes from run to run. A version
//! that behaves in another way fails here, by its name; measure it (DESIGN §7) before the floor or these move.

use std::process::Command;

use perennial_engine::kernel::Message;
use serde_json::{Value, json};

use crate::bash;
use crate::bench::{self, Bench, results, said, spoke};
use crate::upstream::{Reply, text};

/// The version `tests/harnesses/claude/package.json` pins.
const PINNED: &str = "2.1.197";

fn done() -> Reply {
    Reply::Says(vec![text("done")], "end_turn")
}

/// Compares with what was recorded; the name of a snapshot that differs is that of the version.
fn golden(name: &str, found: &Value) {
    insta::with_settings!({
        snapshot_path => "golden",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => format!("What Claude Code {PINNED} sends upstream. Another version? Measure it, then pin it."),
    }, {
        insta::assert_json_snapshot!(format!("claude-code-{PINNED}-{name}"), found);
    });
}

/// A request without what changes from run to run, the date and who asks, and without what is ours alone.
fn steady(mut request: Value) -> Value {
    request["metadata"] = json!("…");
    // What tools say of themselves is ours to change.
    for tool in request["tools"].as_array_mut().unwrap() {
        *tool = tool["name"].take();
    }
    for message in request["messages"].as_array_mut().unwrap() {
        for block in message["content"].as_array_mut().into_iter().flatten() {
            if let Some(text) = block["text"].as_str()
                && let Some(at) = text.find("Today's date is ")
            {
                let date = at + "Today's date is ".len();
                let text = format!("{}YYYY-MM-DD{}", &text[..date], &text[date + 10..]);
                block["text"] = json!(text);
            }
        }
    }
    request
}

async fn sent(log: Vec<Message>) -> Option<Value> {
    let mut bench = Bench::open(vec![done()]).await?;
    bench.think(log).await.unwrap();
    assert_eq!(bench.upstream.requests().len(), 1);
    Some(steady(bench.upstream.requests().remove(0)))
}

#[test]
fn the_installed_version_is_the_pinned_one() {
    let Some(binary) = bench::installed() else { return };
    let said = Command::new(binary).arg("--version").output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    assert_eq!(
        said,
        format!("{PINNED} (Claude Code)"),
        "measure this version, then pin it"
    );
}

#[tokio::test]
async fn a_conversation_that_ends_in_a_prompt() {
    if let Some(request) = sent(vec![said("go")]).await {
        golden("prompt", &request);
    }
}

#[tokio::test]
async fn a_conversation_that_ends_in_another_prompt() {
    let step = bench::step(vec![text("hello")]);
    if let Some(request) = sent(vec![said("go"), spoke(&step), said("on")]).await {
        golden("next_prompt", &request);
    }
}

#[tokio::test]
async fn a_conversation_that_ends_in_results() {
    let step = bench::step(vec![text("I look"), bash("toolu_a", "one"), bash("toolu_b", "two")]);
    if let Some(request) = sent(vec![said("go"), spoke(&step), results(&step, &["1", "2"])]).await {
        golden("results", &request);
    }
}

#[tokio::test]
async fn a_conversation_that_ends_in_results_and_a_word() {
    let step = bench::step(vec![bash("toolu_a", "one")]);
    let mut heard = results(&step, &["1"]);
    heard.parts.extend(said("rather not").parts);
    if let Some(request) = sent(vec![said("go"), spoke(&step), heard]).await {
        golden("results_and_prompt", &request);
    }
}

/// The endings that the log never has, because calls are settled before anybody is asked: here is what would come of them.
#[tokio::test]
async fn a_conversation_that_ends_in_an_unanswered_call() {
    let step = bench::step(vec![text("I look"), bash("toolu_a", "one")]);
    if let Some(request) = sent(vec![said("go"), spoke(&step)]).await {
        golden("unanswered_call", &request);
    }
}

#[tokio::test]
async fn a_conversation_that_ends_in_one_result_for_two_calls() {
    let step = bench::step(vec![bash("toolu_a", "one"), bash("toolu_b", "two")]);
    let Some(mut bench) = Bench::open(vec![done()]).await else {
        return;
    };
    // Refused by the vendor or repaired by the harness: either way it is not the log's conversation.
    let _ = bench
        .think(vec![said("go"), spoke(&step), results(&step, &["1"])])
        .await;
    golden("half_answered", &steady(bench.upstream.requests().remove(0)));
}

/// Calls reach us with the model's id, from a client that says which version it is.
#[tokio::test]
async fn calls_carry_the_models_id_and_tools_are_ours_alone() {
    let calls = vec![bash("toolu_a", "one"), bash("toolu_b", "two")];
    let Some(mut bench) = Bench::open(vec![Reply::Says(calls, "tool_use"), done()]).await else {
        return;
    };
    let step = bench.think(vec![said("go")]).await.unwrap();
    let ids: Vec<_> = bench::called(&step).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["toolu_a", "toolu_b"]);
    // The desk answers by that id alone: had it not come in `_meta`, this would wait for ever.
    bench
        .think(vec![said("go"), spoke(&step), results(&step, &["1", "2"])])
        .await
        .unwrap();
    let request = bench.upstream.requests().remove(0);
    let tools: Vec<_> = request["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(
        tools,
        ["mcp__router__bash", "mcp__router__read"],
        "Claude Code {PINNED}"
    );
}
