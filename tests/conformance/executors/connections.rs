//! Connections: the newest counts, whoever holds it; an executor nobody speaks for is offline.

use perennial_engine::ports::{EXECUTOR_ONLINE_MILLIS, EXECUTOR_PASS_MILLIS, EXECUTOR_VISIT_MILLIS, HeldTunnel};
use perennial_schema::frame::Card;

use super::fixture::{Desk, process, tenant, token};

/// Longest a pass opens anything.
const PASS: i64 = EXECUTOR_PASS_MILLIS.cast_signed();
const VISIT: i64 = EXECUTOR_VISIT_MILLIS.cast_signed();
const ONLINE: i64 = EXECUTOR_ONLINE_MILLIS.cast_signed();

super::on_every_registry!(
    each_connection_is_a_generation,
    who_is_not_renewed_goes_offline,
    the_newest_connection_takes_over,
    a_removed_executor_is_not_renewed,
    where_its_process_is_reached_is_told,
    a_pass_opens_one_line_once,
    a_ticket_opens_what_it_is_for_once,
    a_visit_opens_what_it_is_for_again_and_again,
    only_the_newest_connection_describes,
);

async fn each_connection_is_a_generation(desk: Desk) {
    let (machine, node) = (desk.machine().await, process());
    let card = Card {
        name: "laptop".into(),
        cpus: Some(4),
        ..Card::default()
    };
    for generation in 1..=2 {
        let connected = desk
            .registry
            .connect(desk.workspace, machine.id, node, None, &card)
            .await;
        assert_eq!(connected.unwrap(), Some(generation));
    }
    let seen = desk
        .elsewhere
        .executor(desk.workspace, machine.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (seen.generation, seen.node, seen.card, seen.online),
        (2, Some(node), Some(card.clone()), true)
    );
    assert!(seen.last_seen_at.is_some());
    assert_eq!(
        desk.registry
            .connect(tenant(), machine.id, node, None, &card)
            .await
            .unwrap(),
        None
    );
    let nobody = token(2).id;
    assert_eq!(
        desk.registry
            .connect(desk.workspace, nobody, node, None, &card)
            .await
            .unwrap(),
        None
    );
}

async fn who_is_not_renewed_goes_offline(desk: Desk) {
    let (machine, node) = (desk.machine().await, process());
    desk.registry
        .connect(desk.workspace, machine.id, node, None, &Card::default())
        .await
        .unwrap();
    let online = async || {
        desk.elsewhere
            .executor(desk.workspace, machine.id)
            .await
            .unwrap()
            .unwrap()
            .online
    };
    desk.clock.advance(ONLINE - 1);
    assert!(online().await);
    let held = desk.registry.renew(node).await.unwrap();
    let mine = HeldTunnel {
        workspace: desk.workspace,
        executor: machine.id,
        generation: 1,
    };
    assert_eq!(held, [mine]);
    desk.clock.advance(ONLINE - 1);
    assert!(online().await);
    desk.clock.advance(1);
    assert!(!online().await);
    // A process that was away for long speaks for it again.
    assert_eq!(desk.registry.renew(node).await.unwrap(), [mine]);
    assert!(online().await);
    desk.registry.disconnect(mine).await.unwrap();
    assert!(!online().await);
    assert_eq!(desk.registry.renew(node).await.unwrap(), []);
}

async fn the_newest_connection_takes_over(desk: Desk) {
    let (machine, old, new) = (desk.machine().await, process(), process());
    let card = Card::default();
    desk.registry
        .connect(desk.workspace, machine.id, old, None, &card)
        .await
        .unwrap();
    desk.elsewhere
        .connect(desk.workspace, machine.id, new, None, &card)
        .await
        .unwrap();
    assert_eq!(desk.registry.renew(old).await.unwrap(), []);
    let held = |generation| HeldTunnel {
        workspace: desk.workspace,
        executor: machine.id,
        generation,
    };
    // The old one's goodbye says nothing about the new one.
    desk.registry.disconnect(held(1)).await.unwrap();
    assert_eq!(desk.elsewhere.renew(new).await.unwrap(), [held(2)]);
    assert!(
        desk.registry
            .executor(desk.workspace, machine.id)
            .await
            .unwrap()
            .unwrap()
            .online
    );
}

async fn a_removed_executor_is_not_renewed(desk: Desk) {
    let (machine, node) = (desk.machine().await, process());
    desk.registry
        .connect(desk.workspace, machine.id, node, None, &Card::default())
        .await
        .unwrap();
    assert!(!desk.elsewhere.remove(tenant(), machine.id).await.unwrap());
    assert!(desk.elsewhere.remove(desk.workspace, machine.id).await.unwrap());
    assert!(!desk.elsewhere.remove(desk.workspace, machine.id).await.unwrap());
    assert_eq!(desk.registry.renew(node).await.unwrap(), []);
    assert_eq!(desk.registry.holder(machine.id).await.unwrap(), None);
}

