//! What comes of a turn whose model refuses, stops short, fails or breaks off: the right word for people and programs, a retry
//! where one helps, and rest where none does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use perennial_tests::models::{Answer, ModelServer, Reply, Tokens};
use perennial_tests::server::Server;
use serde_json::{Value, json};

use crate::house::up;
use crate::support::{VENDORS, Vendor, model_of};

const PATIENCE: Duration = Duration::from_secs(60);

/// A turn, by what its requests are answered; after these the model says it is fine.
struct Case {
    name: &'static str,
    replies: Vec<Reply>,
    /// Kind and retry status of each error that is reported.
    errors: Vec<(&'static str, &'static str)>,
    stop: &'static str,
    /// Whether each request failed.
    spans: Vec<bool>,
}

fn case(
    name: &'static str,
    replies: Vec<Reply>,
    errors: &[(&'static str, &'static str)],
    stop: &'static str,
    spans: &[bool],
) -> Case {
    Case {
        name,
        replies,
        errors: errors.to_vec(),
        stop,
        spans: spans.to_vec(),
    }
}

fn failing(status: u16, kind: &str, message: &str) -> Reply {
    Reply::error(status, kind, message).header("retry-after-ms", "1")
}

fn cases() -> Vec<Case> {
    let half = || Answer::new().text(&["half ", "of it"]);
    let refused = "model_request_failed_error";
    let fine = || Vec::from([Answer::new().text(&["fine"]).into()]);
    let then_fine = |reply: Reply| [vec![reply], fine()].concat();
    vec![
        case("done", fine(), &[], "end_turn", &[false]),
        case("a refusal", vec![half().refusal().into()], &[], "refusal", &[false]),
        case(
            "cut at max_tokens",
            vec![half().max_tokens().into()],
            &[(refused, "exhausted")],
            "end_turn",
            &[false],
        ),
        case(
            "a call cut at max_tokens",
            vec![
                Answer::new()
                    .tool("bash", &json!({"command": "echo x"}))
                    .max_tokens()
                    .into(),
                fine().remove(0),
            ],
            &[],
            "end_turn",
            &[false, false],
        ),
        case(
            "no access",
            vec![failing(401, "authentication_error", "bad key")],
            &[(refused, "exhausted")],
            "retries_exhausted",
            &[true],
        ),
        case(
            "no such model",
            vec![failing(404, "not_found_error", "no such model")],
            &[(refused, "exhausted")],
            "retries_exhausted",
            &[true],
        ),
        case(
            "no money",
            vec![failing(402, "billing_error", "pay first")],
            &[("billing_error", "exhausted")],
            "retries_exhausted",
            &[true],
        ),
        case(
            "a context that is too long, with nothing to leave out",
            vec![failing(
                400,
                "invalid_request_error",
                "prompt is too long: 9 tokens > 8 maximum",
            )],
            &[("compaction_limit_reached_error", "exhausted")],
            "retries_exhausted",
            &[true],
        ),
        case(
            "rate limited once",
            then_fine(failing(429, "rate_limit_error", "slow down")),
            &[("model_rate_limited_error", "retrying")],
            "end_turn",
            &[true, false],
        ),
        case(
            "overloaded once",
            then_fine(failing(529, "overloaded_error", "busy")),
            &[("model_overloaded_error", "retrying")],
            "end_turn",
            &[true, false],
        ),
        case(
            "broken once",
            then_fine(failing(500, "api_error", "oops")),
            &[(refused, "retrying")],
            "end_turn",
            &[true, false],
        ),
        case(
            "cut off in mid-answer",
            then_fine(half().cut_after(3).into()),
            &[(refused, "retrying")],
            "end_turn",
            &[true, false],
        ),
        case(
            "a malformed chunk",
            then_fine(half().malformed_after(3).into()),
            &[(refused, "retrying")],
            "end_turn",
            &[true, false],
        ),
        case(
            "overloaded for ever",
            vec![failing(529, "overloaded_error", "busy"); 5],
            &[
                ("model_overloaded_error", "retrying"),
                ("model_overloaded_error", "retrying"),
                ("model_overloaded_error", "retrying"),
                ("model_overloaded_error", "retrying"),
                ("model_overloaded_error", "exhausted"),
            ],
            "retries_exhausted",
            &[true; 5],
        ),
    ]
}

