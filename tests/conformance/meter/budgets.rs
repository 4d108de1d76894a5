//! One at a time: what a budget counts, when it begins anew, whom it warns.

use perennial_engine::ports::{
    Amounts, BudgetChange, BudgetMetric, BudgetPeriod, BudgetScope, MeterListing, NewBudget, Payer,
};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, SessionId};
use uuid::Uuid;

use super::fixture::{DEADLINE, Desk, ONE, exhausted, tokens};

const DAY_MILLIS: i64 = 24 * 3600 * 1000;

super::on_every_meter!(
    nothing_is_written_for_whom_no_budget_covers,
    what_was_used_replaces_what_was_reserved,
    settling_twice_counts_once,
    reserving_the_same_id_twice_counts_once,
    a_refusal_names_the_budget_and_reserves_nothing,
    a_budget_covers_its_scope_and_nobody_else,
    a_new_budget_counts_elsewhere_within_a_second,
    a_daily_budget_begins_anew_at_midnight,
    a_request_over_midnight_counts_on_its_own_day,
    nobody_settles_and_the_sweep_does,
    each_metric_counts_its_own,
    a_warning_comes_once_a_period,
    budgets_are_listed_newest_first,
    making_a_budget_twice_makes_one,
    what_is_set_aside_counts_in_the_session_alone,
);

async fn nothing_is_written_for_whom_no_budget_covers(desk: Desk) {
    let (id, reserved) = desk.reserve(desk.payer(), ONE).await.unwrap();
    assert!(!reserved.counted && reserved.warnings.is_empty());
    desk.settle(id, ONE).await;
}

async fn what_was_used_replaces_what_was_reserved(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 100).await;
    let (id, reserved) = desk.reserve(desk.payer(), tokens(80)).await.unwrap();
    assert!(reserved.counted);
    exhausted(desk.reserve(desk.payer(), tokens(30)).await);
    desk.settle(id, tokens(10)).await;
    let seen = desk.see(budget).await;
    assert_eq!((seen.used, seen.reserved, seen.room()), (10, 0, 90));
    // More than was estimated is counted all the same.
    let (id, _) = desk.reserve(desk.payer(), tokens(90)).await.unwrap();
    desk.settle(id, tokens(200)).await;
    assert_eq!(desk.see(budget).await.used, 210);
    exhausted(desk.reserve(desk.payer(), tokens(1)).await);
}

async fn settling_twice_counts_once(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 100).await;
    let (id, _) = desk.reserve(desk.payer(), tokens(50)).await.unwrap();
    desk.settle(id, tokens(20)).await;
    desk.settle(id, tokens(20)).await;
    let seen = desk.see(budget).await;
    assert_eq!((seen.used, seen.reserved), (20, 0));
}

async fn reserving_the_same_id_twice_counts_once(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 60).await;
    let id = ReservationId::from_uuid(Uuid::now_v7());
    for _ in 0..2 {
        let reserved = desk
            .meter
            .reserve(id, &desk.payer(), tokens(50), DEADLINE)
            .await
            .unwrap();
        assert!(reserved.counted);
    }
    assert_eq!(desk.see(budget).await.reserved, 50);
}

async fn a_refusal_names_the_budget_and_reserves_nothing(desk: Desk) {
    let session = SessionId::from_uuid(Uuid::now_v7());
    let wide = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 100).await;
    let scope = BudgetScope::Session(session);
    let narrow = desk.scoped(scope, BudgetMetric::Tokens, BudgetPeriod::Day, 10).await;
    let (budget, need) = exhausted(desk.reserve(desk.of_session(session), tokens(11)).await);
    assert_eq!((budget.id, budget.scope, budget.limit, need), (narrow, scope, 10, 11));
    assert!(budget.resets_at.unwrap() > desk.rig.now());
    assert_eq!(desk.see(wide).await.reserved, 0);
    desk.reserve(desk.of_session(session), tokens(10)).await.unwrap();
    assert_eq!(desk.see(wide).await.reserved, 1);
}

