//! Traces over OTLP: a turn is one trace with the right parents and names, and no word of what was said; a worker that dies in a
//! call leaves the trace to its successor; what the collector does not take is dropped and counted.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, id, message};
use perennial_tests::collector::{AnyValue, Collector, Span, hex};
use perennial_tests::server::{Server, Up};
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
/// Of the client.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
/// Said, run and printed, and nobody's business.
const SECRET: &str = "xyzzy-plugh";

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let shown = span.attributes.iter().map(|pair| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        let text = match value {
            Some(AnyValue::StringValue(text)) => text.clone(),
            Some(AnyValue::IntValue(number)) => number.to_string(),
            Some(AnyValue::BoolValue(flag)) => flag.to_string(),
            other => format!("{other:?}"),
        };
        (pair.key.as_str(), text)
    });
    shown.collect()
}

/// Spans of a trace by name and the name of what they are part of, each as often as it is there.
fn tree(spans: &[Span]) -> Vec<(String, String)> {
    let names: BTreeMap<&[u8], &str> = spans
        .iter()
        .map(|span| (span.span_id.as_slice(), span.name.as_str()))
        .collect();
    let mut tree: Vec<(String, String)> = spans
        .iter()
        .map(|span| {
            let parent = names.get(span.parent_span_id.as_slice());
            let parent = parent.map_or_else(|| hex(&span.parent_span_id), |name| (*name).to_owned());
            (span.name.clone(), parent)
        })
        .collect();
    tree.sort();
    tree
}

async fn started(up: Up, url: &str) -> Result<(Server, String)> {
    let server = up.arg("--otlp-endpoint").arg(url).start().await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let session = server.client.session(&agent, &environment).await?;
    Ok((server, session))
}

async fn say(client: &Client, session: &str, text: &str) -> Result<()> {
    let request = client.request("POST", &format!("/v1/sessions/{session}/events"));
    let request = request
        .header("traceparent", format!("00-{TRACE}-{SPAN}-01"))
        .json(&message(text));
    client.send(request).await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_turn_is_one_trace_without_a_word_of_it() -> Result<()> {
    let (collector, url) = Collector::open(false).await?;
    let dir = tempfile::tempdir()?;
    let (server, session) = started(Up::on(&dir.path().join("data")), &url).await?;
    let script = format!("/say {SECRET}\n/tool bash {{\"command\":\"echo {SECRET}\"}}\n/then\n/say done");
    say(&server.client, &session, &script).await?;
    server.client.until_idle(&session, 0, PATIENCE).await?;
    let agent = server.client.get(&format!("/v1/sessions/{session}")).await?.ok()?["agent"]["name"].clone();
    let turn = format!("invoke_agent {}", agent.as_str().context("a name")?);
    collector.trace_of(&turn).await?;
    // What is over by now is sent on the way out.
    ensure!(server.stop(PATIENCE).await?.success());
    let spans = collector.trace_of(&turn).await?;

    let post = "POST /v1/sessions/{session_id}/events".to_owned();
    let chat = "chat rehearsal-1";
    let expected: Vec<(String, String)> = [
        (post.as_str(), SPAN),
        (chat, "worker.turn.step"),
        (chat, "worker.turn.step"),
        ("execute_tool bash", &turn),
        (&turn, &post),
        ("router.call.send", "execute_tool bash"),
        ("worker.turn.step", &turn),
        ("worker.turn.step", &turn),
    ]
    .map(|(name, parent)| (name.to_owned(), parent.to_owned()))
    .into();
    assert_eq!(tree(&spans), expected);
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE, "{}", span.name);
        ensure!(
            span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
    }
    let named = |name: &str| spans.iter().find(|span| span.name == name).map(attributes);
    let tool = named("execute_tool bash").context("a call")?;
    assert_eq!(tool["gen_ai.operation.name"], "execute_tool");
    assert_eq!(tool["gen_ai.conversation.id"], session);
    ensure!(tool["gen_ai.tool.call.id"].starts_with("sevt_"), "{tool:?}");
    let asked = named(chat).context("a request")?;
    assert_eq!(asked["gen_ai.provider.name"], "rehearsal");
    ensure!(asked["gen_ai.usage.input_tokens"].parse::<u64>()? > 0, "{asked:?}");
    assert_eq!(named(&turn).context("a turn")?["perennial.stop_reason"], "end_turn");
    let schemas = collector.schemas();
    ensure!(
        schemas
            .iter()
            .all(|schema| schema.starts_with("https://opentelemetry.io/schemas/gen-ai"))
    );
    ensure!(!collector.text().contains(SECRET), "what was said is in a trace");
    Ok(())
}