fn of<'a>(events: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["type"] == kind)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn plays(server: &Server, models: &ModelServer, vendor: Vendor, case: &Case) -> Result<()> {
    for reply in &case.replies {
        models.push(reply.clone());
    }
    let (agent, environment) = server.client.agent_and_environment(model_of(vendor)).await?;
    let session = server.client.session(&agent, &environment).await?;
    server.client.say(&session, "do it").await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let errors: Vec<(&str, &str)> = of(&events, "session.error")
        .map(|event| {
            (
                text(&event["error"]["type"]),
                text(&event["error"]["retry_status"]["type"]),
            )
        })
        .collect();
    ensure!(errors == case.errors, "errors: {errors:?}");
    let stops: Vec<&str> = of(&events, "session.status_idle")
        .map(|event| text(&event["stop_reason"]["type"]))
        .collect();
    ensure!(stops == [case.stop], "stop reasons: {stops:?}");
    let spans: Vec<bool> = of(&events, "span.model_request_end")
        .map(|event| event["is_error"] == true)
        .collect();
    ensure!(spans == case.spans, "spans: {spans:?}");
    Ok(())
}

#[tokio::test]
async fn every_outcome_has_its_word() {
    let vendor = |vendor: Vendor| async move {
        let models = ModelServer::start(vendor.origin()).await?;
        let dir = tempfile::tempdir()?;
        let server = up(vendor, dir.path(), &models)?.start().await?;
        for case in cases() {
            plays(&server, &models, vendor, &case)
                .await
                .with_context(|| format!("{vendor:?}: {}", case.name))?;
        }
        anyhow::Ok(())
    };
    for outcome in futures_util::future::join_all(VENDORS.map(vendor)).await {
        outcome.unwrap();
    }
}

/// Between the events of an answer: what is whole at once may be in the log before its preview has reached anybody.
const PREVIEWED: Duration = Duration::from_millis(50);

/// A failed attempt's previews are void: its ids never become events, its span says so, and what it used is counted.
#[tokio::test]
async fn a_failed_attempt_is_superseded_and_counted() -> Result<()> {
    for vendor in VENDORS {
        let models = ModelServer::start(vendor.origin()).await?;
        let dir = tempfile::tempdir()?;
        let server = up(vendor, dir.path(), &models)?.start().await?;
        let used = Tokens {
            input: 700,
            output: 9,
            ..Tokens::default()
        };
        // Behind its fifth event an answer on the last wire is whole, but for what it cost.
        let after = if vendor == Vendor::Chat { 3 } else { 5 };
        models.push(
            Answer::new()
                .text(&["one ", "two ", "three"])
                .usage(used)
                .every(PREVIEWED)
                .cut_after(after),
        );
        models.push(Answer::new().text(&["whole"]).usage(used).every(PREVIEWED));
        let (agent, environment) = server.client.agent_and_environment(model_of(vendor)).await?;
        let session = server.client.session(&agent, &environment).await?;
        let query = "?after=0&event_deltas[]=agent.message";
        let mut stream = server.client.stream(&session, query, None).await?;
        server.client.say(&session, "do it").await?;
        let mut frames = Vec::new();
        while let Some(frame) = tokio::time::timeout(PATIENCE, stream.next()).await?? {
            let over = frame.event == "session.status_idle";
            frames.push(frame.data);
            if over {
                break;
            }
        }
        let begun: Vec<&str> = of(&frames, "event_start")
            .map(|event| text(&event["event"]["id"]))
            .collect();
        let said: Vec<&str> = of(&frames, "agent.message").map(|event| text(&event["id"])).collect();
        ensure!(begun.len() == 2 && said == [begun[1]], "{vendor:?}: {begun:?} {said:?}");
        let at = |wanted: &dyn Fn(&Value) -> bool| frames.iter().position(wanted);
        let closed = at(&|event| event["type"] == "span.model_request_end" && event["is_error"] == true);
        let again = at(&|event| event["type"] == "event_start" && event["event"]["id"] == begun[1]);
        ensure!(
            closed.is_some() && closed < again,
            "{vendor:?}: the first is closed before the second begins"
        );
        // Only Anthropic says at the beginning what was read.
        let counted = of(&frames, "span.model_request_end")
            .map(|event| event["model_usage"]["input_tokens"].as_u64().unwrap_or(0))
            .collect::<Vec<_>>();
        let first = if vendor == Vendor::Anthropic { 700 } else { 0 };
        ensure!(counted == [first, 700], "{vendor:?}: {counted:?}");
    }
    Ok(())
}
