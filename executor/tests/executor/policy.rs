//! The owner's terms: what is not offered is refused here, whoever asks and whatever it is called.

use std::pin::Pin;
use std::sync::Arc;

use perennial_executor::{Ask, Config, Executor, Policy, Sandbox};
use perennial_schema::PackId;
use perennial_schema::frame::{Call, CallState, Card, FromExecutor, PackAnswer, PackAsk, ToExecutor, Workspace};
use perennial_schema::stream::Purpose;
use perennial_schema::tool::{Builtin, Effect};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use crate::rig::*;

async fn house(policy: Policy) -> (TempDir, Arc<Executor>, Link) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        policy,
        ..config(&dir.path().join("data"), Sandbox::Off)
    };
    let executor = Arc::new(Executor::open(config).await.unwrap());
    let link = Link::open(&executor).await;
    (dir, executor, link)
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_is_refused_on_the_machine_itself() {
    let policy = Policy {
        read_only: true,
        ..Policy::default()
    };
    let (dir, _executor, mut link) = house(policy).await;
    assert_eq!(link.hello.card.tools, ["read", "glob", "grep"]);
    let mut declared = bash("echo ran > made");
    // A hostile server calls it harmless.
    declared.effect = Effect::Read;
    for call in [
        declared,
        bash("echo ran > made"),
        call("write", &json!({"file_path": "made", "content": "x"})),
        call(
            "edit",
            &json!({"file_path": "made", "old_string": "a", "new_string": "b"}),
        ),
    ] {
        let refused = link.run(&call).await;
        assert!(
            refused.is_error && text(&refused).contains("does not offer"),
            "{refused:?}"
        );
        // It left no trace: nothing was started.
        assert_eq!(link.settle(&call).await, Ok(CallState::NeverStarted));
    }
    let glob = link.run(&call("glob", &json!({"pattern": "*"}))).await;
    assert!(!glob.is_error, "{glob:?}");
    // Nor folders as a whole.
    link.send(ToExecutor::CopyWorkspace {
        from: session(1),
        to: session(2),
    })
    .await;
    let copied = |frame: &FromExecutor| match frame {
        FromExecutor::WorkspaceCopied { error, .. } => Some(error.clone()),
        _ => None,
    };
    assert!(
        link.expect("an answer", copied)
            .await
            .unwrap()
            .contains("does not offer")
    );
    for ask in [
        PackAsk::Make {
            session: session(1),
            workspace: Workspace::Session,
        },
        PackAsk::Write {
            offset: 0,
            piece: String::new(),
        },
        PackAsk::Unpack { session: session(3) },
    ] {
        let pack = PackId::from_uuid(Uuid::now_v7());
        link.send(ToExecutor::Pack { pack, ask }).await;
        let failed = |frame: &FromExecutor| match frame {
            FromExecutor::Pack { answer, .. } => Some(matches!(answer, PackAnswer::Failed { .. })),
            _ => None,
        };
        assert!(link.expect("an answer", failed).await);
    }
    let made = walk(&dir.path().join("data"));
    assert!(!made.iter().any(|name| name == "made"), "{made:?}");
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        if entry.path().is_dir() {
            names.extend(walk(&entry.path()));
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_tools_that_are_offered_run() {
    let policy = Policy {
        tools: Some(vec![Builtin::Write]),
        ..Policy::default()
    };
    let (_dir, _executor, mut link) = house(policy).await;
    assert_eq!(link.hello.card.tools, ["write"]);
    let written = link
        .run(&call("write", &json!({"file_path": "a", "content": "x"})))
        .await;
    assert!(!written.is_error, "{written:?}");
    let refused = link.run(&call("read", &json!({"file_path": "a"}))).await;
    assert!(
        refused.is_error && text(&refused).ends_with("offers: write"),
        "{refused:?}"
    );
}

/// An owner in the test's hand.
#[derive(Debug)]
struct Hand {
    asked: mpsc::UnboundedSender<String>,
    words: Mutex<mpsc::UnboundedReceiver<bool>>,
}

impl Ask for Hand {
    fn opens<'a>(&'a self, _: &'a Purpose) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(std::future::ready(false))
    }

    fn allows<'a>(&'a self, call: &'a Call) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let mut words = self.words.lock().await;
            let _ = self.asked.send(call.tool.clone());
            words.recv().await.unwrap_or(false)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_its_owners_word() {
    let ((asked, mut questions), (word, words)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let owner = Arc::new(Hand {
        asked,
        words: Mutex::new(words),
    });
    let policy = Policy {
        ask: Some(owner),
        ..Policy::default()
    };
    let (_dir, executor, mut link) = house(policy).await;
    // No.
    let refused = bash("echo ran >> ledger");
    link.send(ToExecutor::Call(refused.clone())).await;
    assert_eq!(questions.recv().await.as_deref(), Some("bash"));
    // While it is asked, it counts as running, for other links too, and is not asked twice.
    assert_eq!(link.settle(&refused).await, Ok(CallState::Running));
    let mut other = Link::open(&executor).await;
    other.send(ToExecutor::Call(refused.clone())).await;
    other.ping().await;
    word.send(false).unwrap();
    let outcome = link.result(refused.call_id).await;
    assert!(outcome.is_error && text(&outcome).contains("refused"), "{outcome:?}");
    assert_eq!(other.result(refused.call_id).await, outcome);
    // And is never begun later.
    assert_eq!(link.run(&refused).await, outcome);
    // Yes, and in their order.
    let (first, second) = (
        bash("echo ran >> ledger; cat ledger"),
        call("read", &json!({"file_path": "ledger"})),
    );
    link.send(ToExecutor::Call(first.clone())).await;
    questions.recv().await.unwrap();
    word.send(true).unwrap();
    assert_eq!(text(&link.result(first.call_id).await), "ran\n");
    word.send(true).unwrap();
    assert!(text(&link.run(&second).await).contains("ran"));
    questions.recv().await.unwrap();
    // Cancelled while it is asked: the question is taken back, and nothing runs.
    let cancelled = bash("echo ran >> ledger");
    link.send(ToExecutor::Call(cancelled.clone())).await;
    questions.recv().await.unwrap();
    link.send(cancel(&cancelled)).await;
    let outcome = link.result(cancelled.call_id).await;
    assert!(text(&outcome).contains("cancelled"), "{outcome:?}");
    word.send(true).unwrap();
    let last = bash("wc -l < ledger");
    assert_eq!(text(&link.run(&last).await), "1\n");
}

/// Its cancel came on another way and was faster: the call is not begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_after_its_cancel_is_not_begun() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let late = bash("echo ran >> ledger");
    rig.link.send(cancel(&late)).await;
    let outcome = rig.link.run(&late).await;
    assert!(outcome.is_error && text(&outcome).contains("not begun"), "{outcome:?}");
    assert_eq!(text(&rig.link.run(&bash("ls")).await), "[no output]");
}

/// What a machine says of itself is said again when it changes, to everybody on the line.
#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_said_again_when_it_changes() {
    let mut rig = Rig::new(Sandbox::Off).await;
    let card = Card {
        cpus: Some(7),
        ..Card::default()
    };
    rig.executor.describe(card.clone());
    let cpus = |frame: &FromExecutor| match frame {
        FromExecutor::Hello(hello) => Some((hello.card.cpus, hello.card.tools.len())),
        _ => None,
    };
    assert_eq!(rig.link.expect("a hello", cpus).await, (Some(7), Builtin::ALL.len()));
    // The same again is no news; a later link hears it at once.
    rig.executor.describe(card);
    rig.link.ping().await;
    assert_eq!(Link::open(&rig.executor).await.hello.card.cpus, Some(7));
}
