//! Imports: the log of another server, with the numbers, ids, turns and times it had there, then a life of its own.

use perennial_engine::ports::{EventFilter, Guard, Past, Ready, SessionKey};
use perennial_schema::Timestamp;
use perennial_schema::event::{Awaits, Draft, Permission, Record};

use crate::fixture::{Rig, client, guarded, holder, new_session};
use crate::on_every_store;

on_every_store![
    a_log_arrives_as_it_was,
    an_imported_session_goes_on,
    a_long_log_arrives_whole,
    a_repeated_import_replays,
];

/// What an export holds of these rows: consecutive rows of one commit together.
fn past(records: &[Record]) -> Vec<Past> {
    let mut past: Vec<Past> = Vec::new();
    for record in records {
        let draft = Draft {
            id: record.id,
            body: record.decode().unwrap().body,
            payload: record.payload.clone(),
            private: record.private.clone(),
            actor: record.actor.clone(),
        };
        match past.last_mut() {
            Some(last) if (last.at, last.turn) == (record.created_at, record.turn) => last.events.push(draft),
            _ => past.push(Past {
                at: record.created_at,
                turn: record.turn,
                events: vec![draft],
            }),
        }
    }
    past
}

/// A session with an answered question in it, and one that is not.
async fn source(rig: &Rig) -> SessionKey {
    let (source, _, epoch) = rig.held().await;
    let input = rig.log(source).await[0].id;
    rig.clock.advance(1000);
    let (first, second) = (rig.tool_use(Permission::Ask), rig.tool_use(Permission::Ask));
    let asks = first.id;
    let mut step = holder(
        source,
        epoch,
        vec![rig.running(), rig.processed(&[input]), first, second],
    );
    step.projection.turn = Some(1);
    step.events[2].private = Some("{\"native_id\":\"x\"}".into());
    rig.append(step).await.unwrap();
    rig.clock.advance(1000);
    rig.append(client(source, vec![rig.confirmation(asks)], Ready::Now))
        .await
        .unwrap();
    rig.clock.advance(1000);
    source
}

async fn import(rig: &Rig, past: Vec<Past>) -> SessionKey {
    let key = rig.key();
    let mut new = new_session(key);
    new.events = vec![rig.running()];
    let count: u64 = past.iter().map(|commit| commit.events.len() as u64).sum();
    let made = rig.store.import(new, past).await.unwrap();
    assert_eq!(
        (made.first_seq, made.last_seq, made.replayed),
        (count + 1, count + 1, false)
    );
    key
}

async fn a_log_arrives_as_it_was(rig: Rig) {
    let source = source(&rig).await;
    let old = rig.log(source).await;
    let copy = import(&rig, past(&old)).await;
    let new = rig.log(copy).await;
    assert_eq!(old[..], new[..old.len()], "with ids, turns, times and private parts");
    assert_eq!(new.len(), old.len() + 1);
    let row = rig.row(copy).await;
    assert_eq!((row.head, row.turn, row.held), (new.len() as u64, 1, false));
    let filter = EventFilter {
        limit: 10,
        ..EventFilter::default()
    };
    let listed = |records: Vec<Record>| records.into_iter().map(|record| record.payload).collect::<Vec<_>>();
    let (theirs, ours) = (
        listed(rig.store.list(source, filter.clone()).await.unwrap()),
        listed(rig.store.list(copy, filter).await.unwrap()),
    );
    assert_eq!(
        theirs[..],
        ours[..theirs.len()],
        "stamps of inputs are those of the other log"
    );
    let found = rig.store.event(copy, old[2].id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&old[2]));
}

async fn an_imported_session_goes_on(rig: Rig) {
    let source = source(&rig).await;
    let old = rig.log(source).await;
    let asks: Vec<_> = old
        .iter()
        .filter(|record| record.kind == "agent.tool_use")
        .map(|record| record.id)
        .collect();
    let copy = import(&rig, past(&old)).await;
    // What was answered there is answered here.
    let confirm = |asks| {
        let guard = Guard::Unanswered {
            tool_use_id: asks,
            awaits: Awaits::Confirmation,
        };
        guarded(client(copy, vec![rig.confirmation(asks)], Ready::Now), guard)
    };
    let twice = rig.append(confirm(asks[0])).await;
    assert!(twice.is_err(), "{twice:?}");
    rig.append(confirm(asks[1])).await.unwrap();
    rig.say(copy, "on").await;
    let log = rig.log(copy).await;
    assert_eq!(log.len(), old.len() + 3);
    assert!(log.iter().zip(1..).all(|(record, seq)| record.seq == seq));
    assert_eq!(rig.log(source).await, old, "the other log is as it was");
}

async fn a_long_log_arrives_whole(rig: Rig) {
    let times = 1_700_000_000_000_000..;
    let mut events: Vec<Draft> = (0..3000).map(|n| rig.answer_text(&format!("{n}"))).collect();
    let past: Vec<Past> = times
        .zip(1..=1000)
        .map(|(micros, turn)| Past {
            at: Timestamp::from_micros(micros),
            turn,
            events: events.drain(..3).collect(),
        })
        .collect();
    let copy = import(&rig, past).await;
    let log = rig.log(copy).await;
    assert_eq!(log.len(), 3001);
    assert!(log.iter().zip(1..).all(|(record, seq)| record.seq == seq));
    assert_eq!(
        (log[2999].turn, log[2999].created_at.micros()),
        (1000, 1_700_000_000_000_999)
    );
}

async fn a_repeated_import_replays(rig: Rig) {
    let source = source(&rig).await;
    let past = past(&rig.log(source).await);
    let mut new = new_session(rig.key());
    new.events = vec![rig.running()];
    let first = rig.store.import(new.clone(), past.clone()).await.unwrap();
    let again = rig.store.import(new, past).await.unwrap();
    assert!(again.replayed);
    assert_eq!((again.first_seq, again.last_seq), (first.first_seq, first.last_seq));
}
