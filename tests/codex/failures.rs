//! What goes wrong: the right class, another try only where it may help, and words a person understands.

use std::time::Duration;

use perennial_engine::ports::{Lane, Part, ToolSpec};
use perennial_schema::event::{ErrorKind, Permission};
use perennial_schema::tool::Effect;
use serde_json::json;

use crate::bench::{self, Bench, KEY, said, tools};
use crate::upstream::{Reply, error, system, text, user};

#[tokio::test]
async fn provider_errors_keep_their_class_and_are_not_retried_here() {
    for (status, kind, retryable) in [
        (429, ErrorKind::ModelRateLimitedError, true),
        (503, ErrorKind::ModelOverloadedError, true),
        (529, ErrorKind::ModelOverloadedError, true),
        (500, ErrorKind::ModelRequestFailedError, true),
        (401, ErrorKind::ModelRequestFailedError, false),
        (400, ErrorKind::ModelRequestFailedError, false),
        (404, ErrorKind::ModelRequestFailedError, false),
        (402, ErrorKind::BillingError, false),
    ] {
        let headers: &[(&str, &str)] = if status == 429 { &[("retry-after", "7")] } else { &[] };
        let reply = Reply::Fails(status, headers, error("scripted", "because of the script"));
        let Some(mut bench) = Bench::open(vec![reply]).await else {
            return;
        };
        let error = bench.think(vec![said("go")]).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (kind, retryable), "{status}: {error}");
        assert!(error.message.contains("because of the script"), "{error}");
        assert_eq!(error.retry_after, (status == 429).then_some(Duration::from_secs(7)));
        assert_eq!(bench.upstream.requests().len(), 1, "{status}");
        bench.deserted().await;
    }
}

#[tokio::test]
async fn a_wrong_model_is_named() {
    let reply = Reply::Fails(
        404,
        &[],
        error("model_not_found", "The model `gpt-nope` does not exist"),
    );
    let Some(mut bench) = Bench::open(vec![reply]).await else {
        return;
    };
    bench.agent.model.id = "openai/gpt-nope".into();
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(
        error.message.contains("gpt-nope") && error.message.contains("model id") && !error.retryable,
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_whole_may_be_tried_again() {
    for (reply, kind) in [
        (Reply::Breaks, ErrorKind::ModelRequestFailedError),
        (Reply::Mumbles, ErrorKind::ModelRequestFailedError),
        (Reply::Gives("server_error"), ErrorKind::ModelRequestFailedError),
        (Reply::Gives("server_is_overloaded"), ErrorKind::ModelOverloadedError),
        (Reply::Gives("rate_limit_exceeded"), ErrorKind::ModelRateLimitedError),
    ] {
        let Some(mut bench) = Bench::open(vec![reply, Reply::Says(vec![text("whole")])]).await else {
            return;
        };
        let error = bench.think(vec![said("go")]).await.unwrap_err();
        assert!(error.retryable && error.kind == kind, "{error}");
        assert_eq!(bench.upstream.requests().len(), 1);
        let step = bench.think(vec![said("go")]).await.unwrap();
        assert!(
            matches!(&step.parts[..], [Part::Text { text, .. }] if text == "whole"),
            "{step:?}"
        );
        assert_eq!(bench.upstream.conversation(1), [system("You are a test."), user("go")]);
    }
}

#[tokio::test]
async fn money_is_not_tried_again() {
    let Some(mut bench) = Bench::open(vec![Reply::Gives("insufficient_quota")]).await else {
        return;
    };
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retryable),
        (ErrorKind::BillingError, false),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_model_ends_the_attempt() {
    for reply in [Reply::Hangs, Reply::Stalls] {
        let Some(mut bench) = Bench::open(vec![reply]).await else {
            return;
        };
        bench.change(|settings| settings.silence = Duration::from_secs(2));
        let error = bench.think(vec![said("go")]).await.unwrap_err();
        assert!(error.retryable && error.message.contains("silent"), "{error}");
        bench.upstream.hung_up().await;
    }
}

#[tokio::test]
async fn a_silent_process_ends_the_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let mute = r#"case "$1" in
--version) echo "codex-cli 0.169.0";;
debug) echo '{"models": []}';;
*) sed -u -n 's/.*"id":\([0-9]*\).*/{"id":\1,"result":{}}/p';;
esac"#;
    let binary = bench::script(folder.path(), "mute", mute);
    let mut bench = Bench::with_binary(Some(binary), Vec::new()).await;
    bench.change(|settings| settings.silence = Duration::from_millis(300));
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(error.retryable && error.message.contains("silent"), "{error}");
}

