//! Many at once: what is admitted never comes to more than there is, whichever process asks.

use futures_util::future::join_all;
use perennial_engine::ports::{Amounts, BudgetMetric, BudgetPeriod, BudgetScope, Payer, ReserveError};
use perennial_schema::{ReservationId, SessionId};
use uuid::Uuid;

use super::fixture::{DEADLINE, Desk, ONE, tokens};

super::on_every_meter!(
    two_hundred_calls_with_budget_for_ten_admit_ten,
    fifty_calls_against_five_a_day_admit_exactly_five,
    a_crowd_that_settles_never_exceeds_the_budget,
    several_budgets_are_taken_together_or_not_at_all,
);

/// Half of the calls go to another process.
async fn crowd(desk: &Desk, payers: Vec<Payer>, estimate: Amounts) -> Vec<ReservationId> {
    let calls = payers.into_iter().enumerate().map(|(n, payer)| {
        let meter = if n % 2 == 0 {
            desk.meter.clone()
        } else {
            desk.elsewhere.clone()
        };
        tokio::spawn(async move {
            let id = ReservationId::from_uuid(Uuid::now_v7());
            match meter.reserve(id, &payer, estimate, DEADLINE).await {
                Ok(reserved) => {
                    assert!(reserved.counted);
                    Some(id)
                }
                Err(ReserveError::Exhausted { .. }) => None,
                Err(ReserveError::Store(error)) => panic!("{error}"),
            }
        })
    });
    let admitted = join_all(calls).await;
    admitted.into_iter().filter_map(Result::unwrap).collect()
}

async fn two_hundred_calls_with_budget_for_ten_admit_ten(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 10_000).await;
    let admitted = crowd(&desk, vec![desk.payer(); 200], tokens(1_000)).await;
    assert_eq!(admitted.len(), 10);
    let seen = desk.see(budget).await;
    assert_eq!((seen.used, seen.reserved), (0, 10_000));
}

async fn fifty_calls_against_five_a_day_admit_exactly_five(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Requests, BudgetPeriod::Day, 5).await;
    let admitted = crowd(&desk, vec![desk.payer(); 50], ONE).await;
    assert_eq!(admitted.len(), 5);
    for id in admitted {
        desk.settle(id, ONE).await;
    }
    let seen = desk.see(budget).await;
    assert_eq!((seen.used, seen.reserved), (5, 0));
}

async fn a_crowd_that_settles_never_exceeds_the_budget(desk: Desk) {
    let budget = desk.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 1_000).await;
    let calls = (0..100_u64).map(|n| {
        let (desk, payer) = (desk.clone(), desk.payer());
        tokio::spawn(async move {
            let meter = if n % 2 == 0 { &desk.meter } else { &desk.elsewhere };
            let id = ReservationId::from_uuid(Uuid::now_v7());
            // Estimates are high; what was used makes room for others.
            if meter.reserve(id, &payer, tokens(100), DEADLINE).await.is_ok() {
                desk.settle(id, tokens(n % 50)).await;
                return n % 50;
            }
            0
        })
    });
    let used: u64 = join_all(calls).await.into_iter().map(Result::unwrap).sum();
    let seen = desk.see(budget).await;
    assert_eq!((seen.used, seen.reserved), (used, 0));
    assert!(seen.used <= seen.limit);
}

async fn several_budgets_are_taken_together_or_not_at_all(desk: Desk) {
    let wide = desk.budget(BudgetMetric::Requests, BudgetPeriod::Total, 12).await;
    let sessions: Vec<SessionId> = (0..4).map(|_| SessionId::from_uuid(Uuid::now_v7())).collect();
    let mut narrow = Vec::new();
    for session in &sessions {
        let scope = BudgetScope::Session(*session);
        narrow.push(desk.scoped(scope, BudgetMetric::Requests, BudgetPeriod::Day, 4).await);
    }
    let payers = (0..80).map(|n| desk.of_session(sessions[n % 4])).collect();
    let admitted = crowd(&desk, payers, ONE).await;
    assert_eq!(admitted.len(), 12);
    let mut sum = 0;
    for budget in narrow {
        let seen = desk.see(budget).await;
        assert!(seen.reserved <= 4, "{seen:?}");
        sum += seen.reserved;
    }
    assert_eq!((desk.see(wide).await.reserved, sum), (12, 12));
}
