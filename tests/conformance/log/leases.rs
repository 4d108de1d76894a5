//! Who holds a session, for how long, and who gets it next (I3, I10).

use std::collections::HashSet;

use perennial_engine::ports::{AppendError, Authority, Ready, RenewError, SessionRow};
use perennial_schema::OwnerId;
use uuid::Uuid;

use crate::fixture::{Rig, TTL, client, holder};
use crate::on_every_store;

on_every_store![
    only_ready_sessions_are_claimed,
    a_claim_grows_the_epoch,
    a_held_session_is_not_claimed_again,
    who_waits_longest_comes_first,
    tenants_take_turns,
    a_flood_delays_others_by_one,
    the_limit_is_kept,
    strangers_and_the_expired_claim_nothing,
    a_later_time_is_waited_for,
    renewal_reports_the_heads,
    an_expired_owner_cannot_renew,
    renewal_keeps_the_lease,
    the_dead_are_taken_over,
    a_takeover_fences_the_zombie,
    a_release_gives_it_back,
    a_release_elsewhere_stays_ready,
    a_stale_release_changes_nothing,
    an_append_can_release,
    unregister_frees_without_counting,
    input_never_misses_its_wakeup,
    ready_counts_what_can_be_claimed,
    concurrent_claims_never_share,
];

async fn only_ready_sessions_are_claimed(rig: Rig) {
    let quiet = rig.session().await;
    let spoken = rig.session().await;
    rig.say(spoken, "hi").await;
    let owner = rig.owner().await;
    let claimed = rig.claim(owner, 10).await;
    assert_eq!(
        claimed.iter().map(|claimed| claimed.row.key).collect::<Vec<_>>(),
        [spoken]
    );
    assert!(!rig.row(quiet).await.held);
}

async fn a_claim_grows_the_epoch(rig: Rig) {
    let key = rig.session().await;
    for epoch in 1..=3 {
        rig.say(key, "go").await;
        let owner = rig.owner().await;
        let row = rig.claim(owner, 1).await.remove(0).row;
        assert_eq!((row.epoch, row.held, row.attempts), (epoch, true, 0));
        let stored = SessionRow {
            last_event: None,
            ..rig.row(key).await
        };
        assert_eq!(stored, row, "the claim's row is the stored row");
        rig.append(rig.rest(key, epoch, row.head)).await.unwrap();
        assert_eq!(rig.row(key).await.epoch, epoch, "a release does not reset it");
    }
}

async fn a_held_session_is_not_claimed_again(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    rig.say(key, "more").await;
    let other = rig.owner().await;
    assert!(rig.claim(other, 10).await.is_empty());
    assert!(rig.claim(owner, 10).await.is_empty());
    assert_eq!(rig.row(key).await.epoch, epoch);
}

async fn who_waits_longest_comes_first(rig: Rig) {
    let keys = [rig.session().await, rig.session().await, rig.session().await];
    for key in [keys[1], keys[2], keys[0], keys[1]] {
        rig.say(key, "hi").await;
        rig.clock.advance(10);
    }
    let owner = rig.owner().await;
    let claimed = rig.claim(owner, 10).await;
    assert_eq!(
        claimed.iter().map(|claimed| claimed.row.key).collect::<Vec<_>>(),
        [keys[1], keys[2], keys[0]]
    );
}

async fn tenants_take_turns(rig: Rig) {
    let other = rig.tenant();
    for _ in 0..4 {
        let key = rig.session().await;
        rig.say(key, "hi").await;
    }
    for _ in 0..2 {
        let key = other.session().await;
        other.say(key, "hi").await;
    }
    let owner = rig.owner().await;
    let claimed = rig.claim(owner, 4).await;
    let theirs = claimed
        .iter()
        .filter(|claimed| claimed.row.key.workspace == other.workspace)
        .count();
    assert_eq!((claimed.len(), theirs), (4, 2));
}

async fn a_flood_delays_others_by_one(rig: Rig) {
    for _ in 0..50 {
        let key = rig.session().await;
        rig.say(key, "flood").await;
    }
    rig.clock.advance(1000);
    let other = rig.tenant();
    let small = other.session().await;
    other.say(small, "hi").await;
    let owner = rig.owner().await;
    let mut order = Vec::new();
    for _ in 0..2 {
        order.extend(rig.claim(owner, 1).await.into_iter().map(|claimed| claimed.row.key));
    }
    assert!(
        order.contains(&small),
        "one at a time, the newcomer is at most second: {order:?}"
    );
}

