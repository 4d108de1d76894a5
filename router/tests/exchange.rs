//! The exchange against a scripted executor on in-memory channels.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

use std::time::Duration;

use perennial_engine::ports::{CallError, Order, Placement, Router, SessionKey, Settled};
use perennial_router::{AttachError, Exchange, Settings};
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::Raw;
use perennial_schema::frame::{
    Call, CallState, Card, FromExecutor, Hello, PROTOCOL_VERSION, Refusal, ToExecutor, Workspace,
};
use perennial_schema::tool::{Effect, Outcome, args_hash};
use perennial_schema::{EventId, ExecutorId, JournalId, SessionId, WorkspaceId};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

const EXECUTOR: ExecutorId = ExecutorId::from_uuid(Uuid::from_u128(10));
const JOURNAL: JournalId = JournalId::from_uuid(Uuid::from_u128(11));
const OTHER_JOURNAL: JournalId = JournalId::from_uuid(Uuid::from_u128(12));
const SESSION: SessionId = SessionId::from_uuid(Uuid::from_u128(20));
const CALL: EventId = EventId::from_uuid(Uuid::from_u128(30));
const KEY: SessionKey = SessionKey {
    workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
    session: SESSION,
};

/// The executor's end of a link.
struct Hands {
    rx: mpsc::Receiver<ToExecutor>,
    tx: mpsc::Sender<FromExecutor>,
}

impl Hands {
    async fn next(&mut self) -> ToExecutor {
        self.rx.recv().await.expect("a frame")
    }

    async fn call(&mut self) -> Call {
        match self.next().await {
            ToExecutor::Call(call) => call,
            other => panic!("expected a call, got {other:?}"),
        }
    }

    async fn settle(&mut self) {
        match self.next().await {
            ToExecutor::Settle(settle) => assert_eq!(settle.call_id, CALL),
            other => panic!("expected a question, got {other:?}"),
        }
    }

    async fn say(&self, frame: FromExecutor) {
        self.tx.send(frame).await.expect("a listening router");
    }

    async fn result(&self, text: &str) {
        self.say(FromExecutor::Result {
            session: SESSION,
            call_id: CALL,
            outcome: Outcome::text(text, false),
        })
        .await;
    }

    async fn state(&self, state: CallState) {
        self.say(FromExecutor::Settled {
            session: SESSION,
            call_id: CALL,
            state,
        })
        .await;
    }

    async fn refuse(&self, reason: Refusal) {
        self.say(FromExecutor::Refused {
            session: SESSION,
            call_id: CALL,
            reason,
        })
        .await;
    }
}

fn exchange() -> Exchange {
    Exchange::new(Settings::default())
}

async fn attach_as(exchange: &Exchange, journal_id: JournalId, contained: bool) -> Hands {
    let (to, rx) = mpsc::channel(8);
    let (tx, from) = mpsc::channel(8);
    let hello = Hello {
        version: PROTOCOL_VERSION,
        executor_id: EXECUTOR,
        journal_id,
        card: Card {
            contained,
            ..Card::default()
        },
    };
    tx.send(FromExecutor::Hello(hello)).await.unwrap();
    assert_eq!(exchange.attach(to, from).await, Ok(EXECUTOR));
    Hands { rx, tx }
}

async fn attach(exchange: &Exchange) -> Hands {
    attach_as(exchange, JOURNAL, true).await
}

fn order() -> Order {
    Order {
        key: KEY,
        epoch: 7,
        call_id: CALL,
        tool: "bash".into(),
        input: Raw::of(&json!({"command": "date"})),
        effect: Effect::Once,
        placement: Placement {
            executor_id: EXECUTOR,
            journal_id: JOURNAL,
        },
        environment: EnvironmentConfig::Local {
            executor_id: None,
            dir: None,
            preparation: Preparation::default(),
        },
        secret: None,
        mcp: None,
    }
}

fn doubt(settled: Result<Settled, CallError>) -> String {
    match settled {
        Ok(Settled::InDoubt { reason }) => reason,
        other => panic!("expected doubt, got {other:?}"),
    }
}

#[tokio::test]
async fn a_call_goes_out_whole_and_its_result_comes_back() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    let order = order();
    let (outcome, ()) = tokio::join!(exchange.call(order.clone()), async {
        let call = hands.call().await;
        assert_eq!((call.session, call.call_id, call.epoch), (SESSION, CALL, 7));
        assert_eq!(call.args_hash, args_hash("bash", order.input.text()));
        assert_eq!(call.workspace, Workspace::Session);
        hands.result("done").await;
    });
    assert_eq!(outcome.unwrap(), Outcome::text("done", false));
}

