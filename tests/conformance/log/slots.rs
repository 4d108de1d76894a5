//! A workspace has no more sessions at work than it gets slots, whoever claims them.

use perennial_engine::ports::Ready;

use crate::fixture::Rig;

/// Slots of a workspace in these cases.
const SLOTS: u32 = 3;

macro_rules! on_every_store_with_slots {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(super::Rig::memory_with(Some(super::SLOTS))).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(super::Rig::sqlite_with(Some(super::SLOTS)).await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(rig) = super::Rig::postgres_with(Some(super::SLOTS)).await {
                    super::$case(rig).await;
                }
            })*
        }
    };
}

on_every_store_with_slots![
    a_workspace_gets_its_slots_and_no_more,
    what_rests_makes_room,
    a_full_workspace_takes_no_slot_from_another,
    what_the_dead_held_makes_room,
    claimers_at_the_same_moment_keep_to_it,
];

/// Ready sessions of a tenant.
async fn crowd(rig: &Rig, many: u32) {
    for _ in 0..many {
        let key = rig.session().await;
        rig.say(key, "hi").await;
        rig.clock.advance(1);
    }
}

async fn a_workspace_gets_its_slots_and_no_more(rig: Rig) {
    crowd(&rig, 5).await;
    let (first, second) = (rig.owner().await, rig.owner().await);
    assert_eq!(rig.claim(first, 2).await.len(), 2);
    assert_eq!(rig.claim(second, 10).await.len(), 1);
    assert_eq!(rig.claim(first, 10).await.len(), 0);
    assert_eq!(
        rig.store.ready().await.unwrap().now,
        2,
        "they wait, and are not forgotten"
    );
}

async fn what_rests_makes_room(rig: Rig) {
    crowd(&rig, 5).await;
    let owner = rig.owner().await;
    let held = rig.claim(owner, 10).await;
    assert_eq!(held.len(), 3);
    rig.append(rig.rest(held[0].row.key, held[0].row.epoch, held[0].row.head))
        .await
        .unwrap();
    let row = &held[1].row;
    rig.store
        .release(row.key, row.epoch, Ready::Never, row.head)
        .await
        .unwrap();
    assert_eq!(rig.claim(owner, 10).await.len(), 2);
    assert_eq!(rig.claim(owner, 10).await.len(), 0);
}

/// One at a time, too: what is full is not looked at again and again.
async fn a_full_workspace_takes_no_slot_from_another(rig: Rig) {
    crowd(&rig, 40).await;
    let (small, late) = (rig.tenant(), rig.tenant());
    crowd(&small, 2).await;
    let owner = rig.owner().await;
    assert_eq!(rig.claim(owner, 10).await.len(), 5);
    crowd(&late, 2).await;
    for _ in 0..2 {
        let claimed = rig.claim(owner, 1).await;
        assert!(matches!(claimed.as_slice(), [one] if one.row.key.workspace == late.workspace));
    }
    assert_eq!(rig.claim(owner, 1).await.len(), 0);
}

async fn what_the_dead_held_makes_room(rig: Rig) {
    crowd(&rig, 4).await;
    let dead = rig.owner().await;
    assert_eq!(rig.claim(dead, 10).await.len(), 3);
    rig.clock.advance(crate::fixture::TTL as i64);
    let heir = rig.owner().await;
    assert_eq!(rig.claim(heir, 10).await.len(), 3);
}

async fn claimers_at_the_same_moment_keep_to_it(rig: Rig) {
    let other = rig.tenant();
    for _ in 0..20 {
        for tenant in [&rig, &other] {
            let key = tenant.session().await;
            tenant.say(key, "hi").await;
        }
    }
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move {
                let owner = rig.owner().await;
                let mut mine = Vec::new();
                for _ in 0..6 {
                    mine.extend(rig.claim(owner, 2).await);
                }
                mine
            })
        })
        .collect();
    let mut held = Vec::new();
    for task in tasks {
        held.extend(task.await.unwrap());
    }
    let of = |tenant: &Rig| {
        held.iter()
            .filter(|claimed| claimed.row.key.workspace == tenant.workspace)
            .count()
    };
    assert_eq!((of(&rig), of(&other)), (SLOTS as usize, SLOTS as usize));
}
