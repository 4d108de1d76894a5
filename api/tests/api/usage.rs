//! Sums and traces.

use perennial_engine::ports::{Payer, Trace};
use perennial_schema::model::Usage;
use perennial_schema::{SessionId, Timestamp, TraceId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::Rig;

/// Noon of 2026-01-01.
const NOON: i64 = 1_767_268_800_000_000;
const DAY: i64 = 86_400_000_000;

fn trace(rig: &Rig, day: i64, model: &str, session: Option<SessionId>) -> Trace {
    Trace {
        id: TraceId::from_uuid(Uuid::now_v7()),
        at: Timestamp::from_micros(NOON + day * DAY),
        payer: Payer {
            workspace: rig.workspace,
            session,
            agent: None,
            key: None,
            aside: false,
        },
        provider: "anthropic".into(),
        model: model.into(),
        wire: "messages".into(),
        status: 200,
        error: None,
        usage: Usage {
            input_tokens: 10,
            output_tokens: 5,
            ..Usage::default()
        },
        microusd: 100,
        ttft_ms: Some(30),
        duration_ms: 70,
        streamed: true,
    }
}

async fn used(rig: &Rig) -> SessionId {
    let session = SessionId::from_uuid(Uuid::now_v7());
    let mut failed = trace(rig, 1, "b", None);
    (failed.status, failed.error) = (529, Some("overloaded".into()));
    rig.metering.record(vec![
        trace(rig, 0, "a", Some(session)),
        trace(rig, 0, "b", Some(session)),
        trace(rig, 1, "a", None),
        failed,
    ]);
    rig.metering.flush().await.unwrap();
    session
}

fn groups(answer: &Value) -> Vec<(Value, Value)> {
    let rows = answer["data"].as_array().unwrap();
    rows.iter()
        .map(|row| (row["group"].clone(), row["requests"].clone()))
        .collect()
}

#[tokio::test]
async fn requests_are_added_up_by_what_is_asked() {
    let rig = Rig::new().await;
    let session = used(&rig).await;
    let by = async |query: &str| groups(&rig.get(&format!("/v1/usage{query}")).await.ok());
    let days = [(json!("2026-01-02"), json!(2)), (json!("2026-01-01"), json!(2))];
    assert_eq!(by("").await, days);
    assert_eq!(by("?group_by=model").await.len(), 2);
    assert_eq!(
        by("?group_by=session").await,
        [(Value::Null, json!(2)), (json!(session), json!(2))]
    );
    assert_eq!(by("?group_by=agent").await, [(Value::Null, json!(4))]);
    assert_eq!(by("?to=2026-01-02").await, [days[1].clone()]);
    assert_eq!(by("?from=2026-01-02T23:00:00Z").await, [days[0].clone()]);
    assert_eq!(by("?limit=1").await, [days[0].clone()]);

    let row = rig.get("/v1/usage").await.ok()["data"][0].clone();
    assert_eq!(
        (&row["errors"], &row["input_tokens"], &row["cost_microusd"]),
        (&json!(1), &json!(20), &json!(200))
    );
    let message = rig
        .get("/v1/usage?group_by=week")
        .await
        .refused(400, "invalid_request_error");
    assert!(message.contains("group_by"));
    let message = rig
        .get("/v1/usage?from=yesterday")
        .await
        .refused(400, "invalid_request_error");
    assert!(message.contains("from"));
}

#[tokio::test]
async fn traces_are_paged_and_filtered() {
    let rig = Rig::new().await;
    let session = used(&rig).await;
    let (mut seen, mut page) = (Vec::new(), String::new());
    loop {
        let answer = rig.get(&format!("/v1/usage/requests?limit=3{page}")).await.ok();
        seen.extend(answer["data"].as_array().unwrap().clone());
        let Some(next) = answer["next_page"].as_str() else {
            break;
        };
        page = format!("&page={next}");
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted_by_key(|row| std::cmp::Reverse(row["created_at"].as_str().unwrap().to_owned())));
    assert_eq!(
        (&seen[0]["ttft_ms"], &seen[0]["duration_ms"], &seen[0]["streamed"]),
        (&json!(30), &json!(70), &json!(true))
    );

    let of = rig
        .get(&format!("/v1/usage/requests?session_id={session}&model=b"))
        .await
        .ok();
    assert_eq!(of["data"].as_array().unwrap().len(), 1);
    let failed = rig.get("/v1/usage/requests?from=2026-01-02&model=b").await.ok();
    assert_eq!(
        (&failed["data"][0]["status"], &failed["data"][0]["error"]),
        (&json!(529), &json!("overloaded"))
    );
    rig.get("/v1/usage/requests?session_id=x")
        .await
        .refused(400, "invalid_request_error");
    rig.get("/v1/usage/requests?page=x")
        .await
        .refused(400, "invalid_request_error");
}
