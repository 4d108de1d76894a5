//! Budgets, and the adopted `budget` of a session.

use perennial_engine::ports::{Amounts, Payer, ReserveError};
use perennial_schema::{BudgetId, ReservationId, SessionId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::Rig;

fn payer(rig: &Rig, session: Option<&str>) -> Payer {
    Payer {
        workspace: rig.workspace,
        session: session.map(|id| id.parse::<SessionId>().unwrap()),
        agent: None,
        key: None,
        aside: false,
    }
}

/// A request that costs so much.
async fn ask(rig: &Rig, session: Option<&str>, microusd: u64) -> Result<ReservationId, ReserveError> {
    let id = ReservationId::from_uuid(Uuid::now_v7());
    let estimate = Amounts {
        requests: 1,
        tokens: 10,
        microusd,
    };
    let payer = payer(rig, session);
    rig.metering.reserve(id, &payer, estimate, 60_000).await.map(|_| id)
}

fn cents(amount: &str) -> Value {
    json!({"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}})
}

#[tokio::test]
async fn a_budget_lives_its_life() {
    let rig = Rig::new().await;
    let made = rig
        .post(
            "/v1/budgets",
            &json!({"metric": "requests", "period": "day", "limit": 1, "warn_percent": 50}),
        )
        .await
        .ok();
    assert!(made["id"].as_str().unwrap().starts_with("bud_"));
    assert_eq!(made["scope"], json!({"type": "workspace"}));
    assert_eq!((&made["unit"], &made["remaining"]), (&json!("requests"), &json!(1)));
    assert!(made["resets_at"].as_str().unwrap().ends_with("T00:00:00.000000Z"));
    let path = format!("/v1/budgets/{}", made["id"].as_str().unwrap());
    assert_eq!(rig.get(&path).await.ok(), made);

    ask(&rig, None, 0).await.unwrap();
    assert!(matches!(ask(&rig, None, 0).await, Err(ReserveError::Exhausted { .. })));
    assert_eq!(rig.get(&path).await.ok()["reserved"], 1);
    let raised = rig.post(&path, &json!({"limit": 2, "warn_percent": null})).await.ok();
    assert_eq!((&raised["limit"], &raised["warn_percent"]), (&json!(2), &Value::Null));
    ask(&rig, None, 0).await.unwrap();

    let listed = rig.get("/v1/budgets").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    rig.delete(&path).await.ok();
    rig.get(&path).await.refused(404, "not_found_error");
    rig.delete(&path).await.refused(404, "not_found_error");
    ask(&rig, None, 0).await.unwrap();
}

#[tokio::test]
async fn budgets_are_paged() {
    let rig = Rig::new().await;
    for limit in 1..=5 {
        rig.post("/v1/budgets", &json!({"metric": "tokens", "limit": limit}))
            .await
            .ok();
    }
    let (mut seen, mut page) = (Vec::new(), String::new());
    loop {
        let answer = rig.get(&format!("/v1/budgets?limit=2{page}")).await.ok();
        seen.extend(
            answer["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|budget| budget["limit"].clone()),
        );
        let Some(next) = answer["next_page"].as_str() else {
            break;
        };
        page = format!("&page={next}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1].map(|limit| json!(limit)));
}

#[tokio::test]
async fn bad_budgets_are_refused_by_field() {
    let rig = Rig::new().await;
    for (body, field) in [
        (json!({"limit": 1}), "metric"),
        (json!({"metric": "calls", "limit": 1}), "metric"),
        (json!({"metric": "requests"}), "limit"),
        (json!({"metric": "requests", "limit": -1}), "limit"),
        (json!({"metric": "requests", "limit": 1.5}), "limit"),
        (
            json!({"metric": "requests", "limit": {"amount": "1", "currency": "USD"}}),
            "limit",
        ),
        (
            json!({"metric": "money", "limit": {"amount": "1", "currency": "EUR"}}),
            "limit.currency",
        ),
        (
            json!({"metric": "money", "limit": {"amount": "-1", "currency": "USD"}}),
            "limit.amount",
        ),
        (json!({"metric": "requests", "limit": 1, "period": "week"}), "period"),
        (
            json!({"metric": "requests", "limit": 1, "warn_percent": 0}),
            "warn_percent",
        ),
        (
            json!({"metric": "requests", "limit": 1, "scope": "everything"}),
            "scope.id",
        ),
        (
            json!({"metric": "requests", "limit": 1, "scope": {"type": "agent", "id": "x"}}),
            "scope.type",
        ),
        (
            json!({"metric": "requests", "limit": 1, "scope": SessionId::from_uuid(Uuid::now_v7()).to_string()}),
            "scope.id",
        ),
        (json!({"metric": "requests", "limit": 1, "limits": 2}), "limits"),
    ] {
        let message = rig
            .post("/v1/budgets", &body)
            .await
            .refused(400, "invalid_request_error");
        assert!(message.contains(field), "{body}: {message}");
    }
}

#[tokio::test]
async fn a_sessions_own_budget_is_kept_and_shown() {
    let rig = Rig::new().await;
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let body = json!({"agent": agent, "environment_id": environment, "budget": cents("200")});
    let session = rig.post("/v1/sessions", &body).await.ok();
    assert_eq!(session["budget"], cents("200"));
    let id = session["id"].as_str().unwrap();
    let other = rig.session().await;

    ask(&rig, Some(id), 1_500_000).await.unwrap();
    let refused = ask(&rig, Some(id), 1_000_000).await;
    assert!(matches!(refused, Err(ReserveError::Exhausted { need: 1_000_000, .. })));
    ask(&rig, Some(&other), 1_000_000).await.unwrap();

    // Raised, told in the log, and there is room.
    let path = format!("/v1/sessions/{id}");
    let updated = rig.post(&path, &json!({"budget": cents("300")})).await.ok();
    assert_eq!(updated["budget"], cents("300"));
    ask(&rig, Some(id), 1_000_000).await.unwrap();
    let events = rig.get(&format!("{path}/events?types[]=session.updated")).await.ok();
    assert_eq!(events["data"][0]["budget"], cents("300"));
    rig.post(&path, &json!({"budget": cents("300")})).await.ok();
    let events = rig.get(&format!("{path}/events?types[]=session.updated")).await.ok();
    assert_eq!(
        events["data"].as_array().unwrap().len(),
        1,
        "the same budget is no news"
    );

    // A fork has the ceiling with nothing used.
    let fork = rig.post(&format!("{path}/fork"), &json!({})).await.ok();
    assert_eq!(fork["budget"], cents("300"));
    let fork = fork["id"].as_str().unwrap();
    ask(&rig, Some(fork), 3_000_000).await.unwrap();
    assert!(ask(&rig, Some(fork), 1).await.is_err());

    let removed = rig.post(&path, &json!({"budget": null})).await.ok();
    assert_eq!(removed["budget"], Value::Null);
    ask(&rig, Some(id), 9_000_000).await.unwrap();
    rig.delete(&format!("/v1/sessions/{fork}")).await.ok();
    let budgets = rig.get("/v1/budgets").await.ok();
    assert_eq!(budgets["data"], json!([]), "a deleted session leaves no budget behind");
}

#[tokio::test]
async fn a_repeated_creation_leaves_one_session_and_one_budget() {
    let rig = Rig::new().await;
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let body = json!({"agent": agent, "environment_id": environment, "budget": cents("200")});
    let key = [("idempotency-key", "once")];
    let first = rig.post_with("/v1/sessions", &body, &key).await.ok();
    let second = rig.post_with("/v1/sessions", &body, &key).await.ok();
    assert_eq!(first["id"], second["id"]);
    let budgets = rig.get("/v1/budgets").await.ok();
    let scopes: Vec<&Value> = budgets["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|budget| &budget["scope"]["id"])
        .collect();
    assert_eq!(scopes, [&first["id"]]);
}

#[tokio::test]
async fn a_warning_is_told_once_in_the_session_that_passed_the_share() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let body = json!({"metric": "requests", "limit": 4, "warn_percent": 50, "scope": session});
    rig.post("/v1/budgets", &body).await.ok();
    for _ in 0..4 {
        ask(&rig, Some(&session), 0).await.unwrap();
    }
    let path = format!("/v1/sessions/{session}/events?include=extensions&types[]=budget.warning");
    let warned = loop {
        let events = rig.get(&path).await.ok();
        if events["data"] != json!([]) {
            break events;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(warned["data"].as_array().unwrap().len(), 1);
    let warning = &warned["data"][0];
    assert_eq!(
        (&warning["limit"], &warning["used"], &warning["scope"]),
        (&json!(4), &json!(2), &json!("session"))
    );
    assert!(warning["budget_id"].as_str().unwrap().parse::<BudgetId>().is_ok());
    let plain = rig.get(&format!("/v1/sessions/{session}/events")).await.ok();
    assert!(
        !plain.to_string().contains("budget.warning"),
        "strict clients never meet it"
    );
}
