//! What goes wrong with the model, the program or its settings: the right class, another try where it may help, and words a
//! person understands.

use std::time::Duration;

use perennial_schema::event::ErrorKind;
use perennial_worker::harness::Direct;
use serde_json::Value;

use crate::bench::{self, Bench, said};
use crate::upstream::{Reply, text};
use crate::user;

/// What is to come of it.
struct Expected {
    kind: ErrorKind,
    retryable: bool,
    /// In the message.
    says: &'static str,
}

const fn expect(kind: ErrorKind, retryable: bool, says: &'static str) -> Expected {
    Expected { kind, retryable, says }
}

async fn fails_as(what: &str, reply: Reply, expected: Expected) -> Option<()> {
    // 2.1.197 asks once more when there is no such model.
    let mut bench = Bench::open(vec![reply, Reply::Fails(404)]).await?;
    // Longer than a start takes on a busy machine, where silence is what is waited for.
    if expected.says.starts_with("silent") {
        bench.set_silence(Duration::from_secs(20));
    }
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retryable),
        (expected.kind, expected.retryable),
        "{what}: {error}"
    );
    assert!(error.message.contains(expected.says), "{what}: {error}");
    for advice in ["/login", "--model", "127.0.0.1"] {
        assert!(!error.message.contains(advice), "{what}: {error}");
    }
    assert_eq!((bench.settings.waiting(), bench.homes()), (0, 0), "{what}");
    Some(())
}

