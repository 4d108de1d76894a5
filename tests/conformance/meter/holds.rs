//! Sessions that rest for a budget: what readies them, and what does not.

use std::time::{Duration, Instant};

use perennial_engine::ports::{
    BudgetChange, BudgetHold, BudgetMetric, BudgetPeriod, ChangeCursor, Guard, Ready, SessionFilter, SessionKey,
    SessionRow,
};
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{BudgetId, SessionId};
use uuid::Uuid;

use super::fixture::{Desk, ONE, tokens};
use crate::fixture::{client, guarded, holder};

super::on_every_meter!(
    a_raise_readies_every_session_the_budget_holds,
    a_deletion_readies_them_too,
    a_daily_hold_ends_with_the_day,
    the_sweep_readies_whom_there_is_room_for,
    the_sweep_readies_those_of_a_budget_that_is_gone,
    a_session_that_rests_for_a_budget_is_not_running,
    a_message_readies_and_ends_the_hold,
    another_rest_ends_the_hold,
    a_session_set_aside_stays_aside,
);

fn to(limit: u64) -> BudgetChange {
    BudgetChange {
        limit: Some(limit),
        warn_percent: None,
    }
}

async fn a_raise_readies_every_session_the_budget_holds(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 0).await;
    let other = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 0).await;
    let held = [
        desk.held(budget, 1, Ready::Never).await,
        desk.held(budget, 9, Ready::Never).await,
    ];
    let elsewhere = desk.held(other, 1, Ready::Never).await;
    let row = desk.rig.row(held[0]).await;
    assert_eq!((row.hold, row.ready_at), (Some(BudgetHold { budget, need: 1 }), None));
    assert_eq!(row.stop_reason, Some(StopReason::BudgetReached));
    let changes = changes(&desk, None, 3).await;
    let after = changes.last().map(|(cursor, _)| *cursor);

    let changed = desk
        .elsewhere
        .change_budget(desk.workspace(), budget, to(5))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changed.limit, 5);
    for key in held {
        let row = desk.rig.row(key).await;
        assert_eq!((row.hold, row.ready_at), (None, Some(desk.rig.now())));
    }
    assert!(desk.rig.row(elsewhere).await.hold.is_some());
    let news = self::changes(&desk, after, 2).await;
    let told = |key: &SessionKey| news.iter().any(|(_, row)| row.key == *key);
    assert!(
        news.len() == 2 && held.iter().all(told),
        "lists of sessions hear of it: {news:?}"
    );
    // Whoever remembers the row as it was learns that it changed.
    desk.rig.say(held[0], "are you there?").await;
    assert!(desk.claimable(held[0]).await);
    let foreign = desk.rig.tenant().workspace;
    assert_eq!(desk.meter.change_budget(foreign, other, to(5)).await.unwrap(), None);
    assert!(!desk.claimable(elsewhere).await);
}

/// The changes of so many sessions after a place. A store may hold a change back while an older transaction is open, be it another
/// test's, so one look is not enough.
async fn changes(desk: &Desk, after: Option<ChangeCursor>, sessions: usize) -> Vec<(ChangeCursor, SessionRow)> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let found = desk.rig.store.changes(desk.workspace(), after, 100).await.unwrap();
        if found.len() >= sessions || Instant::now() > until {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_deletion_readies_them_too(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 0).await;
    let held = desk.held(budget, 1, Ready::Never).await;
    assert!(!desk.claimable(held).await);
    assert!(desk.meter.delete_budget(desk.workspace(), budget).await.unwrap());
    assert!(desk.claimable(held).await);
    assert!(!desk.meter.delete_budget(desk.workspace(), budget).await.unwrap());
}

async fn a_daily_hold_ends_with_the_day(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Day, 0).await;
    let midnight = desk.see(budget).await.resets_at.unwrap();
    let held = desk.held(budget, 1, Ready::At(midnight)).await;
    let row = desk.rig.row(held).await;
    assert_eq!((row.ready_at, row.served_status()), (Some(midnight), Status::Idle));
    let idle = SessionFilter {
        statuses: vec![Status::Idle],
        limit: 10,
        ..SessionFilter::default()
    };
    let listed = desk.rig.store.find(desk.workspace(), idle).await.unwrap();
    assert!(listed.iter().any(|row| row.key == held), "it rests, and is listed so");
    assert!(!desk.claimable(held).await);
    let left = (midnight.micros() - desk.rig.now().micros()) / 1000;
    desk.rig.clock.advance(left - 1);
    assert!(!desk.claimable(held).await);
    desk.rig.clock.advance(1);
    assert!(desk.claimable(held).await);
}