#[tokio::test]
async fn a_local_environment_names_its_folder() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    let order = Order {
        environment: EnvironmentConfig::Local {
            executor_id: None,
            dir: Some("/srv/app".into()),
            preparation: Preparation::default(),
        },
        ..order()
    };
    let (_, ()) = tokio::join!(exchange.call(order), async {
        let path = "/srv/app".into();
        assert_eq!(hands.call().await.workspace, Workspace::Dir { path });
        hands.result("done").await;
    });
}

#[tokio::test]
async fn refusals_say_whether_anything_was_started() {
    type Check = fn(&CallError) -> bool;
    let not_started: Check = |error| matches!(error, CallError::NotStarted(_));
    let cases: [(Refusal, Check); 5] = [
        (Refusal::StaleEpoch { seen: 8 }, |error| {
            matches!(error, CallError::Fenced)
        }),
        (Refusal::OtherArguments, not_started),
        (Refusal::Busy, not_started),
        (
            Refusal::JournalUnavailable {
                message: "disk full".into(),
            },
            not_started,
        ),
        (Refusal::Lost, |error| matches!(error, CallError::Unknown(_))),
    ];
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    for (refusal, expected) in cases {
        let (answer, ()) = tokio::join!(exchange.call(order()), async {
            hands.call().await;
            hands.refuse(refusal.clone()).await;
        });
        let error = answer.unwrap_err();
        assert!(expected(&error), "{refusal:?} became {error:?}");
    }
}

#[tokio::test]
async fn a_link_that_ends_leaves_the_outcome_unknown() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    let (answer, ()) = tokio::join!(exchange.call(order()), async move {
        hands.call().await;
    });
    assert!(matches!(answer, Err(CallError::Unknown(_))), "{answer:?}");
}

#[tokio::test]
async fn giving_up_on_a_call_does_not_cancel_it() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    {
        let call = exchange.call(order());
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => panic!("nothing answered yet"),
            _ = hands.call() => {}
        }
    }
    // The next frame is the question about it, not a cancel.
    let (settled, ()) = tokio::join!(exchange.settle(order()), async {
        hands.settle().await;
        hands.state(CallState::Running).await;
        hands.result("late").await;
    });
    assert_eq!(settled.unwrap(), Settled::Done(Outcome::text("late", false)));
}

#[tokio::test]
async fn cancel_is_a_frame_of_its_own() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    exchange.cancel(KEY, 7, CALL).await;
    let expected = ToExecutor::Cancel {
        session: SESSION,
        epoch: 7,
        call_id: CALL,
    };
    assert_eq!(hands.next().await, expected);
}

#[tokio::test]
async fn the_named_journal_answers_for_a_call() {
    let outcome = Outcome::text("stored", false);
    let cases = [
        (CallState::NeverStarted, Settled::NeverStarted),
        (
            CallState::Done {
                outcome: outcome.clone(),
            },
            Settled::Done(outcome),
        ),
    ];
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    for (state, expected) in cases {
        let (settled, ()) = tokio::join!(exchange.settle(order()), async {
            hands.settle().await;
            hands.state(state).await;
        });
        assert_eq!(settled.unwrap(), expected);
    }
    let (settled, ()) = tokio::join!(exchange.settle(order()), async {
        hands.settle().await;
        hands.state(CallState::Lost).await;
    });
    assert!(doubt(settled).contains("lost it"));
}

#[tokio::test]
async fn another_journal_cannot_say_never_started() {
    let exchange = exchange();
    let mut hands = attach_as(&exchange, OTHER_JOURNAL, true).await;
    let (settled, ()) = tokio::join!(exchange.settle(order()), async {
        hands.settle().await;
        hands.state(CallState::NeverStarted).await;
    });
    assert!(doubt(settled).contains("put back to older state"));
    // What it does know has happened, whatever it has forgotten.
    let outcome = Outcome::text("done", false);
    let (settled, ()) = tokio::join!(exchange.settle(order()), async {
        hands.settle().await;
        let outcome = outcome.clone();
        hands.state(CallState::Done { outcome }).await;
    });
    assert_eq!(settled.unwrap(), Settled::Done(outcome));
    assert!(matches!(exchange.call(order()).await, Err(CallError::NotSent(_))));
    assert!(hands.rx.try_recv().is_err(), "nothing may be sent to the wrong journal");
}