async fn where_its_process_is_reached_is_told(desk: Desk) {
    let (machine, node) = (desk.machine().await, process());
    let url = async || desk.elsewhere.holder(machine.id).await.unwrap().unwrap().node_url;
    let connect = async |at: Option<&str>| {
        let connected = desk
            .registry
            .connect(desk.workspace, machine.id, node, at, &Card::default())
            .await;
        connected.unwrap().unwrap()
    };
    assert_eq!(url().await, None);
    connect(Some("http://10.0.0.1:7340")).await;
    assert_eq!(url().await.as_deref(), Some("http://10.0.0.1:7340"));
    let generation = connect(Some("http://10.0.0.2:7340")).await;
    assert_eq!(url().await.as_deref(), Some("http://10.0.0.2:7340"));
    let held = HeldTunnel {
        workspace: desk.workspace,
        executor: machine.id,
        generation,
    };
    desk.registry.disconnect(held).await.unwrap();
    assert_eq!(url().await, None);
    connect(Some("http://10.0.0.1:7340")).await;
    connect(None).await;
    assert_eq!(url().await, None);
}

async fn a_pass_opens_one_line_once(desk: Desk) {
    let (machine, other) = (desk.machine().await, token(3).id);
    let pass = desk.registry.mint_pass(machine.id).await.unwrap();
    let opens = async |id, hash| desk.elsewhere.use_pass(id, hash).await.unwrap();
    assert!(!opens(other, pass.hash()).await);
    assert!(!opens(machine.id, token(4).hash()).await);
    assert!(opens(machine.id, pass.hash()).await);
    assert!(!opens(machine.id, pass.hash()).await);
    let (late, later) = (
        desk.registry.mint_pass(machine.id).await.unwrap(),
        desk.registry.mint_pass(machine.id).await.unwrap(),
    );
    desk.clock.advance(PASS - 1);
    assert!(opens(machine.id, late.hash()).await);
    desk.clock.advance(1);
    assert!(!opens(machine.id, later.hash()).await);
}

async fn a_ticket_opens_what_it_is_for_once(desk: Desk) {
    let (machine, other) = (desk.machine().await, token(3).id);
    let ticket = desk.registry.mint_ticket(machine.id, "this").await.unwrap();
    let opens = async |id, hash| desk.elsewhere.use_pass(id, hash).await.unwrap();
    assert!(!opens(other, ticket.hash("this")).await);
    assert!(!opens(machine.id, ticket.hash("that")).await);
    assert!(opens(machine.id, ticket.hash("this")).await);
    assert!(!opens(machine.id, ticket.hash("this")).await);
    let late = desk.registry.mint_ticket(machine.id, "this").await.unwrap();
    desk.clock.advance(PASS);
    assert!(!opens(machine.id, late.hash("this")).await);
}

async fn a_visit_opens_what_it_is_for_again_and_again(desk: Desk) {
    let (machine, other) = (desk.machine().await, token(3).id);
    let visit = desk.registry.mint_visit(machine.id, "this").await.unwrap();
    let opens = async |id, hash| desk.elsewhere.is_visit(id, hash).await.unwrap();
    assert!(!opens(other, visit.hash("this")).await);
    assert!(!opens(machine.id, visit.hash("that")).await);
    desk.clock.advance(VISIT - 1);
    // Others are made meanwhile, and nothing that is still good is forgotten.
    desk.registry.mint_pass(machine.id).await.unwrap();
    assert!(opens(machine.id, visit.hash("this")).await);
    assert!(opens(machine.id, visit.hash("this")).await);
    desk.clock.advance(1);
    assert!(!opens(machine.id, visit.hash("this")).await);
}

async fn only_the_newest_connection_describes(desk: Desk) {
    let (machine, node) = (desk.machine().await, process());
    let card = |cpus| Card {
        cpus: Some(cpus),
        ..Card::default()
    };
    let seen = async || {
        desk.elsewhere
            .holder(machine.id)
            .await
            .unwrap()
            .unwrap()
            .card
            .unwrap()
            .cpus
    };
    let held = |generation| HeldTunnel {
        workspace: desk.workspace,
        executor: machine.id,
        generation,
    };
    for generation in 1..=2 {
        let connected = desk
            .registry
            .connect(desk.workspace, machine.id, node, None, &card(1))
            .await;
        assert_eq!(connected.unwrap(), Some(generation));
    }
    desk.registry.describe(held(1), &card(2)).await.unwrap();
    assert_eq!(seen().await, Some(1));
    desk.registry.describe(held(2), &card(3)).await.unwrap();
    assert_eq!(seen().await, Some(3));
    desk.registry.disconnect(held(2)).await.unwrap();
    desk.registry.describe(held(2), &card(4)).await.unwrap();
    assert_eq!(seen().await, Some(3));
}
