//! Sessions whose workers die: counted, delayed, set aside, retried (I15).

use perennial_engine::ports::{Append, AppendError, Guard, Projection, Ready, SessionKey};
use perennial_engine::retry;
use perennial_schema::OwnerId;
use perennial_schema::session::StopReason;

use crate::fixture::{Rig, TTL, client, guarded, holder};
use crate::on_every_store;

on_every_store![
    deaths_are_counted_and_delayed,
    progress_resets_the_counter,
    status_events_are_no_progress,
    one_death_frees_all_of_an_owner,
    a_quarantined_session_is_not_claimed,
    input_does_not_lift_a_quarantine,
    a_client_lifts_it_in_an_append,
    a_healthy_session_cannot_be_lifted,
];

/// Lets time pass so that every lease ends, and claims as somebody new.
async fn die_and_claim(rig: &Rig) -> (OwnerId, Vec<perennial_engine::ports::SessionRow>) {
    rig.clock.advance(TTL as i64);
    let owner = rig.owner().await;
    let rows = rig
        .claim(owner, 10)
        .await
        .into_iter()
        .map(|claimed| claimed.row)
        .collect();
    (owner, rows)
}

async fn deaths_are_counted_and_delayed(rig: Rig) {
    let (key, ..) = rig.held().await;
    for deaths in 1..=9_u32 {
        let (mut owner, mut rows) = die_and_claim(&rig).await;
        let delay = retry::attempt_delay_millis(deaths);
        if delay > 0 {
            assert!(rows.is_empty(), "death {deaths} waits {delay} ms");
            let row = rig.row(key).await;
            assert_eq!(row.ready_at, Some(rig.now().plus_millis(delay)));
            assert_eq!(rig.store.ready().await.unwrap().next_millis, Some(delay));
            rig.clock.advance(delay as i64);
            owner = rig.owner().await;
            rows = rig
                .claim(owner, 10)
                .await
                .into_iter()
                .map(|claimed| claimed.row)
                .collect();
        }
        assert_eq!(rows.len(), 1, "death {deaths}");
        assert_eq!((rows[0].attempts, rows[0].epoch), (deaths, u64::from(deaths) + 1));
        rig.store.renew(owner, TTL).await.unwrap();
    }
}

async fn progress_resets_the_counter(rig: Rig) {
    let (key, ..) = rig.held().await;
    let (_, rows) = die_and_claim(&rig).await;
    assert_eq!(rows[0].attempts, 1);
    rig.append(holder(key, rows[0].epoch, vec![rig.answer_text("alive")]))
        .await
        .unwrap();
    assert_eq!(rig.row(key).await.attempts, 0);
}

async fn status_events_are_no_progress(rig: Rig) {
    let (key, ..) = rig.held().await;
    let (_, rows) = die_and_claim(&rig).await;
    rig.append(holder(key, rows[0].epoch, vec![rig.running()]))
        .await
        .unwrap();
    assert_eq!(rig.row(key).await.attempts, 1);
}

async fn one_death_frees_all_of_an_owner(rig: Rig) {
    for _ in 0..5 {
        let key = rig.session().await;
        rig.say(key, "hi").await;
    }
    let owner = rig.owner().await;
    assert_eq!(rig.claim(owner, 10).await.len(), 5);
    let (_, rows) = die_and_claim(&rig).await;
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.attempts == 1));
}

/// A quarantined, resting session.
async fn quarantined(rig: &Rig) -> SessionKey {
    let (key, _, epoch) = rig.held().await;
    let mut append = rig.rest(key, epoch, 1);
    append.events = vec![rig.idle(StopReason::RetriesExhausted)];
    append.projection = Projection {
        quarantined: Some(true),
        ..Projection::of(&append.events)
    };
    rig.append(append).await.unwrap();
    key
}

async fn a_quarantined_session_is_not_claimed(rig: Rig) {
    let key = quarantined(&rig).await;
    let row = rig.row(key).await;
    assert!(row.quarantined && row.ready_at.is_none() && !row.held);
    assert_eq!(row.stop_reason, Some(StopReason::RetriesExhausted));
    let owner = rig.owner().await;
    assert!(rig.claim(owner, 10).await.is_empty());
}

async fn input_does_not_lift_a_quarantine(rig: Rig) {
    let key = quarantined(&rig).await;
    rig.say(key, "hello?").await;
    let row = rig.row(key).await;
    assert!(row.quarantined && row.ready_at.is_none());
    assert_eq!(row.head, 3, "it is stored");
    let owner = rig.owner().await;
    assert!(rig.claim(owner, 10).await.is_empty());
    assert_eq!(rig.store.ready().await.unwrap(), Default::default());
}

/// The retry endpoint: an append, so that it is idempotent like every other (I19).
fn lift(key: SessionKey) -> Append {
    let mut append = guarded(client(key, vec![], Ready::Now), Guard::Quarantined);
    append.projection.quarantined = Some(false);
    append.projection.progress = true;
    append
}

async fn a_client_lifts_it_in_an_append(rig: Rig) {
    let key = quarantined(&rig).await;
    rig.append(lift(key)).await.unwrap();
    let row = rig.row(key).await;
    assert_eq!(
        (row.quarantined, row.attempts, row.ready_at),
        (false, 0, Some(rig.now()))
    );
    assert!(matches!(rig.append(lift(key)).await, Err(AppendError::NotQuarantined)));
    let owner = rig.owner().await;
    assert_eq!(rig.claim(owner, 10).await.len(), 1);
    assert!(matches!(rig.append(lift(key)).await, Err(AppendError::NotQuarantined)));
}

async fn a_healthy_session_cannot_be_lifted(rig: Rig) {
    let key = rig.session().await;
    rig.append(client(key, vec![], Ready::Keep)).await.unwrap();
    assert!(matches!(rig.append(lift(key)).await, Err(AppendError::NotQuarantined)));
    assert!(matches!(rig.append(lift(rig.key())).await, Err(AppendError::NotFound)));
}
