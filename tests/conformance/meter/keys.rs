//! Virtual keys: hashed, expiring, revocable.

use perennial_engine::ports::{GatewayKeyKind, MeterListing, MintError, NewGatewayKey};
use perennial_schema::{AgentId, GatewayKeyId, SessionId};
use uuid::Uuid;

use super::fixture::Desk;

super::on_every_meter!(
    a_key_is_kept_by_its_hash,
    a_key_expires_and_is_revoked,
    a_key_is_made_once,
    keys_of_turns_are_not_listed,
    useless_keys_are_forgotten,
);

fn new(desk: &Desk, kind: GatewayKeyKind) -> NewGatewayKey {
    NewGatewayKey {
        id: None,
        workspace: desk.workspace(),
        kind,
        name: "a key".into(),
        session: Some(SessionId::from_uuid(Uuid::now_v7())),
        agent: Some(AgentId::from_uuid(Uuid::now_v7())),
        models: Some(vec!["claude-x".into(), "o'mo\"del".into()]),
        providers: None,
        ttl_millis: None,
    }
}

async fn a_key_is_kept_by_its_hash(desk: Desk) {
    let asked = new(&desk, GatewayKeyKind::Session);
    let minted = desk.meter.mint(asked.clone()).await.unwrap();
    assert!(minted.secret.expose().starts_with("vk_"));
    let stored = desk.elsewhere.key(minted.secret.id).await.unwrap().unwrap();
    assert_eq!(stored, minted.key);
    assert!(stored.hash.matches(&minted.secret) && stored.is_good(desk.rig.now()));
    assert_eq!(
        (stored.session, stored.agent, stored.models),
        (asked.session, asked.agent, asked.models)
    );
    assert_eq!((stored.providers, stored.name.as_str()), (None, "a key"));
    let other = desk.meter.mint(new(&desk, GatewayKeyKind::Session)).await.unwrap();
    assert!(!minted.key.hash.matches(&other.secret));
    assert_eq!(
        desk.meter.key(GatewayKeyId::from_uuid(Uuid::now_v7())).await.unwrap(),
        None
    );
}

async fn a_key_expires_and_is_revoked(desk: Desk) {
    let asked = NewGatewayKey {
        ttl_millis: Some(1000),
        ..new(&desk, GatewayKeyKind::Turn)
    };
    let key = desk.meter.mint(asked).await.unwrap().key;
    assert!(key.is_good(desk.rig.now().plus_millis(999)) && !key.is_good(desk.rig.now().plus_millis(1000)));
    let foreign = desk.rig.tenant().workspace;
    assert_eq!(desk.meter.revoke(foreign, key.id).await.unwrap(), None);
    assert!(desk.meter.key(key.id).await.unwrap().unwrap().revoked_at.is_none());
    let first = desk.meter.revoke(desk.workspace(), key.id).await.unwrap().unwrap();
    assert!(first.revoked_at.is_some() && !first.is_good(desk.rig.now()));
    desk.rig.clock.advance(5);
    assert_eq!(desk.meter.revoke(desk.workspace(), key.id).await.unwrap(), Some(first));
}

async fn a_key_is_made_once(desk: Desk) {
    let asked = NewGatewayKey {
        id: Some(GatewayKeyId::from_uuid(Uuid::now_v7())),
        ..new(&desk, GatewayKeyKind::Workspace)
    };
    let first = desk.meter.mint(asked.clone()).await.unwrap();
    match desk.meter.mint(asked).await {
        Err(MintError::Exists(key)) => assert_eq!(*key, first.key),
        other => panic!("{other:?}"),
    }
}

async fn keys_of_turns_are_not_listed(desk: Desk) {
    desk.meter.mint(new(&desk, GatewayKeyKind::Turn)).await.unwrap();
    let first = desk
        .meter
        .mint(new(&desk, GatewayKeyKind::Workspace))
        .await
        .unwrap()
        .key;
    desk.rig.clock.advance(1);
    let second = desk.meter.mint(new(&desk, GatewayKeyKind::Executor)).await.unwrap().key;
    let page = |cursor| MeterListing {
        workspace: desk.workspace(),
        cursor,
        limit: 1,
    };
    let newest = desk.meter.keys(page(None)).await.unwrap();
    assert_eq!(newest, std::slice::from_ref(&second));
    let next = desk
        .meter
        .keys(page(Some((second.created_at, second.id))))
        .await
        .unwrap();
    assert_eq!(next, std::slice::from_ref(&first));
    let end = desk.meter.keys(page(Some((first.created_at, first.id)))).await.unwrap();
    assert_eq!(end, []);
}

async fn useless_keys_are_forgotten(desk: Desk) {
    let expiring = NewGatewayKey {
        ttl_millis: Some(1000),
        ..new(&desk, GatewayKeyKind::Turn)
    };
    let expired = desk.meter.mint(expiring).await.unwrap().key;
    let revoked = desk
        .meter
        .mint(new(&desk, GatewayKeyKind::Workspace))
        .await
        .unwrap()
        .key;
    desk.meter.revoke(desk.workspace(), revoked.id).await.unwrap();
    let good = desk
        .meter
        .mint(new(&desk, GatewayKeyKind::Workspace))
        .await
        .unwrap()
        .key;
    assert_eq!(desk.meter.prune(desk.rig.now()).await.unwrap(), 0);
    assert_eq!(desk.meter.prune(desk.rig.now().plus_millis(1001)).await.unwrap(), 2);
    for (key, there) in [(expired, false), (revoked, false), (good, true)] {
        assert_eq!(desk.meter.key(key.id).await.unwrap().is_some(), there);
    }
}
