//! Keys, hosts, tenants.

use axum::body::Body;
use axum::http::Request;
use perennial_api::accounts::{Accounts as _, Secret};
use perennial_api::{Config, Hosts};
use perennial_schema::Timestamp;
use serde_json::json;

use crate::rig::{Rig, loopback, message};

fn bare(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn both_styles_of_key_are_taken() {
    let rig = Rig::new().await;
    let bearer = format!("Bearer {}", rig.key);
    let lower = format!("bearer {}", rig.key);
    for headers in [
        vec![("x-api-key", rig.key.as_str())],
        vec![("authorization", bearer.as_str())],
        vec![("authorization", lower.as_str())],
        vec![
            ("x-api-key", rig.key.as_str()),
            ("anthropic-version", "2026-10-21"),
            ("anthropic-beta", "a,b"),
        ],
    ] {
        rig.send(bare("GET", "/v1/agents?beta=true", &headers)).await.ok();
    }
}

#[tokio::test]
async fn missing_and_wrong_keys_are_refused_everywhere() {
    let rig = Rig::new().await;
    let other = Secret::generate().unwrap();
    let forged = format!("{}{}", &rig.key[..rig.key.len() - 3], "AAA");
    let session = rig.session().await;
    let routes = [
        "/v1/agents",
        "/v1/environments",
        "/v1/sessions",
        "/metrics",
        &format!("/v1/sessions/{session}/events/stream"),
    ];
    for path in routes {
        for headers in [
            vec![],
            vec![("x-api-key", "")],
            vec![("x-api-key", "sk-ant-123")],
            vec![("x-api-key", other.expose())],
            vec![("x-api-key", forged.as_str())],
            vec![("authorization", "Basic abc")],
            vec![("authorization", "Bearer")],
        ] {
            let answer = rig.send(bare("GET", path, &headers)).await;
            answer.refused(401, "authentication_error");
            assert!(!answer.json.to_string().contains("AAA"), "a key is never echoed");
        }
    }
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        rig.send(bare("GET", path, &[])).await.ok();
    }
}

#[tokio::test]
async fn another_workspace_sees_nothing() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let agent = rig.agent().await;
    // A second workspace with its own key, beside the first in the same stores.
    let stranger = Rig::with(rig.bus.clone(), Config::default(), |mut ports| {
        ports.log = rig.store.clone();
        ports.sessions = rig.store.clone();
        ports.leases = rig.store.clone();
        ports
    })
    .await;
    let path = format!("/v1/sessions/{session}");
    for answer in [
        stranger.get(&path).await,
        stranger.delete(&path).await,
        stranger.get(&format!("{path}/events")).await,
        stranger.get(&format!("{path}/log")).await,
        stranger.get(&format!("{path}/events/stream")).await,
        stranger.post(&format!("{path}/events"), &message("x")).await,
        stranger.get(&format!("/v1/agents/{agent}")).await,
    ] {
        answer.refused(404, "not_found_error");
    }
    assert_eq!(stranger.get("/v1/sessions").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_known_key_is_kept_and_an_unknown_one_replaced() {
    let rig = Rig::new().await;
    let known: Secret = rig.key.parse().unwrap();
    let at = Timestamp::from_micros(0);
    let again = rig.accounts.ensure_workspace_and_key(Some(&known), at).await.unwrap();
    assert!(again.fresh.is_none());
    assert_eq!(again.workspace, rig.workspace);
    let lost = rig.accounts.ensure_workspace_and_key(None, at).await.unwrap();
    assert_eq!(lost.workspace, rig.workspace, "one workspace, however many keys");
    let fresh = lost.fresh.unwrap();
    rig.send(bare("GET", "/v1/agents", &[("x-api-key", fresh.expose())]))
        .await
        .ok();
    let foreign = Secret::generate().unwrap();
    assert!(
        rig.accounts
            .ensure_workspace_and_key(Some(&foreign), at)
            .await
            .unwrap()
            .fresh
            .is_some()
    );
}

#[tokio::test]
async fn foreign_host_names_are_refused_before_anything_else() {
    let rig = Rig::new().await;
    assert_eq!(loopback(), Hosts::default());
    for host in ["evil.example", "evil.example:7340", "127.0.0.1.evil.example"] {
        for path in ["/healthz", "/v1/agents", "/openapi.json", "/nowhere"] {
            let answer = rig
                .send(bare("GET", path, &[("host", host), ("x-api-key", &rig.key)]))
                .await;
            answer.refused(403, "permission_error");
        }
    }
    rig.send(bare("GET", "/healthz", &[("host", "localhost:1")])).await.ok();
    let open = Rig::with(
        rig.bus.clone(),
        Config {
            hosts: Hosts::Any,
            ..Config::default()
        },
        |ports| ports,
    )
    .await;
    open.send(bare("GET", "/healthz", &[("host", "evil.example")]))
        .await
        .ok();
}
