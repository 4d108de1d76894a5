//! Forks: rows copied verbatim, then a life of their own.

use perennial_engine::ports::{AppendError, EventFilter, ForkFrom, Guard, Projection, Ready, SessionKey};
use perennial_schema::event::{Awaits, Body, Permission, SessionForked};
use perennial_schema::model::Usage;

use crate::fixture::{Rig, client, guarded, holder, new_session};
use crate::on_every_store;

on_every_store![
    rows_are_copied_verbatim,
    the_fork_goes_its_own_way,
    stamps_and_answers_follow_the_cut,
    a_fork_of_nothing_is_refused,
    a_fork_keeps_the_turn_and_drops_the_usage,
    a_repeated_fork_replays,
];

fn from(key: SessionKey, at_seq: u64) -> Option<ForkFrom> {
    Some(ForkFrom {
        session: key.session,
        at_seq,
    })
}

/// Forks with a `session.forked` behind the copy.
async fn fork(rig: &Rig, source: SessionKey, at_seq: u64) -> SessionKey {
    let key = rig.key();
    let mut new = new_session(key);
    new.events = vec![rig.event(Body::SessionForked(SessionForked {
        from_session: source.session,
        at_seq,
        workspace: "copied".into(),
    }))];
    let made = rig.store.create(new, from(source, at_seq)).await.unwrap();
    assert_eq!((made.first_seq, made.last_seq), (at_seq + 1, at_seq + 1));
    key
}

async fn rows_are_copied_verbatim(rig: Rig) {
    let (source, _, epoch) = rig.held().await;
    let mut step = holder(source, epoch, vec![rig.running(), rig.answer_text("a")]);
    step.projection.turn = Some(1);
    step.events[1].private = Some("{\"native_id\":\"x\"}".into());
    rig.append(step).await.unwrap();
    rig.say(source, "not copied").await;
    rig.clock.advance(1000);
    let copy = fork(&rig, source, 3).await;
    let (old, new) = (rig.log(source).await, rig.log(copy).await);
    assert_eq!(old[..3], new[..3], "with ids, turns and times");
    assert_eq!(new[3].kind, "session.forked");
    assert_eq!((old.len(), new.len()), (4, 4));
    assert!(!rig.row(copy).await.held);
}

async fn the_fork_goes_its_own_way(rig: Rig) {
    let source = rig.session().await;
    rig.say(source, "a").await;
    let copy = fork(&rig, source, 1).await;
    rig.say(copy, "only here").await;
    rig.say(source, "only there").await;
    rig.say(source, "and there").await;
    assert_eq!((rig.row(copy).await.head, rig.row(source).await.head), (3, 3));
    assert_ne!(rig.log(copy).await[2].id, rig.log(source).await[2].id);
}

async fn stamps_and_answers_follow_the_cut(rig: Rig) {
    let (source, _, epoch) = rig.held().await;
    let input = rig.log(source).await[0].id;
    let tool = rig.tool_use(Permission::Ask);
    let asks = tool.id;
    rig.append(holder(
        source,
        epoch,
        vec![rig.running(), rig.processed(&[input]), tool],
    ))
    .await
    .unwrap();
    rig.append(client(source, vec![rig.confirmation(asks)], Ready::Now))
        .await
        .unwrap();
    let stamped = async |key| {
        let filter = EventFilter {
            limit: 1,
            ..EventFilter::default()
        };
        !rig.list(key, filter).await[0].payload.contains("null")
    };
    let answer = |key| {
        let guard = Guard::Unanswered {
            tool_use_id: asks,
            awaits: Awaits::Confirmation,
        };
        guarded(client(key, vec![rig.confirmation(asks)], Ready::Now), guard)
    };
    let before = fork(&rig, source, 2).await;
    assert!(!stamped(before).await, "the input was not processed yet at 2");
    let between = fork(&rig, source, 4).await;
    assert!(stamped(between).await);
    rig.append(answer(between)).await.unwrap();
    let after = fork(&rig, source, 5).await;
    let twice = rig.append(answer(after)).await;
    assert!(matches!(twice, Err(AppendError::AlreadyAnswered(_))), "{twice:?}");
}

async fn a_fork_of_nothing_is_refused(rig: Rig) {
    let source = rig.session().await;
    rig.say(source, "a").await;
    let create = |from| rig.store.create(new_session(rig.key()), from);
    let beyond = create(from(source, 2)).await;
    assert!(matches!(beyond, Err(AppendError::Moved { head: 1 })), "{beyond:?}");
    let unknown = create(from(rig.key(), 0)).await;
    assert!(matches!(unknown, Err(AppendError::NotFound)), "{unknown:?}");
    let stranger = rig.tenant();
    let foreign = stranger
        .store
        .create(new_session(stranger.key()), from(source, 1))
        .await;
    assert!(matches!(foreign, Err(AppendError::NotFound)), "{foreign:?}");
    assert_eq!(
        rig.find(super::sessions::all()).await,
        [source.session],
        "nothing was made"
    );
    let empty = create(from(source, 0)).await.unwrap();
    assert_eq!(empty.last_seq, 0);
}

async fn a_fork_keeps_the_turn_and_drops_the_usage(rig: Rig) {
    let (source, _, epoch) = rig.held().await;
    let mut step = holder(source, epoch, vec![rig.running()]);
    step.projection.turn = Some(3);
    step.projection.usage = Usage {
        input_tokens: 10,
        ..Usage::default()
    };
    rig.append(step).await.unwrap();
    let row = rig.row(fork(&rig, source, 2).await).await;
    assert_eq!((row.turn, row.usage), (3, Usage::default()));
    let row = rig.row(fork(&rig, source, 1).await).await;
    assert_eq!(row.turn, 0);
}

async fn a_repeated_fork_replays(rig: Rig) {
    let source = rig.session().await;
    rig.say(source, "a").await;
    let key = rig.key();
    let mut new = new_session(key);
    new.projection = Projection::default();
    rig.store.create(new.clone(), from(source, 1)).await.unwrap();
    let again = rig.store.create(new, from(source, 1)).await.unwrap();
    assert_eq!((again.replayed, again.first_seq, again.last_seq), (true, 2, 1));
    assert_eq!(rig.log(key).await.len(), 1);
}