async fn a_budget_covers_its_scope_and_nobody_else(desk: Desk) {
    let session = SessionId::from_uuid(Uuid::now_v7());
    let key = GatewayKeyId::from_uuid(Uuid::now_v7());
    let no = desk.scoped(
        BudgetScope::Session(session),
        BudgetMetric::Requests,
        BudgetPeriod::Total,
        0,
    );
    no.await;
    let no = desk.scoped(BudgetScope::Key(key), BudgetMetric::Requests, BudgetPeriod::Total, 0);
    no.await;
    let with_key = Payer {
        key: Some(key),
        ..desk.payer()
    };
    exhausted(desk.reserve(desk.of_session(session), ONE).await);
    exhausted(desk.reserve(with_key, ONE).await);
    desk.reserve(desk.payer(), ONE).await.unwrap();
    desk.reserve(desk.of_session(SessionId::from_uuid(Uuid::now_v7())), ONE)
        .await
        .unwrap();
    let foreign = Payer {
        workspace: desk.rig.tenant().workspace,
        ..desk.of_session(session)
    };
    desk.reserve(foreign, ONE).await.unwrap();
}

async fn a_new_budget_counts_elsewhere_within_a_second(desk: Desk) {
    let ask = async || {
        let id = ReservationId::from_uuid(Uuid::now_v7());
        desk.elsewhere.reserve(id, &desk.payer(), ONE, DEADLINE).await
    };
    ask().await.unwrap();
    desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 0).await;
    exhausted(desk.reserve(desk.payer(), ONE).await);
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while ask().await.is_ok() {
        assert!(
            tokio::time::Instant::now() < until,
            "the other process still knows of no budget"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn a_daily_budget_begins_anew_at_midnight(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Day, 1).await;
    let (id, _) = desk.reserve(desk.payer(), ONE).await.unwrap();
    desk.settle(id, ONE).await;
    let (refused, _) = exhausted(desk.reserve(desk.payer(), ONE).await);
    let midnight = refused.resets_at.unwrap();
    assert_eq!(midnight.micros() % (DAY_MILLIS * 1000), 0);
    let left = (midnight.micros() - desk.rig.now().micros()) / 1000;
    desk.rig.clock.advance(left - 1);
    exhausted(desk.reserve(desk.payer(), ONE).await);
    desk.rig.clock.advance(1);
    assert_eq!(desk.see(budget).await.used, 0);
    desk.reserve(desk.payer(), ONE).await.unwrap();
    exhausted(desk.reserve(desk.payer(), ONE).await);
}

async fn a_request_over_midnight_counts_on_its_own_day(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Day, 2).await;
    let (before, _) = desk.reserve(desk.payer(), ONE).await.unwrap();
    desk.rig.clock.advance(DAY_MILLIS);
    let (_after, _) = desk.reserve(desk.payer(), ONE).await.unwrap();
    desk.settle(before, ONE).await;
    let seen = desk.see(budget).await;
    assert_eq!(
        (seen.used, seen.reserved),
        (0, 1),
        "yesterday's request is none of today's"
    );
}

async fn nobody_settles_and_the_sweep_does(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 100).await;
    let (id, _) = desk.reserve(desk.payer(), tokens(60)).await.unwrap();
    assert_eq!(desk.meter.sweep().await.unwrap().expired, 0);
    desk.rig.clock.advance(i64::try_from(DEADLINE).unwrap());
    assert_eq!(desk.elsewhere.sweep().await.unwrap().expired, 1);
    assert_eq!(desk.meter.sweep().await.unwrap().expired, 0);
    let seen = desk.see(budget).await;
    assert_eq!((seen.used, seen.reserved), (60, 0), "as much as was reserved");
    desk.settle(id, tokens(1)).await;
    assert_eq!(desk.see(budget).await.used, 60, "too late");
}

async fn each_metric_counts_its_own(desk: Desk) {
    let requests = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 10).await;
    let counted = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 1_000).await;
    let money = desk.budget(BudgetMetric::Money, BudgetPeriod::Total, 50_000).await;
    let amounts = |tokens, microusd| Amounts {
        requests: 1,
        tokens,
        microusd,
    };
    let (id, _) = desk.reserve(desk.payer(), amounts(500, 20_000)).await.unwrap();
    let reserved = [requests, counted, money].map(|id| desk.see(id));
    let reserved: Vec<u64> = futures_util::future::join_all(reserved)
        .await
        .iter()
        .map(|b| b.reserved)
        .collect();
    assert_eq!(reserved, [1, 500, 20_000]);
    desk.settle(id, amounts(123, 4_567)).await;
    let used = [requests, counted, money].map(|id| desk.see(id));
    let used: Vec<u64> = futures_util::future::join_all(used)
        .await
        .iter()
        .map(|b| b.used)
        .collect();
    assert_eq!(used, [1, 123, 4_567]);
}

