//! Repeated POSTs (INVARIANTS I19).

use perennial_engine::ports::{Delivery, DeliveryState};
use perennial_schema::DeliveryId;
use serde_json::{Value, json};

use crate::attached::device;
use crate::rig::{Rig, id, message};
use crate::sessions::quarantine;

const KEY: (&str, &str) = ("idempotency-key", "once");

async fn routes(rig: &Rig) -> Vec<(String, Value, Value)> {
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let session = rig.session().await;
    rig.say(&session, "first").await;
    let create = |title: &str| json!({"agent": agent, "environment_id": environment, "title": title});
    let fork = |title: &str| json!({"at_seq": 1, "title": title});
    vec![
        (
            "/v1/agents".into(),
            json!({"name": "a", "model": "m"}),
            json!({"name": "b", "model": "m"}),
        ),
        (
            format!("/v1/agents/{agent}"),
            json!({"system": "x"}),
            json!({"system": "y"}),
        ),
        ("/v1/environments".into(), json!({"name": "a"}), json!({"name": "b"})),
        ("/v1/sessions".into(), create("a"), create("b")),
        (format!("/v1/sessions/{session}/events"), message("a"), message("b")),
        (format!("/v1/sessions/{session}/fork"), fork("a"), fork("b")),
        (
            "/v1/budgets".into(),
            json!({"metric": "requests", "limit": 1}),
            json!({"metric": "requests", "limit": 2}),
        ),
    ]
}

#[tokio::test]
async fn a_key_gives_the_first_answer_and_refuses_another_body() {
    let rig = Rig::new().await;
    for (path, body, other) in routes(&rig).await {
        let first = rig.post_with(&path, &body, &[KEY]).await.ok();
        assert_eq!(rig.post_with(&path, &body, &[KEY]).await.ok(), first, "{path}");
        let reused = rig.post_with(&path, &other, &[KEY]).await;
        assert!(
            reused.refused(422, "invalid_request_error").contains("Idempotency-Key"),
            "{path}"
        );
        let second = rig.post_with(&path, &other, &[("idempotency-key", "twice")]).await.ok();
        assert_ne!(second, first, "{path}");
    }
    let sessions = rig.get("/v1/sessions?limit=100").await.ok();
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1 + 2 + 2);
}

/// Every POST there is, with a body it takes and the answer's field that names what it did; resources of its own each.
async fn every_post(rig: &Rig) -> Vec<(&'static str, String, Value)> {
    let agent = rig.agent().await;
    let ended = rig.agent().await;
    let environment = rig.environment(json!({"type": "local"})).await;
    let closed = rig.environment(json!({"type": "local"})).await;
    let hosted = rig.environment(json!({"type": "self_hosted"})).await;
    let session = rig.session().await;
    let (another, laptop) = (rig.session().await, device(rig, "laptop").await);
    let archived = rig.session().await;
    let poisonous = rig.session().await;
    rig.say(&poisonous, "work").await;
    quarantine(rig, &rig.claim().await).await;
    let budget = rig
        .post("/v1/budgets", &json!({"metric": "tokens", "limit": 1}))
        .await
        .ok();
    let budget = id(&budget);
    let (webhook, delivery) = told(rig).await;
    let one = |route, id: &str, body| {
        let (before, after) = route_parts(route);
        (route, format!("{before}{id}{after}"), body)
    };
    vec![
        one("/v1/agents", "", json!({"name": "a", "model": "m"})),
        one("/v1/agents/{agent_id}", &agent, json!({"system": "x"})),
        one("/v1/agents/{agent_id}/archive", &ended, json!({})),
        one("/v1/budgets", "", json!({"metric": "requests", "limit": 9})),
        one("/v1/budgets/{budget_id}", &budget, json!({"limit": 3})),
        one("/v1/gateway_keys", "", json!({"name": "a"})),
        one("/v1/webhooks", "", json!({"url": "https://example.com"})),
        one("/v1/webhooks/{webhook_id}", &webhook, json!({"enabled": false})),
        (
            "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
            format!("/v1/webhooks/{webhook}/deliveries/{delivery}/replay"),
            json!({}),
        ),
        one("/v1/executors/codes", "", json!({})),
        one("/v1/environments", "", json!({"name": "a"})),
        one(
            "/v1/environments/{environment_id}",
            &environment,
            json!({"description": "x"}),
        ),
        one("/v1/environments/{environment_id}/archive", &closed, json!({})),
        one("/v1/environments/{environment_id}/keys", &hosted, json!({"name": "a"})),
        one(
            "/v1/sessions",
            "",
            json!({"agent": agent, "environment_id": environment}),
        ),
        one("/v1/sessions/{session_id}", &session, json!({"title": "x"})),
        one("/v1/sessions/{session_id}/archive", &archived, json!({})),
        one("/v1/sessions/{session_id}/events", &session, message("a")),
        one(
            "/v1/sessions/{session_id}/executors",
            &another,
            json!({"executor_id": laptop}),
        ),
        one("/v1/sessions/{session_id}/fork", &session, json!({})),
        one("/v1/sessions/{session_id}/retry", &poisonous, json!({})),
    ]
    .into_iter()
    .chain(every_post_of_mail(rig).await)
    .collect()
}

