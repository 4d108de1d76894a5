//! A turn that begins at one process and is driven by another one is one trace.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::message;
use perennial_tests::collector::{Collector, hex};

use crate::place::Place;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_turn_over_two_processes_is_one_trace() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let (collector, url) = Collector::open(false).await?;
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url)];
    let house = place.house_with(1, 1, &env).await?;
    let door = house.doors().requests.pop().context("a node")?;
    let (agent, environment) = door.agent_and_environment("rehearsal-1").await?;
    let session = door.session(&agent, &environment).await?;
    let request = door
        .request("POST", &format!("/v1/sessions/{session}/events"))
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .json(&message("/tool bash {\"command\":\"true\"}\n/then\n/say done"));
    door.send(request).await?.ok()?;
    door.until_idle(&session, 0, Duration::from_secs(60)).await?;
    // Each process sends its own.
    let post = "POST /v1/sessions/{session_id}/events";
    collector.trace_of(post).await?;
    collector.trace_of("chat rehearsal-1").await?;
    let spans = collector.trace_of("execute_tool bash").await?;
    house.close().await;
    let spans = match spans.iter().any(|span| span.name.starts_with("invoke_agent ")) {
        true => spans,
        false => collector.trace_of(post).await?,
    };
    assert_eq!(hex(&spans[0].trace_id), TRACE);
    let named = |start: &str| {
        spans
            .iter()
            .find(|span| span.name.starts_with(start))
            .context(start.to_owned())
    };
    ensure!(named("invoke_agent ")?.parent_span_id == named(post)?.span_id);
    for part in ["execute_tool bash", "worker.turn.step"] {
        ensure!(named(part)?.parent_span_id == named("invoke_agent ")?.span_id, "{part}");
    }
    Ok(())
}
