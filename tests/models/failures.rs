//! What goes wrong on the way, and what is said about it.

use std::time::Duration;

use perennial_engine::ports::{Model as _, ModelError};
use perennial_schema::event::ErrorKind;
use perennial_tests::models::{Answer, Reply};
use serde_json::json;

use crate::support::{KEY, Recorder, Rig, VENDORS, Vendor, model_of, models, request, said};

async fn failure(rig: &Rig, reply: impl Into<Reply>) -> ModelError {
    rig.server.push(reply);
    let error = rig.ask(&[said("hi")]).await.unwrap_err();
    assert!(!error.message.contains(KEY), "{error}");
    error
}

#[tokio::test]
async fn statuses_become_kinds_with_a_word_on_what_to_do() {
    use ErrorKind::{BillingError, ModelOverloadedError, ModelRateLimitedError, ModelRequestFailedError};
    let cases = [
        (400, "bad", ModelRequestFailedError, false, "bad"),
        (401, "wrong key", ModelRequestFailedError, false, "check the API key"),
        (403, "not yours", ModelRequestFailedError, false, "check the API key"),
        (
            404,
            "no such model",
            ModelRequestFailedError,
            false,
            "check the agent's model id",
        ),
        (402, "pay", BillingError, false, "check the account's credit"),
        (
            400,
            "Your credit balance is too low",
            BillingError,
            false,
            "check the account's credit",
        ),
        (429, "slow down", ModelRateLimitedError, true, "slow down"),
        (500, "oops", ModelRequestFailedError, true, "oops"),
        (503, "busy", ModelOverloadedError, true, "busy"),
        (529, "Overloaded", ModelOverloadedError, true, "Overloaded"),
    ];
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        for (status, detail, kind, retryable, says) in cases {
            let error = failure(&rig, Reply::error(status, "some_error", detail)).await;
            assert_eq!((error.kind, error.retryable), (kind, retryable), "{vendor:?} {status}");
            assert!(error.message.contains(says), "{error}");
            assert!(error.message.contains(&status.to_string()), "{error}");
        }
    }
}

#[tokio::test]
async fn providers_may_say_when_and_whether_to_retry() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let error = failure(
            &rig,
            Reply::error(429, "rate_limit_error", "x").header("retry-after", "7"),
        )
        .await;
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        let error = failure(
            &rig,
            Reply::error(500, "api_error", "x").header("x-should-retry", "false"),
        )
        .await;
        assert!(!error.retryable);
        let error = failure(&rig, Reply::error(409, "x", "x").header("x-should-retry", "true")).await;
        assert!(error.retryable);
    }
}

#[tokio::test]
async fn the_key_never_appears_and_long_messages_are_cut() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let echo = format!("Incorrect API key provided: {KEY}. {}", "x".repeat(100_000));
        let error = failure(&rig, Reply::error(401, "authentication_error", &echo)).await;
        assert!(
            error.message.contains("[the API key]") && error.message.len() < 2_400,
            "{error}"
        );
        let error = failure(&rig, Answer::new().text(&["x"]).error_after(1, "api_error", KEY)).await;
        assert!(error.message.contains("[the API key]"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error_that_may_pass() {
    let answer = || {
        Answer::new()
            .thinking("hm")
            .text(&["one ", "two"])
            .tool("bash", &json!({"a": 1}))
    };
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        // Behind its ninth event an answer on the last wire is whole, but for what it cost.
        let last = if vendor == Vendor::Chat { 7 } else { 9 };
        for after in [0, 1, 3, 6, last] {
            for broken in [answer().cut_after(after), answer().malformed_after(after)] {
                let error = failure(&rig, broken).await;
                assert!(
                    error.retryable && error.kind == ErrorKind::ModelRequestFailedError,
                    "{vendor:?} {after}: {error}"
                );
            }
        }
        assert!(rig.ask(&[said("hi")]).await.is_ok(), "the next request is not affected");
    }
}

#[tokio::test]
async fn an_error_event_is_classed_by_its_type() {
    for (vendor, kind) in [
        (Vendor::Anthropic, "overloaded_error"),
        (Vendor::OpenAi, "server_is_overloaded"),
        (Vendor::Chat, "server_is_overloaded"),
    ] {
        let rig = Rig::new(vendor).await;
        let error = failure(
            &rig,
            Answer::new().text(&["half"]).error_after(3, kind, "too much to do"),
        )
        .await;
        assert_eq!((error.kind, error.retryable), (ErrorKind::ModelOverloadedError, true));
        assert!(error.message.contains("too much to do"), "{error}");
    }
}

#[tokio::test]
async fn silence_ends_a_request() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let error = failure(&rig, Answer::new().text(&["x"]).every(Duration::from_secs(60))).await;
        assert!(error.retryable, "{error}");
        assert!(
            error.message.contains("silent") || error.message.contains("in time"),
            "{error}"
        );
        rig.server.abandoned(1).await.unwrap();
    }
}

#[tokio::test]
async fn an_unreachable_provider_is_named_with_its_address() {
    // Bound and dropped at once: nobody listens there.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    for vendor in VENDORS {
        let models = models(vendor, &format!("http://{free}"));
        let asked = models
            .request(request(model_of(vendor), vec![said("hi")]), &mut Recorder::default())
            .await;
        let error = asked.unwrap_err();
        assert!(error.retryable && error.message.contains(&free.to_string()), "{error}");
    }
    let nonsense = models(Vendor::OpenAi, "not a url");
    let asked = nonsense
        .request(request("gpt-x", vec![said("hi")]), &mut Recorder::default())
        .await;
    let error = asked.unwrap_err();
    assert!(!error.retryable && error.message.contains("base URL"), "{error}");
}

#[tokio::test]
async fn what_is_no_event_stream_points_at_the_base_url() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let page = Reply::Status {
            status: 200,
            headers: vec![("content-type".into(), "text/html".into())],
            body: "<html>".into(),
        };
        let error = failure(&rig, page).await;
        assert!(
            !error.retryable && error.message.contains("text/html") && error.message.contains("base URL"),
            "{error}"
        );
        let moved = Reply::error(302, "x", "moved").header("location", "http://127.0.0.1:1/");
        let error = failure(&rig, moved).await;
        assert!(!error.retryable && error.message.contains("302"), "{error}");
    }
}

#[tokio::test]
async fn scripted_failures_come_before_any_output() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let messages = [said("/fail 529 2\n/say done")];
        for _ in 0..2 {
            assert_eq!(
                rig.ask(&messages).await.unwrap_err().kind,
                ErrorKind::ModelOverloadedError
            );
        }
        assert!(rig.ask(&messages).await.is_ok());
    }
}