#[tokio::test]
async fn a_missing_or_old_binary_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let old = bench::script(folder.path(), "old", "echo 'codex-cli 0.168.9'");
    let other = bench::script(folder.path(), "other", "echo 'GNU nothing 1.0'");
    let broken = bench::script(folder.path(), "broken", "echo no good >&2; exit 3");
    let strange = bench::script(
        folder.path(),
        "strange",
        "[ \"$1\" = --version ] && echo 'codex-cli 9.0.0'",
    );
    for (binary, says) in [
        (None, "set PERENNIAL_CODEX_BIN"),
        (Some("/nowhere/codex".into()), "/nowhere/codex"),
        (Some(old), "too old"),
        (Some(other), "does not say it is Codex"),
        (Some(broken), "no good"),
        (Some(strange), "models"),
    ] {
        let mut bench = Bench::with_binary(binary, Vec::new()).await;
        let error = bench.think(vec![said("go")]).await.unwrap_err();
        assert!(error.message.contains(says) && !error.retryable, "{error}");
        assert_eq!(bench.homes(), 0);
    }
}

#[tokio::test]
async fn a_first_look_that_is_killed_is_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let at_once = bench::script(folder.path(), "at-once", "kill -9 $$");
    let at_its_models = bench::script(
        folder.path(),
        "at-its-models",
        "[ \"$1\" = --version ] && echo 'codex-cli 0.169.0' || kill -9 $$",
    );
    for binary in [at_once, at_its_models] {
        let mut bench = Bench::with_binary(Some(binary), Vec::new()).await;
        let error = bench.think(vec![said("go")]).await.unwrap_err();
        assert!(error.retryable, "{error}");
        assert_eq!(bench.homes(), 0);
    }
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let Some(mut bench) = Bench::open(Vec::new()).await else {
        return;
    };
    let gate = perennial_worker::harness::Direct {
        base_url: bench.upstream.url.clone(),
        key: "".into(),
    };
    bench.change(|settings| settings.gate = std::sync::Arc::new(gate));
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(error.message.contains("OPENAI_API_KEY") && !error.retryable, "{error}");
}

#[tokio::test]
async fn a_thread_without_our_tools_fails_the_attempt() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")])]).await else {
        return;
    };
    // A tool no function can be.
    let broken = ToolSpec {
        name: "broken".into(),
        description: String::new(),
        input_schema: json!({"type": "string"}),
        lane: Lane::Client,
        permission: Permission::Allow,
        effect: Effect::Once,
        choices: Vec::new(),
    };
    bench.tools = [tools(), vec![broken]].concat();
    let outcome = bench.think(vec![said("go")]).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert_eq!(bench.sink.text, "", "nothing of such a turn is shown");
    assert_eq!(
        bench.upstream.requests().len(),
        bench.upstream.violations().len(),
        "or it was refused as what it is"
    );
}

#[tokio::test]
async fn a_key_that_the_provider_repeats_is_not_passed_on() {
    let reply = Reply::Fails(
        401,
        &[],
        error("invalid_api_key", &format!("Incorrect API key provided: {KEY}")),
    );
    let Some(mut bench) = Bench::open(vec![reply]).await else {
        return;
    };
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(!error.message.contains(KEY), "{error}");
}