async fn the_limit_is_kept(rig: Rig) {
    for _ in 0..5 {
        let key = rig.session().await;
        rig.say(key, "hi").await;
    }
    let owner = rig.owner().await;
    assert_eq!(rig.claim(owner, 0).await.len(), 0);
    assert_eq!(rig.claim(owner, 3).await.len(), 3);
    assert_eq!(rig.claim(owner, 3).await.len(), 2);
}

async fn strangers_and_the_expired_claim_nothing(rig: Rig) {
    let key = rig.session().await;
    rig.say(key, "hi").await;
    let stranger = OwnerId::from_uuid(Uuid::now_v7());
    assert!(rig.claim(stranger, 1).await.is_empty());
    let owner = rig.owner().await;
    rig.clock.advance(TTL as i64);
    assert!(
        rig.claim(owner, 1).await.is_empty(),
        "expiry is judged at the moment of the claim"
    );
}

async fn a_later_time_is_waited_for(rig: Rig) {
    let key = rig.session().await;
    let at = rig.now().plus_millis(500);
    rig.append(client(key, vec![rig.message("later")], Ready::At(at)))
        .await
        .unwrap();
    let owner = rig.owner().await;
    assert!(rig.claim(owner, 1).await.is_empty());
    rig.clock.advance(500);
    assert_eq!(rig.claim(owner, 1).await.len(), 1);
}

async fn renewal_reports_the_heads(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    rig.say(key, "stop").await;
    let held = rig.store.renew(owner, TTL).await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].key, held[0].epoch, held[0].head), (key, epoch, 2));
    let idle = rig.owner().await;
    assert!(rig.store.renew(idle, TTL).await.unwrap().is_empty());
}

async fn an_expired_owner_cannot_renew(rig: Rig) {
    let (_, owner, _) = rig.held().await;
    rig.clock.advance(TTL as i64);
    assert!(matches!(rig.store.renew(owner, TTL).await, Err(RenewError::Expired)));
    let stranger = OwnerId::from_uuid(Uuid::now_v7());
    assert!(matches!(rig.store.renew(stranger, TTL).await, Err(RenewError::Expired)));
}

async fn renewal_keeps_the_lease(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    for _ in 0..5 {
        rig.clock.advance(TTL as i64 - 1000);
        rig.store.renew(owner, TTL).await.unwrap();
        let other = rig.owner().await;
        assert!(rig.claim(other, 1).await.is_empty());
    }
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
}

async fn the_dead_are_taken_over(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.clock.advance(TTL as i64 - 1);
    let heir = rig.owner().await;
    assert!(rig.claim(heir, 1).await.is_empty(), "not a moment too early");
    rig.clock.advance(1);
    assert!(!rig.row(key).await.held, "an expired lease holds nothing");
    let claimed = rig.claim(heir, 1).await;
    assert_eq!(
        (claimed[0].row.key, claimed[0].row.epoch, claimed[0].row.attempts),
        (key, epoch + 1, 1)
    );
}

async fn a_takeover_fences_the_zombie(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.clock.advance(TTL as i64);
    let heir = rig.owner().await;
    rig.claim(heir, 1).await;
    let zombie = rig.append(holder(key, epoch, vec![rig.answer_text("boo")])).await;
    assert!(
        matches!(zombie, Err(AppendError::Fenced { current }) if current == epoch + 1),
        "{zombie:?}"
    );
    rig.append(holder(key, epoch + 1, vec![rig.running()])).await.unwrap();
}

async fn a_release_gives_it_back(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    rig.store.release(key, epoch, Ready::Keep, 1).await.unwrap();
    let row = rig.row(key).await;
    assert!(!row.held && row.ready_at.is_some());
    let again = rig.claim(owner, 1).await.remove(0).row;
    assert_eq!((again.epoch, again.attempts), (epoch + 1, 0));
    rig.store.release(key, epoch + 1, Ready::Never, 1).await.unwrap();
    assert!(rig.claim(owner, 1).await.is_empty());
}