#[tokio::test]
async fn a_worker_that_dies_in_a_call_leaves_the_trace_to_its_successor() -> Result<()> {
    let (collector, url) = Collector::open(false).await?;
    let dir = tempfile::tempdir()?;
    let up = || Up::on(&dir.path().join("data"));
    let (mut server, session) = started(up().env("PERENNIAL_KILL_AT", "worker.result.before=1"), &url).await?;
    say(
        &server.client,
        &session,
        "/tool bash {\"command\":\"true\"}\n/then\n/say done",
    )
    .await?;
    server.ended(PATIENCE).await?;
    let server = up().arg("--otlp-endpoint").arg(&url).start().await?;
    server.client.until_idle(&session, 0, PATIENCE).await?;
    ensure!(server.stop(PATIENCE).await?.success());

    let spans = collector.trace_of("execute_tool bash").await?;
    let count = |name: &str| spans.iter().filter(|span| span.name.starts_with(name)).count();
    assert_eq!(hex(&spans[0].trace_id), TRACE);
    // The first worker was gone before it could tell anything of these.
    assert_eq!((count("invoke_agent "), count("execute_tool ")), (1, 1));
    assert_eq!(count("router.call.settle"), 1);
    let turn = spans.iter().find(|span| span.name.starts_with("invoke_agent "));
    let turn = turn.context("a turn")?;
    let parts = spans.iter().filter(|span| span.parent_span_id == turn.span_id);
    ensure!(parts.count() >= 2, "{:#?}", tree(&spans));
    Ok(())
}

#[tokio::test]
async fn what_others_do_for_a_turn_is_part_of_its_trace() -> Result<()> {
    let (collector, url) = Collector::open(false).await?;
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data"))
        .arg("--otlp-endpoint")
        .arg(&url)
        .start()
        .await?;
    let client = &server.client;
    let (_, environment) = client.agent_and_environment("rehearsal-1").await?;
    let mut lead = String::new();
    for name in ["helper", "lead"] {
        let agent = json!({"name": name, "model": "rehearsal-1", "tools": [{"type": "mail_toolset"}],
            "mail": {"environment_id": environment}});
        lead = id(&client.post("/v1/agents", &agent).await?.ok()?)?;
    }
    let session = client.session(&lead, &environment).await?;
    say(
        client,
        &session,
        "/tool delegate_task {\"to\": \"agent/helper\", \"prompt\": \"/say done\"}",
    )
    .await?;
    // It rests twice: when it has delegated, and when it has heard what came of it.
    let rested = async {
        loop {
            let log = client.log(&session).await?;
            let rests = log.iter().filter(|event| event["type"] == "session.status_idle");
            if rests.count() == 2 {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, rested).await??;
    ensure!(server.stop(PATIENCE).await?.success());
    let spans = collector.trace_of("invoke_agent helper").await?;
    assert_eq!(hex(&spans[0].trace_id), TRACE);
    let tree = tree(&spans);
    let asked = "execute_tool delegate_task";
    for (name, parent, times) in [("invoke_agent helper", asked, 1), ("invoke_agent lead", asked, 1)] {
        let found = tree
            .iter()
            .filter(|span| (span.0.as_str(), span.1.as_str()) == (name, parent));
        ensure!(found.count() == times, "{name} in {parent}: {tree:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_collector_refuses_is_dropped_and_counted() -> Result<()> {
    let (collector, url) = Collector::open(true).await?;
    let dir = tempfile::tempdir()?;
    let (server, _) = started(Up::on(&dir.path().join("data")), &url).await?;
    timeout(PATIENCE, collector.came.notified()).await?;
    let dropped = async {
        loop {
            let metrics = server.client.get("/metrics").await?;
            if metrics
                .body
                .to_string()
                .contains("perennial_spans_dropped_total{reason=\\\"not_exported\\\"}")
            {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, dropped).await??;
    Ok(())
}