async fn the_sweep_readies_whom_there_is_room_for(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 100).await;
    let (first, _) = desk.reserve(desk.payer(), tokens(50)).await.unwrap();
    let (second, _) = desk.reserve(desk.payer(), tokens(50)).await.unwrap();
    let large = desk.held(budget, 90, Ready::Never).await;
    let small = desk.held(budget, 30, Ready::Never).await;
    let too = desk.held(budget, 30, Ready::Never).await;
    assert_eq!(desk.meter.sweep().await.unwrap().readied, 0);
    // Used less than reserved: there is room for one of them.
    desk.settle(first, tokens(1)).await;
    desk.settle(second, tokens(50)).await;
    assert_eq!(desk.meter.sweep().await.unwrap().readied, 1);
    let readied = [small, too].map(|key| desk.rig.row(key));
    let readied = futures_util::future::join_all(readied).await;
    assert_eq!(readied.iter().filter(|row| row.ready_at.is_some()).count(), 1);
    // It did not take its room yet, so the other one is let go, too, and one of the two will rest again.
    assert_eq!(desk.meter.sweep().await.unwrap().readied, 1);
    assert_eq!(desk.meter.sweep().await.unwrap().readied, 0);
    assert!(desk.rig.row(large).await.hold.is_some());
}

async fn the_sweep_readies_those_of_a_budget_that_is_gone(desk: Desk) {
    // Deleted between the refusal and the rest.
    let held = desk.held(BudgetId::from_uuid(Uuid::now_v7()), 1, Ready::Never).await;
    assert!(!desk.claimable(held).await);
    assert_eq!(desk.meter.sweep().await.unwrap().readied, 1);
    assert!(desk.claimable(held).await);
}

async fn a_session_that_rests_for_a_budget_is_not_running(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Day, 0).await;
    let midnight = desk.see(budget).await.resets_at.unwrap();
    let held = desk.held(budget, 1, Ready::At(midnight)).await;
    let archive = |key| guarded(client(key, vec![desk.rig.message("x")], Ready::Keep), Guard::NotRunning);
    desk.rig.append(archive(held)).await.unwrap();
    desk.meter.change_budget(desk.workspace(), budget, to(1)).await.unwrap();
    desk.rig.append(archive(held)).await.unwrap_err();
}

async fn a_message_readies_and_ends_the_hold(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 0).await;
    let held = desk.held(budget, 1, Ready::Never).await;
    let append = client(held, vec![desk.rig.message("again")], Ready::UnlessParked);
    desk.rig.append(append).await.unwrap();
    let row = desk.rig.row(held).await;
    assert_eq!((row.hold, row.ready_at), (None, Some(desk.rig.now())));
    assert_eq!(desk.meter.sweep().await.unwrap().readied, 0);
}

async fn another_rest_ends_the_hold(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 0).await;
    let midnight = desk.rig.now().plus_millis(1000);
    let held = desk.held(budget, 1, Ready::At(midnight)).await;
    desk.rig.clock.advance(1000);
    let owner = desk.rig.owner().await;
    let claimed = desk.rig.claim(owner, 1).await;
    assert_eq!(claimed[0].row.key, held);
    // A raise meanwhile is none of a running session's business.
    desk.meter.sweep().await.unwrap();
    let running = holder(held, claimed[0].row.epoch, vec![desk.rig.running()]);
    desk.rig.append(running).await.unwrap();
    assert_eq!(desk.rig.row(held).await.hold, None);
    let rest = desk.rig.rest(held, claimed[0].row.epoch, desk.rig.row(held).await.head);
    desk.rig.append(rest).await.unwrap();
    let row = desk.rig.row(held).await;
    assert_eq!((row.hold, row.stop_reason), (None, Some(StopReason::EndTurn)));
}

async fn a_session_set_aside_stays_aside(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 0).await;
    let held = desk.held(budget, 1, Ready::Never).await;
    let mut aside = client(held, Vec::new(), Ready::Keep);
    aside.projection.quarantined = Some(true);
    desk.rig.append(aside).await.unwrap();
    desk.meter.change_budget(desk.workspace(), budget, to(9)).await.unwrap();
    assert_eq!(desk.meter.sweep().await.unwrap().readied, 0);
    assert!(!desk.claimable(held).await);
    // Nor does it matter to requests.
    let session = SessionId::from_uuid(Uuid::now_v7());
    desk.reserve(desk.of_session(session), ONE).await.unwrap();
}
