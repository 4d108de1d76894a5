//! Who has the harness that a session's agent wants claims it; nobody waits for what nobody has.

use perennial_engine::ports::{HARNESS_PATIENCE_MILLIS, Projection, Reach, Ready, SessionKey, SessionPatch};
use perennial_schema::agent::Harness;
use perennial_schema::{ExecutorId, OwnerId};
use uuid::Uuid;

use crate::fixture::{Rig, TTL, agent, client, new_session};
use crate::on_every_store;

on_every_store![
    who_has_the_harness_claims,
    who_says_nothing_claims_everything,
    what_others_wait_for_delays_nobody,
    a_harness_that_nobody_has_is_hoped_for_and_then_given_up,
    hope_ends_when_the_last_that_had_it_is_dead,
    who_has_it_elsewhere_is_of_no_use,
    another_agent_wants_another_harness,
    a_fork_wants_what_its_agent_wants,
    what_a_claimer_passes_by_is_left_for_others_and_delays_nobody,
];

async fn keys(rig: &Rig, owner: OwnerId) -> Vec<SessionKey> {
    rig.claim(owner, 10)
        .await
        .into_iter()
        .map(|claimed| claimed.row.key)
        .collect()
}

/// Time passes, and these owners go on living.
async fn pass(rig: &Rig, millis: u64, living: &[OwnerId]) {
    let step = 1_000;
    for _ in 0..millis / step {
        rig.clock.advance(step as i64);
        for owner in living {
            rig.store.renew(*owner, TTL).await.unwrap();
        }
    }
    rig.clock.advance((millis % step) as i64);
}

async fn who_has_the_harness_claims(rig: Rig) {
    let codex = rig.wants(Harness::Codex).await;
    rig.clock.advance(1);
    let mine = rig.wants(Harness::Acp("mine".into())).await;
    rig.clock.advance(1);
    let native = rig.wants(Harness::Native).await;
    let plain = rig.owner_with(&["native"]).await;
    let rich = rig.owner_with(&["native", "codex", "acp:mine", "acp:other"]).await;
    assert_eq!(keys(&rig, plain).await, [native]);
    assert_eq!(keys(&rig, rich).await, [codex, mine]);
}

async fn who_says_nothing_claims_everything(rig: Rig) {
    let codex = rig.wants(Harness::Codex).await;
    let owner = rig.owner().await;
    assert_eq!(keys(&rig, owner).await, [codex]);
}

/// However much waits before it, in its own workspace too.
async fn what_others_wait_for_delays_nobody(rig: Rig) {
    for _ in 0..30 {
        rig.wants(Harness::ClaudeCode).await;
    }
    rig.clock.advance(1);
    let native = rig.wants(Harness::Native).await;
    let neighbour = rig.tenant().wants(Harness::Native).await;
    let _busy = rig.owner_with(&["claude-code"]).await;
    let plain = rig.owner_with(&["native"]).await;
    let mut first: Vec<SessionKey> = Vec::new();
    for _ in 0..2 {
        first.extend(rig.claim(plain, 1).await.into_iter().map(|claimed| claimed.row.key));
    }
    first.sort_unstable();
    let mut expected = [native, neighbour];
    expected.sort_unstable();
    assert_eq!(first, expected);
    assert!(rig.claim(plain, 10).await.is_empty());
}

async fn a_harness_that_nobody_has_is_hoped_for_and_then_given_up(rig: Rig) {
    let codex = rig.wants(Harness::Codex).await;
    let plain = rig.owner_with(&["native"]).await;
    pass(&rig, HARNESS_PATIENCE_MILLIS - 1, &[plain]).await;
    assert!(keys(&rig, plain).await.is_empty(), "somebody may come");
    rig.clock.advance(1);
    assert_eq!(keys(&rig, plain).await, [codex], "its turn says what is missing");
}

async fn hope_ends_when_the_last_that_had_it_is_dead(rig: Rig) {
    let codex = rig.wants(Harness::Codex).await;
    let plain = rig.owner_with(&["native"]).await;
    let rich = rig.owner_with(&["native", "codex"]).await;
    pass(&rig, HARNESS_PATIENCE_MILLIS + 5_000, &[plain, rich]).await;
    assert!(keys(&rig, plain).await.is_empty(), "somebody has it");
    pass(&rig, TTL, &[plain]).await;
    assert_eq!(keys(&rig, plain).await, [codex]);
}

async fn who_has_it_elsewhere_is_of_no_use(rig: Rig) {
    let place = || ExecutorId::from_uuid(Uuid::now_v7());
    let (here, there) = (place(), place());
    let mut new = new_session(rig.key());
    new.agent.harness = Harness::Codex;
    new.place = Some(here);
    let key = new.key;
    rig.store.create(new, None).await.unwrap();
    rig.say(key, "go").await;
    let mut owners = Vec::new();
    for (place, harness) in [(here, "native"), (there, "codex"), (there, "native")] {
        let owner = OwnerId::from_uuid(Uuid::now_v7());
        let reach = Reach {
            place: Some(place),
            harnesses: Some(vec![harness.to_owned()]),
        };
        rig.store.register(owner, TTL, &reach).await.unwrap();
        owners.push(owner);
    }
    pass(&rig, HARNESS_PATIENCE_MILLIS, &owners).await;
    assert!(keys(&rig, owners[1]).await.is_empty() && keys(&rig, owners[2]).await.is_empty());
    assert_eq!(keys(&rig, owners[0]).await, [key]);
}

async fn another_agent_wants_another_harness(rig: Rig) {
    let key = rig.wants(Harness::Native).await;
    let mut changed = agent();
    changed.harness = Harness::Codex;
    let patch = SessionPatch {
        agent: Some(changed),
        ..SessionPatch::default()
    };
    let mut append = client(key, Vec::new(), Ready::Keep);
    append.projection = Projection {
        patch,
        ..append.projection
    };
    rig.append(append).await.unwrap();
    let plain = rig.owner_with(&["native"]).await;
    let rich = rig.owner_with(&["codex"]).await;
    assert!(keys(&rig, plain).await.is_empty());
    assert_eq!(keys(&rig, rich).await, [key]);
}

async fn a_fork_wants_what_its_agent_wants(rig: Rig) {
    let source = rig.wants(Harness::Codex).await;
    let mut new = new_session(rig.key());
    new.projection.ready = Ready::Now;
    let key = new.key;
    let fork = perennial_engine::ports::ForkFrom {
        session: source.session,
        at_seq: 1,
    };
    rig.store.create(new, Some(fork)).await.unwrap();
    let plain = rig.owner_with(&["native"]).await;
    assert_eq!(keys(&rig, plain).await, [key]);
}

/// However much of it waits before the rest.
async fn what_a_claimer_passes_by_is_left_for_others_and_delays_nobody(rig: Rig) {
    let mut passed = Vec::new();
    for _ in 0..30 {
        passed.push(rig.wants(Harness::Native).await);
        rig.clock.advance(1);
    }
    let last = rig.wants(Harness::Native).await;
    let (older, newer) = (rig.owner().await, rig.owner().await);
    let claimed = rig.store.claim(older, 1, &passed).await.unwrap();
    assert_eq!(
        claimed.iter().map(|claimed| claimed.row.key).collect::<Vec<_>>(),
        [last]
    );
    assert!(rig.store.claim(older, 10, &passed).await.unwrap().is_empty());
    let mut others = rig.claim(newer, 30).await;
    others.sort_by_key(|claimed| claimed.row.key);
    passed.sort_unstable();
    assert_eq!(others.iter().map(|claimed| claimed.row.key).collect::<Vec<_>>(), passed);
}