/// A receiver, and something that it is to be told.
async fn told(rig: &Rig) -> (String, String) {
    let made = rig.post("/v1/webhooks", &json!({"url": "https://example.com"})).await;
    let webhook = id(&made.ok());
    let delivery = Delivery {
        id: DeliveryId::from_uuid(uuid::Uuid::now_v7()),
        workspace: rig.workspace,
        webhook: webhook.parse().unwrap(),
        event: "event_0".into(),
        kind: "session.created".into(),
        body: "{}".into(),
        state: DeliveryState::Pending,
        attempts: 0,
        due_at: perennial_schema::Timestamp::from_micros(0),
        status: None,
        outcome: None,
        created_at: perennial_schema::Timestamp::from_micros(0),
        ended_at: None,
    };
    assert!(rig.webhooks.enqueue(&delivery, 10).await.unwrap());
    (webhook, delivery.id.to_string())
}

/// The same for mail: a message of its own for each verb, and a receipt where it takes one.
async fn every_post_of_mail(rig: &Rig) -> Vec<(&'static str, String, Value)> {
    const MESSAGES: &str = "/v1/mailboxes/{kind}/{name}/messages";
    const RECEIVE: &str = "/v1/mailboxes/{kind}/{name}/receive";
    let at = |queue: &str| format!("/v1/mailboxes/queue/{queue}/messages");
    let mut routes = vec![(MESSAGES, at("sent"), json!({"content": "x"}))];
    rig.post(&at("received"), &json!({"content": "x"})).await.ok();
    let receive = |queue: &str| format!("/v1/mailboxes/queue/{queue}/receive");
    routes.push((RECEIVE, receive("received"), json!({"limit": 2})));
    let verbs = [
        "/v1/mailboxes/{kind}/{name}/messages/{message_id}/acknowledge",
        "/v1/mailboxes/{kind}/{name}/messages/{message_id}/reject",
        "/v1/mailboxes/{kind}/{name}/messages/{message_id}/extend",
        "/v1/mailboxes/{kind}/{name}/messages/{message_id}/cancel",
        "/v1/mailboxes/{kind}/{name}/messages/{message_id}/replay",
    ];
    for route in verbs {
        let verb = route.rsplit('/').next().unwrap();
        let sent = rig.post(&at(verb), &json!({"content": "x"})).await.ok();
        let path = format!("{}/{}/{verb}", at(verb), id(&sent));
        let body = match verb {
            "cancel" => json!({}),
            "replay" => {
                die(rig, verb).await;
                json!({})
            }
            _ => {
                let received = rig.post(&receive(verb), &json!({})).await.ok();
                let mut body = json!({"receipt": received["data"][0]["receipt"]});
                if verb == "extend" {
                    body["visibility_timeout"] = json!(9);
                }
                body
            }
        };
        routes.push((route, path, body));
    }
    routes
}

/// Rejects a queue's message until it is a dead letter.
async fn die(rig: &Rig, queue: &str) {
    let receive = format!("/v1/mailboxes/queue/{queue}/receive");
    for _ in 0..perennial_engine::ports::MAIL_DELIVERIES {
        let received = rig.post(&receive, &json!({})).await.ok();
        let message = &received["data"][0];
        let path = format!("/v1/mailboxes/queue/{queue}/messages/{}/reject", id(message));
        rig.post(&path, &json!({"receipt": message["receipt"]})).await.ok();
    }
}

fn route_parts(route: &str) -> (&str, &str) {
    let Some((before, rest)) = route.split_once('{') else {
        return (route, "");
    };
    (before, rest.split_once('}').unwrap().1)
}