async fn a_warning_comes_once_a_period(desk: Desk) {
    let budget = NewBudget {
        id: BudgetId::from_uuid(Uuid::now_v7()),
        workspace: desk.workspace(),
        scope: BudgetScope::Workspace,
        metric: BudgetMetric::Requests,
        period: BudgetPeriod::Day,
        limit: 4,
        warn_percent: Some(75),
    };
    let id = desk.meter.create_budget(budget).await.unwrap().id;
    let warned = async || {
        let (_, reserved) = desk.reserve(desk.payer(), ONE).await.unwrap();
        reserved.warnings.iter().map(|budget| budget.id).collect::<Vec<_>>()
    };
    assert_eq!(warned().await, []);
    assert_eq!(warned().await, []);
    assert_eq!(warned().await, [id]);
    assert_eq!(warned().await, []);
    desk.rig.clock.advance(DAY_MILLIS);
    assert_eq!(warned().await, []);
    assert_eq!(warned().await, []);
    assert_eq!(warned().await, [id], "another day");
    let change = BudgetChange {
        limit: Some(5),
        warn_percent: None,
    };
    desk.meter.change_budget(desk.workspace(), id, change).await.unwrap();
    assert_eq!(warned().await, [id], "another limit, and passed already");
}

async fn budgets_are_listed_newest_first(desk: Desk) {
    let mut made = Vec::new();
    for limit in 0..5 {
        made.push(desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, limit).await);
        // Two of a moment are told apart by their ids.
        desk.rig.clock.advance(i64::try_from(limit % 2).unwrap());
    }
    let mut seen: Vec<BudgetId> = Vec::new();
    let mut cursor = None;
    loop {
        let listing = MeterListing {
            workspace: desk.workspace(),
            cursor,
            limit: 2,
        };
        let page = desk.meter.budgets(listing).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some((last.created_at, last.id));
        seen.extend(page.iter().map(|budget| budget.id));
    }
    made.reverse();
    assert_eq!(seen, made);
    let foreign = MeterListing {
        workspace: desk.rig.tenant().workspace,
        cursor: None,
        limit: 9,
    };
    assert_eq!(desk.meter.budgets(foreign).await.unwrap(), []);
}

async fn making_a_budget_twice_makes_one(desk: Desk) {
    let new = NewBudget {
        id: BudgetId::from_uuid(Uuid::now_v7()),
        workspace: desk.workspace(),
        scope: BudgetScope::Workspace,
        metric: BudgetMetric::Requests,
        period: BudgetPeriod::Total,
        limit: 3,
        warn_percent: Some(10),
    };
    let first = desk.meter.create_budget(new.clone()).await.unwrap();
    desk.reserve(desk.payer(), ONE).await.unwrap();
    let second = desk.meter.create_budget(NewBudget { limit: 9, ..new }).await.unwrap();
    assert_eq!((second.id, second.limit, second.reserved), (first.id, 3, 1));
    let foreign = desk.rig.tenant().workspace;
    assert_eq!(desk.meter.budget(foreign, first.id).await.unwrap(), None);
    assert!(!desk.meter.delete_budget(foreign, first.id).await.unwrap());
    assert!(desk.meter.delete_budget(desk.workspace(), first.id).await.unwrap());
    assert_eq!(desk.meter.budget(desk.workspace(), first.id).await.unwrap(), None);
}

async fn what_is_set_aside_counts_in_the_session_alone(desk: Desk) {
    let session = SessionId::from_uuid(Uuid::now_v7());
    let wide = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 50).await;
    let scope = BudgetScope::Session(session);
    let own = desk.scoped(scope, BudgetMetric::Tokens, BudgetPeriod::Total, 100).await;
    let payer = Payer {
        aside: true,
        ..desk.of_session(session)
    };
    let (id, reserved) = desk.reserve(payer, tokens(80)).await.unwrap();
    assert!(
        reserved.counted,
        "more than the workspace has: it counts that elsewhere"
    );
    assert_eq!((desk.see(own).await.reserved, desk.see(wide).await.reserved), (80, 0));
    let (refused, _) = exhausted(desk.reserve(payer, tokens(21)).await);
    assert_eq!(refused.id, own);
    desk.settle(id, tokens(30)).await;
    let seen = desk.see(own).await;
    assert_eq!((seen.used, seen.reserved, desk.see(wide).await.used), (30, 0, 0));
}
