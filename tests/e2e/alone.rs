//! A session whose attempts keep ending in process death is driven while nothing else is (I15); what a worker counts.

use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::client::Client;
use perennial_tests::server::Up;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

async fn session(client: &Client) -> Result<String> {
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    client.session(&agent, &environment).await
}

/// When the first and the last event of this type were stored.
async fn times(client: &Client, session: &str, kind: &str) -> Result<(String, String)> {
    let log = client.log(session).await?;
    let mut at = log
        .iter()
        .filter(|event| event["type"] == kind)
        .filter_map(|event| event["created_at"].as_str().map(str::to_owned));
    let first = at.next().with_context(|| format!("no {kind}"))?;
    let last = at.next_back().unwrap_or_else(|| first.clone());
    Ok((first, last))
}

/// When a suspect began, made progress and rested; when another session rested before and began again meanwhile.
struct Times {
    begun: String,
    progress: String,
    rested: String,
    before: String,
    again: String,
}

async fn beside_a_suspect(script: &str) -> Result<Times> {
    let dir = tempfile::tempdir()?;
    let up = Up::on(&dir.path().join("data"));
    let server = up.start().await?;
    let suspect = session(&server.client).await?;
    server.kill().await?;
    // Three deaths, each right after the claim.
    let deadly = up.clone().env("PERENNIAL_KILL_AT", "worker.claim.after=1");
    let mut server = deadly.start().await?;
    let said = server.client.say(&suspect, script).await;
    server.ended(PATIENCE).await?;
    for _ in 0..2 {
        // It may die before it listens.
        if let Ok(mut server) = deadly.start().await {
            server.ended(PATIENCE).await?;
        }
    }
    let server = up.start().await?;
    said.ok();
    let client = &server.client;
    // The suspect may be claimed after a second; by then this one runs.
    let healthy = session(client).await?;
    client.say(&healthy, "/tokens 30 100").await?;
    client.until_idle(&healthy, 0, PATIENCE).await?;
    let mut stream = client.stream(&suspect, "?include=extensions", Some(0)).await?;
    while let Some(frame) = stream.next().await? {
        if frame.data["type"] == "span.model_request_start" {
            break;
        }
    }
    let head = client.log(&healthy).await?.len() as u64;
    client.say(&healthy, "/say again").await?;
    client.until_idle(&suspect, 0, PATIENCE).await?;
    client.until_idle(&healthy, head, PATIENCE).await?;

    let log = client.log(&suspect).await?;
    assert!(log.iter().any(|event| event["type"] == "session.status_rescheduled"));
    let times = Times {
        begun: times(client, &suspect, "span.model_request_start").await?.0,
        progress: times(client, &suspect, "span.model_request_end").await?.0,
        rested: times(client, &suspect, "session.status_idle").await?.1,
        before: times(client, &healthy, "session.status_idle").await?.0,
        again: times(client, &healthy, "session.status_running").await?.1,
    };
    server.kill().await?;
    assert!(
        times.begun >= times.before,
        "the suspect began at {}, the other ran until {}",
        times.begun,
        times.before
    );
    Ok(times)
}

#[tokio::test]
async fn a_suspect_is_driven_alone() -> Result<()> {
    let Times { again, rested, .. } = beside_a_suspect("/tokens 30 50\n/say suspect").await?;
    assert!(
        again >= rested,
        "the other began again at {again}, the suspect ran until {rested}"
    );
    Ok(())
}

#[tokio::test]
async fn a_suspect_that_gets_further_is_none_any_more() -> Result<()> {
    let script = "/tokens 10 50\n/tool bash {\"command\":\"sleep 4\"}\n/then\n/say suspect";
    let Times {
        again,
        progress,
        rested,
        ..
    } = beside_a_suspect(script).await?;
    assert!(
        again >= progress,
        "the other began again at {again}, the suspect got further at {progress}"
    );
    assert!(
        again < rested,
        "the other waited until {again}, the suspect ran until {rested}"
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_counts_what_it_does() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    let session = session(&server.client).await?;
    let script = "/tool bash {\"command\":\"true\"}\n/tool bash {\"command\":\"false\"}\n/then\n/say done";
    server.client.say(&session, script).await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let metrics = server.client.get("/metrics").await?.ok()?;
    let text = metrics.as_str().context("no text")?;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok())
    };
    let requests = events
        .iter()
        .filter(|event| event["type"] == "span.model_request_end")
        .count();
    for (name, expect) in [
        ("perennial_worker_claims_total", 1.0),
        ("perennial_worker_takeovers_total", 0.0),
        ("perennial_worker_sessions_driving", 0.0),
        (
            "perennial_worker_model_requests_total{outcome=\"ok\"}",
            f64::from(u32::try_from(requests)?),
        ),
        ("perennial_worker_tool_calls_total{outcome=\"ok\"}", 1.0),
        ("perennial_worker_tool_calls_total{outcome=\"error\"}", 1.0),
    ] {
        assert_eq!(value(name), Some(expect), "{name}\n{text}");
    }
    assert!(
        value("perennial_worker_appends_total").is_some_and(|appends| appends >= 4.0),
        "{text}"
    );
    let stored = events
        .iter()
        .filter(|event: &&Value| event["type"] != "user.message")
        .count();
    assert_eq!(
        value("perennial_worker_events_total"),
        Some(f64::from(u32::try_from(stored)?)),
        "{text}"
    );
    server.kill().await
}
