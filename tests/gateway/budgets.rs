//! Budgets hold under concurrency, and say so in the caller's own words.

use perennial_engine::ports::{BudgetChange, BudgetMetric, BudgetPeriod, BudgetRefusal, Metering as _};
use serde_json::Value;

use crate::rig::{PRICED, Rig, ask};

/// Asks so often at once; the statuses.
async fn storm(rig: &Rig, count: usize, path: &str, model: &str) -> Vec<u16> {
    let key = rig.key().await;
    let asked = (0..count).map(|_| rig.post(path, &key, ask(model)).send());
    let answers = futures_util::future::join_all(asked).await;
    let mut statuses = Vec::new();
    for answer in answers {
        let answer = answer.unwrap();
        statuses.push(answer.status().as_u16());
        answer.bytes().await.unwrap();
    }
    statuses
}

fn admitted(statuses: &[u16]) -> usize {
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 429)),
        "{statuses:?}"
    );
    statuses.iter().filter(|status| **status == 200).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_get_no_more_than_there_is() {
    let rig = Rig::new().await;
    let requests = rig.budget(BudgetMetric::Requests, BudgetPeriod::Total, 10).await;
    let statuses = storm(&rig, 200, "/v1/messages", "m").await;
    assert_eq!(admitted(&statuses), 10);
    assert_eq!(rig.received().len(), 10, "none of the others left");
    assert_eq!(rig.settled(requests).await.used, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_get_exactly_the_days_five() {
    let rig = Rig::new().await;
    let id = rig.budget(BudgetMetric::Requests, BudgetPeriod::Day, 5).await;
    // Every alias of an endpoint is the same to a budget.
    for (path, expected) in [
        ("/v1/messages", 5),
        ("/anthropic/v1/messages", 0),
        ("/openai/v1/responses", 0),
    ] {
        assert_eq!(admitted(&storm(&rig, 50, path, "m").await), expected, "{path}");
    }
    assert_eq!(rig.received().len(), 5);
    let change = BudgetChange {
        limit: Some(8),
        warn_percent: None,
    };
    rig.meter.change_budget(rig.workspace, id, change).await.unwrap();
    assert_eq!(admitted(&storm(&rig, 50, "/v1/messages", "m").await), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_reserved_before_and_given_back_after() {
    let rig = Rig::new().await;
    // Each may need 111, and uses 2.
    let tokens = rig.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 400).await;
    let need = ask("m").len() as u64 / 4 + 100;
    let statuses = storm(&rig, 50, "/v1/messages", "m").await;
    let all = admitted(&statuses) as u64;
    let used = rig.settled(tokens).await;
    assert_eq!((used.used, used.reserved), (2 * all, 0));
    assert!(all >= 400 / need, "{all}");
    // One after the other, all that fits is let in.
    let key = rig.key().await;
    loop {
        let answer = rig.post("/v1/messages", &key, ask("m")).send().await.unwrap();
        if answer.status() != 200 {
            break;
        }
        answer.bytes().await.unwrap();
        rig.gateway.settled().await;
    }
    let used = rig.settled(tokens).await.used;
    assert!((400 - need + 1..=400 - need + 2).contains(&used), "{used}");
}

#[tokio::test]
async fn a_refusal_speaks_the_callers_dialect() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let id = rig.budget(BudgetMetric::Requests, BudgetPeriod::Day, 0).await;
    for (path, anthropic) in [
        ("/v1/messages", true),
        ("/v1/responses", false),
        ("/local/v1/chat/completions", false),
    ] {
        let answer = rig.post(path, &key, ask("m")).send().await.unwrap();
        assert_eq!(answer.status(), 429, "{path}");
        let headers = answer.headers().clone();
        assert_eq!(headers["x-perennial-budget"], id.to_string());
        assert_eq!(headers["x-should-retry"], "false");
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=86_400).contains(&wait), "until midnight: {wait}");
        let body: Value = answer.json().await.unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(BudgetRefusal::find(message).unwrap().budget, id, "{message}");
        if anthropic {
            assert_eq!(
                (&body["type"], &body["error"]["type"]),
                (&"error".into(), &"rate_limit_error".into())
            );
        } else {
            assert_eq!(body["error"]["code"], "budget_reached");
            assert!(body.get("type").is_none());
        }
    }
    assert!(rig.received().is_empty());
}

#[tokio::test]
async fn money_is_not_spent_on_what_has_no_price() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let unlimited = rig.post("/v1/messages", &key, ask("unpriced")).send().await.unwrap();
    assert_eq!(unlimited.status(), 200, "nobody limits money");
    rig.budget(BudgetMetric::Money, BudgetPeriod::Total, 5_000).await;
    let refused = rig.post("/v1/messages", &key, ask("unpriced")).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let text = refused.text().await.unwrap();
    assert!(text.contains("prices") && text.contains("anthropic/unpriced"), "{text}");
    let priced = rig.post("/v1/messages", &key, ask(PRICED)).send().await.unwrap();
    assert_eq!(priced.status(), 200);
}