#[tokio::test]
async fn a_stale_question_is_fenced() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    let (settled, ()) = tokio::join!(exchange.settle(order()), async {
        hands.settle().await;
        hands.refuse(Refusal::StaleEpoch { seen: 9 }).await;
    });
    assert!(matches!(settled, Err(CallError::Fenced)), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn an_absent_executor_is_waited_for_a_bounded_time() {
    let exchange = exchange();
    assert!(doubt(exchange.settle(order()).await).contains("gone"));
    assert!(exchange.place(KEY, &order().environment).await.is_err());

    let (settled, ()) = tokio::join!(exchange.settle(order()), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut hands = attach(&exchange).await;
        hands.settle().await;
        hands.state(CallState::NeverStarted).await;
    });
    assert_eq!(settled.unwrap(), Settled::NeverStarted);
}

#[tokio::test]
async fn a_question_survives_a_broken_link() {
    let exchange = exchange();
    let mut first = attach(&exchange).await;
    let (settled, ()) = tokio::join!(exchange.settle(order()), async {
        first.settle().await;
        first.state(CallState::Running).await;
        drop(first);
        let mut second = attach(&exchange).await;
        second.settle().await;
        second.result("still mine").await;
    });
    assert_eq!(settled.unwrap(), Settled::Done(Outcome::text("still mine", false)));
}

#[tokio::test]
async fn the_newest_link_of_an_executor_wins() {
    let exchange = exchange();
    let mut old = attach(&exchange).await;
    let mut new = attach(&exchange).await;
    assert_eq!(old.rx.recv().await, None, "the older link is cut");
    let (outcome, ()) = tokio::join!(exchange.call(order()), async {
        new.call().await;
        new.result("by the new one").await;
    });
    assert_eq!(outcome.unwrap(), Outcome::text("by the new one", false));
}

#[tokio::test]
async fn placement_names_executor_and_journal() {
    let exchange = exchange();
    let _hands = attach(&exchange).await;
    assert_eq!(exchange.place(KEY, &order().environment).await, Ok(order().placement));
    assert!(exchange.place(KEY, &EnvironmentConfig::SelfHosted).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn only_a_hello_opens_a_link() {
    let exchange = exchange();
    let (to, _rx) = mpsc::channel(1);
    let (tx, from) = mpsc::channel(1);
    assert_eq!(exchange.attach(to.clone(), from).await, Err(AttachError::Silent));
    drop(tx);
    let (tx, from) = mpsc::channel(1);
    tx.send(FromExecutor::Pong { nonce: 1 }).await.unwrap();
    assert_eq!(exchange.attach(to.clone(), from).await, Err(AttachError::NotHello));
    let (tx, from) = mpsc::channel(1);
    drop(tx);
    assert_eq!(exchange.attach(to, from).await, Err(AttachError::HungUp));
}

#[tokio::test]
async fn workspaces_are_copied_and_sessions_forgotten() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    let to = SessionId::from_uuid(Uuid::from_u128(21));
    for error in [None, Some("no room".to_owned())] {
        let (copied, ()) = tokio::join!(exchange.copy_workspace(SESSION, to, None), async {
            assert_eq!(hands.next().await, ToExecutor::CopyWorkspace { from: SESSION, to });
            let error = error.clone();
            hands.say(FromExecutor::WorkspaceCopied { to, error }).await;
        });
        assert_eq!(copied.err(), error);
    }
    exchange.forget(SESSION, None).await;
    assert_eq!(hands.next().await, ToExecutor::Forget { session: SESSION });
}

#[tokio::test(start_paused = true)]
async fn a_workspace_elsewhere_is_neither_copied_nor_forgotten_here() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    let (to, elsewhere) = (
        SessionId::from_uuid(Uuid::from_u128(21)),
        ExecutorId::from_uuid(Uuid::from_u128(99)),
    );
    let refused = exchange.copy_workspace(SESSION, to, Some(elsewhere)).await;
    assert!(refused.unwrap_err().contains("not attached"));
    exchange.forget(to, Some(elsewhere)).await;
    exchange.forget(SESSION, Some(EXECUTOR)).await;
    assert_eq!(hands.next().await, ToExecutor::Forget { session: SESSION });
}

#[tokio::test]
async fn closing_cuts_links_and_ends_their_readers() {
    let exchange = exchange();
    let mut hands = attach(&exchange).await;
    exchange.close().await;
    assert_eq!(hands.rx.recv().await, None);
    let (to, _rx) = mpsc::channel(1);
    let (tx, from) = mpsc::channel(1);
    let hello = Hello {
        version: PROTOCOL_VERSION,
        executor_id: EXECUTOR,
        journal_id: JOURNAL,
        card: Card::default(),
    };
    tx.send(FromExecutor::Hello(hello)).await.unwrap();
    assert_eq!(exchange.attach(to, from).await, Err(AttachError::Closing));
}