#[tokio::test]
async fn a_refusing_provider() {
    let failed = ErrorKind::ModelRequestFailedError;
    for (status, expected) in [
        (400, expect(failed, false, "status 400: scripted")),
        (401, expect(failed, false, "check the API key")),
        (403, expect(failed, false, "check the API key")),
        (404, expect(failed, false, "check the agent's model id")),
        (402, expect(ErrorKind::BillingError, false, "credit")),
        (413, expect(ErrorKind::CompactionLimitReachedError, false, "413")),
        (
            429,
            expect(ErrorKind::ModelRateLimitedError, true, "status 429: scripted"),
        ),
        (500, expect(failed, true, "status 500: scripted")),
        (
            529,
            expect(ErrorKind::ModelOverloadedError, true, "status 529: scripted"),
        ),
    ] {
        if fails_as(&status.to_string(), Reply::Fails(status), expected)
            .await
            .is_none()
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_not_whole() {
    let failed = ErrorKind::ModelRequestFailedError;
    for (what, reply, expected) in [
        ("cut", Reply::Breaks, expect(failed, true, "")),
        ("garbled", Reply::Garbles, expect(failed, true, "")),
        ("error", Reply::Errs("api_error"), expect(failed, true, "")),
        ("empty", Reply::Nothing, expect(failed, true, "")),
        ("silent", Reply::Hangs, expect(failed, true, "silent for 20 s")),
        ("stalled", Reply::Stalls, expect(failed, true, "silent for 20 s")),
    ] {
        if fails_as(what, reply, expected).await.is_none() {
            return;
        }
    }
}

#[tokio::test]
async fn a_broken_stream_may_be_tried_again() {
    for reply in [Reply::Breaks, Reply::Garbles] {
        let Some(mut bench) = Bench::open(vec![reply, Reply::Says(vec![text("whole")], "end_turn")]).await else {
            return;
        };
        let error = bench.think(vec![said("go")]).await.unwrap_err();
        assert!(error.retryable, "{error}");
        assert_eq!(
            bench.upstream.requests().len(),
            1,
            "the turn loop tries again, nobody else"
        );
        let step = bench.think(vec![said("go")]).await.unwrap();
        assert_eq!(format!("{:?}", step.parts).matches("whole").count(), 1);
        assert_eq!(bench.upstream.conversation(1), [user(vec![text("go")])]);
    }
}

#[tokio::test]
async fn a_silent_model_is_given_up_and_hears_of_it() {
    let Some(mut bench) = Bench::open(vec![Reply::Hangs]).await else {
        return;
    };
    bench.set_silence(Duration::from_secs(20));
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(error.retryable && error.message.contains("silent"), "{error}");
    bench.upstream.hung_up().await;
}

#[tokio::test]
async fn a_provider_that_is_not_there() {
    let Some(mut bench) = Bench::open(Vec::new()).await else {
        return;
    };
    // Nobody listens at the discard port.
    bench.through(Direct {
        base_url: "http://127.0.0.1:9".into(),
        key: "test-key".into(),
    });
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(
        error.retryable && error.message.contains("Unable to connect"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let Some(mut bench) = Bench::open(Vec::new()).await else {
        return;
    };
    bench.through(Direct {
        base_url: bench.upstream.url.clone(),
        key: "".into(),
    });
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(
        error.message.contains("ANTHROPIC_API_KEY") && !error.retryable,
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_or_old_binary_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let old = bench::script(folder.path(), "old", "echo '2.1.100 (Claude Code)'");
    let other = bench::script(folder.path(), "other", "echo 'GNU nothing 1.0'");
    let broken = bench::script(folder.path(), "broken", "echo no good >&2; exit 3");
    for (binary, says) in [
        (None, "set PERENNIAL_CLAUDE_BIN"),
        (Some("/nowhere/claude".into()), "/nowhere/claude"),
        (Some(old), "too old"),
        (Some(other), "does not say it is Claude Code"),
        (Some(broken), "no good"),
    ] {
        let mut bench = Bench::with_binary(binary, Vec::new()).await;
        let error = bench.think(vec![said("go")]).await.unwrap_err();
        assert!(error.message.contains(says) && !error.retryable, "{error}");
    }
}

#[tokio::test]
async fn a_first_look_that_is_killed_is_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let binary = bench::script(folder.path(), "claude", "kill -9 $$");
    let mut bench = Bench::with_binary(Some(binary), Vec::new()).await;
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(error.retryable, "{error}");
}

/// A program that passes for Claude Code and then behaves as `body` says.
async fn pretender(body: &str) -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let version = r#"case "$1" in --version) echo "2.1.197 (Claude Code)"; exit 0;; esac"#;
    let binary = bench::script(folder.path(), "claude", &format!("{version}\n{body}"));
    let mut bench = Bench::with_binary(Some(binary), Vec::new()).await;
    bench.settings.bubblewrap = None;
    bench.set_silence(Duration::from_secs(2));
    (folder, bench)
}

/// As 2.1.197 does when a line of its session file has no `model`: not a word, for ever.
#[tokio::test]
async fn a_program_that_hangs_ends_the_attempt() {
    let (_folder, mut bench) = pretender("sleep 600").await;
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(error.retryable && error.message.contains("silent for 2 s"), "{error}");
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn a_program_that_dies_leaves_its_last_words() {
    let (_folder, mut bench) = pretender("echo 'no more memory' >&2; exit 137").await;
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(error.retryable && error.message.contains("no more memory"), "{error}");
    let (_folder, mut bench) = pretender("echo 'Segmentation fault'; sleep 600").await;
    let error = bench.think(vec![said("go")]).await.unwrap_err();
    assert!(error.retryable && error.message.contains("unknown shape"), "{error}");
}

/// The hang of the missing model cannot come: whatever a conversation holds, each assistant line names one.
#[tokio::test]
async fn every_line_of_a_transcript_that_needs_a_model_has_one() {
    let (folder, mut bench) = pretender("cp -r \"$HOME/projects\" \"$(dirname \"$0\")/seen\"; sleep 600").await;
    let step = bench::step(vec![text(""), text("a"), crate::bash("toolu_a", "date")]);
    let log = vec![said("go"), bench::spoke(&step), bench::results(&step, &["x"])];
    bench.think(log).await.unwrap_err();
    let seen = std::fs::read_dir(folder.path().join("seen"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let file = std::fs::read_dir(seen.path()).unwrap().next().unwrap().unwrap();
    let lines = std::fs::read_to_string(file.path()).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let assistant: Vec<_> = lines.iter().filter(|line| line["type"] == "assistant").collect();
    assert_eq!(assistant.len(), 2);
    assert!(
        assistant
            .iter()
            .all(|line| line["message"]["model"] == "claude-opus-4-5")
    );
}
