//! Tool calls: parked until the log has their results, under the model's own ids.

use std::time::Instant;

use perennial_engine::ports::Part;
use perennial_schema::event::Raw;
use serde_json::{Value, json};

use crate::bench::{Bench, called, fails, results, results_of, said, spoke};
use crate::canaries::DOT;
use crate::upstream::{Reply, call, output, system, text, user};

fn bash(id: &str, command: &str) -> Value {
    call(id, "bash", &json!({"command": command}))
}

#[tokio::test]
async fn results_of_the_log_reach_the_thread_that_asked() {
    let replies = vec![
        Reply::Says(vec![text("I look"), bash("call_a", "date")]),
        Reply::Says(vec![text("it is late")]),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("time?")]).await.unwrap();
    assert_eq!(
        called(&first),
        [("call_a".into(), "bash".into(), json!({"command": "date"}))]
    );
    assert!(bench.harness.waits_for_results());
    let started = Instant::now();
    let second = bench
        .think(vec![said("time?"), spoke(&first), results(&first, &["midnight"])])
        .await
        .unwrap();
    println!("live step: {:?}", started.elapsed());
    assert!(
        matches!(&second.parts[..], [Part::Text { text, .. }] if text == "it is late"),
        "{second:?}"
    );
    let requests = bench.upstream.requests();
    assert_eq!(requests.len(), 2);
    let turn = |n: usize| requests[n]["client_metadata"]["turn_id"].clone();
    assert_eq!(turn(0), turn(1), "one thread made both requests");
    bench.deserted().await;
}

#[tokio::test]
async fn parallel_calls_are_one_step_and_are_answered_together() {
    let calls = vec![
        bash("call_a", "one"),
        bash("call_b", "two"),
        call("call_c", "read", &json!({"file_path": "x"})),
    ];
    let replies = vec![Reply::Says(calls.clone()), Reply::Says(vec![text("done")])];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    assert_eq!(called(&first).len(), 3);
    bench
        .think(vec![said("go"), spoke(&first), results(&first, &["1", "2", "3"])])
        .await
        .unwrap();
    let mut expected = vec![system("You are a test."), user("go")];
    expected.extend(calls);
    expected.extend([output("call_a", "1"), output("call_b", "2"), output("call_c", "3")]);
    assert_eq!(bench.upstream.conversation(1), expected);
    let requests = bench.upstream.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        requests[0]["client_metadata"]["turn_id"],
        requests[1]["client_metadata"]["turn_id"]
    );
}

#[tokio::test]
async fn a_long_result_arrives_whole() {
    let long = "all work and no play\n".repeat(12_000);
    for model in ["openai/gpt-6-sol", "openai/nobody-knows-1"] {
        let replies = vec![
            Reply::Says(vec![bash("call_a", "cat")]),
            Reply::Says(vec![text("long")]),
        ];
        let Some(mut bench) = Bench::open(replies).await else {
            return;
        };
        bench.agent.model.id = model.into();
        let first = bench.think(vec![said("go")]).await.unwrap();
        bench
            .think(vec![said("go"), spoke(&first), results(&first, &[&long])])
            .await
            .unwrap();
        let conversation = bench.upstream.conversation(1);
        assert!(conversation.last() == Some(&output("call_a", &long)), "{model}");
        assert_eq!(bench.upstream.requests().len(), 2, "{model}");
    }
}

#[tokio::test]
async fn pictures_in_results_arrive_by_a_rendering() {
    let replies = vec![
        Reply::Says(vec![bash("call_a", "shot")]),
        Reply::Says(vec![text("nice")]),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    let content = json!([
        {"type": "text", "text": "here"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}},
    ]);
    bench
        .think(vec![
            said("go"),
            spoke(&first),
            results_of(&first, vec![Raw::of(&content)]),
        ])
        .await
        .unwrap();
    let conversation = bench.upstream.conversation(1);
    let heard = &conversation.last().unwrap()["output"];
    assert_eq!(heard[0], json!({"type": "input_text", "text": "here"}));
    assert_eq!(heard[1]["image_url"], format!("data:image/png;base64,{DOT}"));
}

#[tokio::test]
async fn what_a_result_says_does_not_depend_on_the_way_it_takes() {
    let Some(mut live) = Bench::open(Vec::new()).await else {
        return;
    };
    for (output, is_error) in [
        "",
        " ",
        "two\n\nlines\n",
        "\u{1b}[31mred\u{fffd}",
        "{\"a\": 1}",
        "aborted",
    ]
    .iter()
    .flat_map(|output| [(output, false), (output, true)])
    {
        live.upstream.push(Reply::Says(vec![bash("call_a", "true")]));
        live.upstream.push(Reply::Says(vec![text("done")]));
        live.upstream.push(Reply::Says(vec![text("done")]));
        let first = live.think(vec![said("go")]).await.unwrap();
        let mut results = results(&first, &[output]);
        if is_error {
            fails(&mut results);
        }
        let messages = vec![said("go"), spoke(&first), results];
        live.think(messages.clone()).await.unwrap();
        live.another_session().think(messages).await.unwrap();
        let n = live.upstream.requests().len();
        assert_eq!(
            live.upstream.conversation(n - 1),
            live.upstream.conversation(n - 2),
            "{output:?} {is_error}"
        );
        let told = json!(live.upstream.conversation(n - 1)).to_string();
        assert_eq!(told.contains("This tool call failed"), is_error, "{told}");
    }
    assert_eq!(live.upstream.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_call_of_a_tool_that_does_not_exist_is_answered_by_the_log() {
    for ghost in [
        "ghost",
        "shell",
        "exec_command",
        "apply_patch",
        "view_image",
        "update_plan",
        "spawn_agent",
    ] {
        let called_first = vec![
            bash("call_a", "date"),
            call("call_b", ghost, &json!({"path": "/etc/passwd"})),
        ];
        let replies = vec![Reply::Says(called_first.clone()), Reply::Says(vec![text("sorry")])];
        let Some(mut bench) = Bench::open(replies).await else {
            return;
        };
        let first = bench.think(vec![said("go")]).await.unwrap();
        assert_eq!(called(&first)[1].1, ghost);
        assert!(!bench.harness.waits_for_results(), "Codex would answer it by itself");
        let heard = ["midnight", "there is no such tool"];
        bench
            .think(vec![said("go"), spoke(&first), results(&first, &heard)])
            .await
            .unwrap();
        let conversation = bench.upstream.conversation(1);
        let mut expected = called_first;
        expected.extend([output("call_a", heard[0]), output("call_b", heard[1])]);
        assert_eq!(conversation[2..], expected);
        assert_eq!(bench.upstream.requests().len(), 2, "{ghost}");
    }
}

#[tokio::test]
async fn an_approval_that_is_parked_costs_nothing_and_goes_on_from_the_log() {
    let replies = vec![Reply::Says(vec![bash("call_a", "rm")]), Reply::Says(vec![text("gone")])];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    perennial_worker::harness::Harness::close(&mut bench.harness).await;
    bench.deserted().await;
    // Days later, another worker.
    let Some(mut other) = Bench::open(vec![Reply::Says(vec![text("gone")])]).await else {
        return;
    };
    other
        .think(vec![said("go"), spoke(&first), results(&first, &["removed"])])
        .await
        .unwrap();
    let expected = vec![
        system("You are a test."),
        user("go"),
        bash("call_a", "rm"),
        output("call_a", "removed"),
    ];
    assert_eq!(other.upstream.conversation(0), expected);
}
