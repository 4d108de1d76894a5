//! Where a session's workspace is decides who may claim it.

use perennial_engine::ports::{Projection, Reach, Ready};
use perennial_schema::event::{Body, Permission, ToolDispatched};
use perennial_schema::tool::Effect;
use perennial_schema::{ExecutorId, JournalId, OwnerId};
use uuid::Uuid;

use crate::fixture::{Rig, TTL, holder, new_session};
use crate::on_every_store;

on_every_store![
    a_dispatch_sets_the_place,
    only_owners_of_the_place_claim,
    a_place_out_of_reach_delays_nobody,
    a_fork_begins_at_a_place,
];

fn place() -> ExecutorId {
    ExecutorId::from_uuid(Uuid::now_v7())
}

async fn owner_at(rig: &Rig, place: Option<ExecutorId>) -> OwnerId {
    let owner = OwnerId::from_uuid(Uuid::now_v7());
    let reach = Reach {
        place,
        ..Reach::default()
    };
    rig.store.register(owner, TTL, &reach).await.unwrap();
    owner
}

/// Has the holder dispatch a call to an executor, and gives the session back, ready.
async fn dispatch(rig: &Rig, at: ExecutorId) -> perennial_engine::ports::SessionKey {
    let (key, _, epoch) = rig.held().await;
    let asked = rig.tool_use(Permission::Allow);
    let dispatched = rig.event(Body::ToolDispatched(ToolDispatched {
        tool_use_id: asked.id,
        executor_id: at,
        journal_id: JournalId::from_uuid(Uuid::now_v7()),
        attempt: 1,
        effect: Effect::Once,
        args_hash: "0".repeat(64),
    }));
    let events = vec![asked, dispatched];
    let append = holder(key, epoch, events.clone());
    let append = perennial_engine::ports::Append {
        projection: Projection::of(&events),
        ..append
    };
    let head = rig.append(append).await.unwrap().last_seq;
    rig.store.release(key, epoch, Ready::Now, head).await.unwrap();
    key
}

async fn a_dispatch_sets_the_place(rig: Rig) {
    let key = rig.session().await;
    assert_eq!(rig.row(key).await.place, None);
    let at = place();
    let key = dispatch(&rig, at).await;
    assert_eq!(rig.row(key).await.place, Some(at));
}

async fn only_owners_of_the_place_claim(rig: Rig) {
    let at = place();
    let key = dispatch(&rig, at).await;
    for elsewhere in [None, Some(place())] {
        let owner = owner_at(&rig, elsewhere).await;
        assert!(rig.claim(owner, 10).await.is_empty(), "{elsewhere:?}");
    }
    let owner = owner_at(&rig, Some(at)).await;
    let claimed = rig.claim(owner, 10).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.row.key).collect::<Vec<_>>(), [key]);
}

async fn a_place_out_of_reach_delays_nobody(rig: Rig) {
    let far = place();
    for _ in 0..3 {
        dispatch(&rig, far).await;
    }
    let near = rig.session().await;
    rig.clock.advance(1);
    rig.say(near, "hi").await;
    let owner = owner_at(&rig, Some(place())).await;
    let claimed = rig.claim(owner, 1).await;
    assert_eq!(
        claimed.iter().map(|claimed| claimed.row.key).collect::<Vec<_>>(),
        [near]
    );
}

async fn a_fork_begins_at_a_place(rig: Rig) {
    let at = place();
    let mut new = new_session(rig.key());
    new.place = Some(at);
    let key = new.key;
    rig.store.create(new, None).await.unwrap();
    assert_eq!(rig.row(key).await.place, Some(at));
}