async fn a_release_elsewhere_stays_ready(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    rig.say(key, "new").await;
    rig.store.release(key, epoch, Ready::Never, 1).await.unwrap();
    assert_eq!(rig.claim(owner, 1).await.len(), 1);
}

async fn a_stale_release_changes_nothing(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let before = rig.row(key).await;
    rig.store.release(key, epoch - 1, Ready::Never, 1).await.unwrap();
    rig.store.release(rig.key(), 1, Ready::Never, 1).await.unwrap();
    assert_eq!(rig.row(key).await, before);
}

async fn an_append_can_release(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    let mut append = holder(key, epoch, vec![rig.answer_text("superseded")]);
    append.authority = Authority::Holder {
        epoch,
        only_at_head: None,
        release: true,
    };
    rig.append(append).await.unwrap();
    let row = rig.row(key).await;
    assert!(!row.held && row.ready_at.is_some() && row.attempts == 0);
    assert_eq!(rig.claim(owner, 1).await[0].row.epoch, epoch + 1);
}

async fn unregister_frees_without_counting(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    rig.store.unregister(owner).await.unwrap();
    assert!(!rig.row(key).await.held);
    assert!(matches!(rig.store.renew(owner, TTL).await, Err(RenewError::Expired)));
    let next = rig.owner().await;
    let row = rig.claim(next, 1).await.remove(0).row;
    assert_eq!((row.epoch, row.attempts), (epoch + 1, 0));
}

async fn input_never_misses_its_wakeup(rig: Rig) {
    for round in 0..60 {
        let (key, owner, epoch) = rig.held().await;
        let (talker, rester) = (rig.clone(), rig.clone());
        let says = tokio::spawn(async move { talker.say(key, "me too").await });
        let rests = tokio::spawn(async move { rester.append(rester.rest(key, epoch, 1)).await });
        says.await.unwrap();
        match rests.await.unwrap() {
            Ok(_) => assert!(
                rig.row(key).await.ready_at.is_some(),
                "round {round}: asleep with unread input"
            ),
            Err(AppendError::Moved { head: 2 }) => assert!(rig.row(key).await.held),
            Err(error) => panic!("round {round}: {error}"),
        }
        rig.store.unregister(owner).await.unwrap();
        let next = rig.owner().await;
        let claimed = rig.claim(next, 10).await;
        assert!(claimed.iter().any(|claimed| claimed.row.key == key), "round {round}");
        for claimed in claimed {
            let row = claimed.row;
            rig.append(rig.rest(row.key, row.epoch, row.head)).await.unwrap();
        }
    }
}

async fn ready_counts_what_can_be_claimed(rig: Rig) {
    assert_eq!(rig.store.ready().await.unwrap(), Default::default());
    let later = rig.session().await;
    let at = rig.now().plus_millis(2500);
    rig.append(client(later, vec![rig.message("later")], Ready::At(at)))
        .await
        .unwrap();
    let count = rig.store.ready().await.unwrap();
    assert_eq!((count.now, count.next_millis), (0, Some(2500)));
    let (key, _, epoch) = rig.held().await;
    assert_eq!(rig.store.ready().await.unwrap().now, 0, "held is not ready");
    rig.store.release(key, epoch, Ready::Keep, 1).await.unwrap();
    let count = rig.store.ready().await.unwrap();
    assert_eq!((count.now, count.next_millis), (1, None));
    rig.clock.advance(2500);
    assert_eq!(rig.store.ready().await.unwrap().now, 2);
    let owner = rig.owner().await;
    rig.claim(owner, 2).await;
    rig.clock.advance(TTL as i64);
    assert_eq!(rig.store.ready().await.unwrap().now, 2, "what the dead hold is ready");
}

async fn concurrent_claims_never_share(rig: Rig) {
    for _ in 0..40 {
        let key = rig.session().await;
        rig.say(key, "hi").await;
    }
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move {
                let owner = rig.owner().await;
                let mut mine = Vec::new();
                loop {
                    let claimed = rig.claim(owner, 3).await;
                    if claimed.is_empty() {
                        return mine;
                    }
                    mine.extend(claimed.into_iter().map(|claimed| claimed.row.key));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (40, 40));
}
