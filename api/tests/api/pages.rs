//! Pages: every item once, in order, in both directions; foreign cursors are refused.

use serde_json::{Value, json};

use crate::rig::{Rig, id, message};

/// All items of a list, following `next_page`.
async fn all(rig: &Rig, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut page = String::new();
    loop {
        let join = if path.contains('?') { '&' } else { '?' };
        let answer = rig.get(&format!("{path}{join}limit=2{page}")).await.ok();
        let data = answer["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        items.extend(data.clone());
        match answer["next_page"].as_str() {
            Some(cursor) => page = format!("&page={cursor}"),
            None => return items,
        }
    }
}

#[tokio::test]
async fn every_list_pages_through_everything_once() {
    let rig = Rig::new().await;
    let agent = rig.agent().await;
    let environment = rig.environment(json!({"type": "local"})).await;
    let mut made = (vec![agent.clone()], vec![environment.clone()], Vec::new());
    for n in 0..4 {
        made.0.push(rig.agent().await);
        made.1.push(rig.environment(json!({"type": "local"})).await);
        rig.post(&format!("/v1/agents/{agent}"), &json!({"description": format!("{n}")}))
            .await
            .ok();
    }
    for _ in 0..5 {
        let body = json!({"agent": agent, "environment_id": environment});
        made.2.push(id(&rig.post("/v1/sessions", &body).await.ok()));
    }
    let newest_first = |ids: &[String]| ids.iter().rev().cloned().collect::<Vec<_>>();
    let ids = |items: Vec<Value>| items.iter().map(id).collect::<Vec<_>>();
    assert_eq!(ids(all(&rig, "/v1/agents").await), newest_first(&made.0));
    assert_eq!(ids(all(&rig, "/v1/environments").await), newest_first(&made.1));
    assert_eq!(ids(all(&rig, "/v1/sessions").await), newest_first(&made.2));
    assert_eq!(ids(all(&rig, "/v1/sessions?order=asc").await), made.2);
    let versions = all(&rig, &format!("/v1/agents/{agent}/versions")).await;
    assert_eq!(
        versions
            .iter()
            .map(|v| v["version"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [5, 4, 3, 2, 1]
    );
    let session = &made.2[0];
    for n in 0..5 {
        rig.say(session, &n.to_string()).await;
    }
    let texts = |items: Vec<Value>| {
        items
            .iter()
            .map(|e| e["content"][0]["text"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    assert_eq!(
        texts(all(&rig, &format!("/v1/sessions/{session}/events")).await),
        "01234"
    );
    assert_eq!(
        texts(all(&rig, &format!("/v1/sessions/{session}/events?order=desc")).await),
        "43210"
    );
}

#[tokio::test]
async fn sessions_page_backwards_too() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        rig.session().await;
    }
    let first = rig.get("/v1/sessions?limit=2").await.ok();
    assert_eq!(first["prev_page"], Value::Null);
    let page = |answer: &Value, way: &str| format!("/v1/sessions?limit=2&page={}", answer[way].as_str().unwrap());
    let second = rig.get(&page(&first, "next_page")).await.ok();
    let third = rig.get(&page(&second, "next_page")).await.ok();
    assert_eq!(third["next_page"], Value::Null);
    assert_eq!(third["data"].as_array().unwrap().len(), 1);
    let back = rig.get(&page(&third, "prev_page")).await.ok();
    assert_eq!(back["data"], second["data"]);
    let front = rig.get(&page(&back, "prev_page")).await.ok();
    assert_eq!((&front["data"], &front["prev_page"]), (&first["data"], &Value::Null));
    assert_eq!(rig.get(&page(&front, "next_page")).await.ok()["data"], second["data"]);
}

#[tokio::test]
async fn sessions_filter() {
    let rig = Rig::new().await;
    let (idle, busy) = (rig.session().await, rig.session().await);
    rig.say(&busy, "work").await;
    let found = async |query: &str| -> Vec<String> {
        let page = rig.get(&format!("/v1/sessions?{query}")).await.ok();
        page["data"].as_array().unwrap().iter().map(id).collect()
    };
    assert_eq!(found("statuses[]=running").await, [busy.as_str()]);
    assert_eq!(found("statuses[]=idle&statuses[]=running").await.len(), 2);
    let agent = rig.get(&format!("/v1/sessions/{idle}")).await.ok()["agent"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        found(&format!("agent_id={agent}&agent_version=1")).await,
        [idle.as_str()]
    );
    assert!(found(&format!("agent_id={agent}&agent_version=2")).await.is_empty());
    assert!(found("deployment_id=depl_x").await.is_empty());
    assert!(found("created_at[gt]=2199-01-01T00:00:00Z").await.is_empty());
    rig.text(&format!("/v1/sessions/{idle}/archive"), "").await.ok();
    assert_eq!(found("").await, [busy.as_str()]);
    assert_eq!(found("include_archived=true").await.len(), 2);
}

#[tokio::test]
async fn foreign_and_garbled_cursors_are_refused() {
    let rig = Rig::new().await;
    let (session, other) = (rig.session().await, rig.session().await);
    for session in [&session, &other] {
        rig.post(
            &format!("/v1/sessions/{session}/events"),
            &json!({"events": vec![message("x")["events"][0].clone(); 3]}),
        )
        .await
        .ok();
    }
    let path = format!("/v1/sessions/{session}/events");
    let cursor = rig.get(&format!("{path}?limit=1")).await.ok()["next_page"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.get(&format!("{path}?page={cursor}")).await.ok();
    rig.get(&format!("{path}?page=")).await.ok();
    let long = "A".repeat(4000);
    for path in [
        format!("{path}?order=desc&page={cursor}"),
        format!("/v1/sessions/{other}/events?page={cursor}"),
        format!("/v1/sessions?page={cursor}"),
        format!("/v1/agents?page={cursor}"),
        format!("/v1/environments?page={cursor}"),
        format!("{path}?page={}x", &cursor[..cursor.len() - 2]),
        format!("{path}?page=garbage"),
        format!("{path}?page=%00"),
        format!("{path}?page=%F0%9F%8C%B1"),
        format!("{path}?page={long}"),
    ] {
        let refused = rig.get(&path).await.refused(400, "invalid_request_error");
        assert!(refused.contains("page"), "{refused}");
    }
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let many: String = (0..100).map(|n| format!("types[]={n}&")).collect();
    for (path, name) in [
        ("/v1/agents?limit=0".to_owned(), "limit"),
        ("/v1/agents?limit=101".to_owned(), "limit"),
        ("/v1/agents?limit=-1".to_owned(), "limit"),
        ("/v1/agents?limit=ten".to_owned(), "limit"),
        ("/v1/agents?limit=99999999999999999999".to_owned(), "limit"),
        ("/v1/agents?include_archived=maybe".to_owned(), "include_archived"),
        ("/v1/agents?created_at[gte]=yesterday".to_owned(), "created_at[gte]"),
        ("/v1/sessions?order=up".to_owned(), "order"),
        ("/v1/sessions?statuses[]=asleep".to_owned(), "statuses"),
        ("/v1/sessions?agent_id=nope".to_owned(), "agent_id"),
        ("/v1/sessions?agent_version=one".to_owned(), "agent_version"),
        ("/v1/sessions?include=everything".to_owned(), "include"),
        (format!("/v1/sessions/{session}/events?limit=1001"), "limit"),
        (format!("/v1/sessions/{session}/events?types[]=a%00b"), "types"),
        (format!("/v1/sessions/{session}/events?{many}"), "types"),
        (format!("/v1/sessions/{session}/log?after=x"), "after"),
        (format!("/v1/sessions/{session}/log?after=-1"), "after"),
        (format!("/v1/sessions/{session}/log?tail=-1"), "tail"),
        (format!("/v1/sessions/{session}/log?tail=1&after=1"), "tail"),
    ] {
        let refused = rig.get(&path).await.refused(400, "invalid_request_error");
        assert!(refused.contains(name), "{refused} should name {name}");
    }
    rig.get("/v1/sessions?beta=true&whatever=1&limit=100").await.ok();
    rig.get(&format!(
        "/v1/sessions/{session}/events?limit=1000&types[]=from.the.future"
    ))
    .await
    .ok();
}