#[tokio::test]
async fn every_post_remembers_its_key() {
    let rig = Rig::new().await;
    let routes = every_post(&rig).await;
    let document = rig.get("/openapi.json").await.ok();
    let posts = document["paths"].as_object().unwrap().iter();
    let mut posts: Vec<&str> = posts
        // A file, not JSON: `exchange` repeats it. What goes to a model's vendor is the vendor's to remember.
        .filter(|(path, _)| *path != "/v1/sessions/import" && !path.starts_with("/llm/"))
        // A form: `tests/code` repeats it.
        .filter(|(path, _)| *path != "/v1/files")
        // A registration's code is its key (`executors` repeats it); calls are remembered by executors, and repeated there.
        .filter(|(path, _)| !["/v1/executors/register", "/v1/executors/{executor_id}/calls"].contains(&path.as_str()))
        // Each names the state it changes; `tests/sdk` repeats them.
        .filter(|(path, _)| !path.contains("/work/{work_id}"))
        // A ticket that was lost opens nothing, and another one is made.
        .filter(|(path, _)| {
            ![
                "/v1/executors/{executor_id}/tickets",
                "/v1/executors/{executor_id}/previews",
            ]
            .contains(&path.as_str())
        })
        .filter(|(_, verbs)| verbs["post"].is_object())
        .map(|(path, _)| path.as_str())
        .collect();
    posts.sort_unstable();
    let mut tested: Vec<&str> = routes.iter().map(|(route, ..)| *route).collect();
    tested.sort_unstable();
    assert_eq!(tested, posts, "a POST without a test here");
    for (_, path, body) in routes {
        let mut first = rig.post_with(&path, &body, &[KEY]).await.ok();
        // A virtual key's secret is shown once.
        first.as_object_mut().unwrap().remove("secret");
        assert_eq!(rig.post_with(&path, &body, &[KEY]).await.ok(), first, "{path}");
        let mut other = body.clone();
        if path.ends_with("/fork") {
            other["title"] = json!("other");
        } else if path.starts_with("/v1/budgets") {
            other["limit"] = json!(7);
        } else if path.starts_with("/v1/webhooks") {
            other["description"] = json!("other");
        } else if path == "/v1/gateway_keys" || path.ends_with("/executors") || path.ends_with("/keys") {
            other["name"] = json!("other");
        } else {
            other["metadata"] = json!({"other": "body"});
        }
        let reused = rig.post_with(&path, &other, &[KEY]).await;
        assert!(
            reused.refused(422, "invalid_request_error").contains("Idempotency-Key"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_request_that_changes_nothing_takes_its_key_too() {
    let rig = Rig::new().await;
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let session = rig.session().await;
    rig.text(&format!("/v1/environments/{environment}/archive"), "")
        .await
        .ok();
    for (path, same, other) in [
        (
            format!("/v1/agents/{agent}"),
            json!({"name": "coder"}),
            json!({"name": "other"}),
        ),
        (
            format!("/v1/sessions/{session}"),
            json!({"title": null}),
            json!({"title": "other"}),
        ),
        (
            format!("/v1/environments/{environment}/archive"),
            json!({}),
            json!({"other": 1}),
        ),
    ] {
        let before = rig.get(path.trim_end_matches("/archive")).await.ok();
        assert_eq!(rig.post_with(&path, &same, &[KEY]).await.ok(), before, "{path}");
        rig.post_with(&path, &other, &[KEY])
            .await
            .refused(422, "invalid_request_error");
    }
}

#[tokio::test]
async fn a_repetition_is_answered_where_the_change_would_be_refused_by_now() {
    let rig = Rig::new().await;
    let environment = rig.environment(json!({"type": "local"})).await;
    let path = format!("/v1/environments/{environment}");
    let body = json!({"description": "x"});
    rig.post_with(&path, &body, &[KEY]).await.ok();
    rig.text(&format!("{path}/archive"), "").await.ok();
    assert_eq!(rig.post_with(&path, &body, &[KEY]).await.ok()["description"], "x");
    rig.post_with(&path, &body, &[("idempotency-key", "another")])
        .await
        .refused(400, "invalid_request_error");
}

#[tokio::test]
async fn declared_sdk_retries_get_the_first_answer() {
    let rig = Rig::new().await;
    for (path, body, _) in routes(&rig).await {
        let first = rig
            .post_with(&path, &body, &[("x-stainless-retry-count", "0")])
            .await
            .ok();
        let retry = rig
            .post_with(&path, &body, &[("x-stainless-retry-count", "1")])
            .await
            .ok();
        assert_eq!(retry, first, "{path}");
        // A new first try is a new request, whatever came before; only the unique name refuses it.
        let again = rig.post_with(&path, &body, &[("x-stainless-retry-count", "0")]).await;
        if path == "/v1/environments" {
            again.refused(409, "invalid_request_error");
        } else if path.contains("/v1/agents/") {
            assert_eq!(again.ok(), first, "changes nothing");
        } else {
            assert_ne!(again.ok(), first, "{path}");
        }
    }
}

#[tokio::test]
async fn a_retry_whose_first_try_never_arrived_is_done() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    rig.post_with(&path, &message("x"), &[("x-stainless-retry-count", "2")])
        .await
        .ok();
    assert_eq!(rig.get(&path).await.ok()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn concurrent_requests_under_one_key_do_it_once() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let body = message("x");
    let answers = futures_util::future::join_all((0..8).map(|_| rig.post_with(&path, &body, &[KEY]))).await;
    let ids: std::collections::HashSet<String> = answers.into_iter().map(|a| id(&a.ok()["data"][0])).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(rig.get(&path).await.ok()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_keys_are_refused() {
    let rig = Rig::new().await;
    let long = "k".repeat(256);
    for key in ["", &long] {
        let refused = rig
            .post_with(
                "/v1/agents",
                &json!({"name": "a", "model": "m"}),
                &[("idempotency-key", key)],
            )
            .await;
        assert!(
            refused
                .refused(400, "invalid_request_error")
                .contains("Idempotency-Key")
        );
    }
    rig.get("/v1/agents").await.ok();
}
