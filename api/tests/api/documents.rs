//! The OpenAPI document is fresh and covers every route; metrics name routes, not ids.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rig::Rig;

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[tokio::test]
async fn the_checked_in_document_is_fresh() {
    let fresh = perennial_api::openapi::document();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(CHECKED_IN, &fresh).unwrap();
    }
    let stored = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
    assert!(
        stored == fresh,
        "api/openapi.json is stale: UPDATE_OPENAPI=1 cargo test -p perennial-api"
    );
    let served = Rig::new().await.get("/openapi.json").await.ok();
    assert_eq!(served, serde_json::from_str::<Value>(&fresh).unwrap());
}

#[test]
fn every_route_is_documented() {
    let document: Value = serde_json::from_str(&perennial_api::openapi::document()).unwrap();
    let routes: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let expected = BTreeSet::from(
        [
            "GET /healthz",
            "GET /readyz",
            "GET /metrics",
            "GET /v1/feed",
            "GET /v1/approvals",
            "GET /v1/mcp_tools",
            "PATCH /v1/mcp_tools/{tool_id}",
            "GET /v1/mailboxes",
            "GET /v1/mailboxes/{kind}/{name}/messages",
            "POST /v1/mailboxes/{kind}/{name}/messages",
            "GET /v1/mailboxes/{kind}/{name}/messages/{message_id}",
            "POST /v1/mailboxes/{kind}/{name}/messages/{message_id}/acknowledge",
            "POST /v1/mailboxes/{kind}/{name}/messages/{message_id}/cancel",
            "POST /v1/mailboxes/{kind}/{name}/messages/{message_id}/extend",
            "POST /v1/mailboxes/{kind}/{name}/messages/{message_id}/reject",
            "POST /v1/mailboxes/{kind}/{name}/messages/{message_id}/replay",
            "POST /v1/mailboxes/{kind}/{name}/receive",
            "GET /v1/mailboxes/{kind}/{name}/stream",
            "GET /openapi.json",
            "POST /llm/v1/messages",
            "POST /llm/v1/messages/count_tokens",
            "POST /llm/v1/responses",
            "POST /llm/v1/chat/completions",
            "GET /llm/v1/models",
            "GET /llm/v1/models/{model_id}",
            "POST /llm/{provider}/v1/messages",
            "POST /llm/{provider}/v1/messages/count_tokens",
            "POST /llm/{provider}/v1/responses",
            "POST /llm/{provider}/v1/chat/completions",
            "GET /llm/{provider}/v1/models",
            "GET /llm/{provider}/v1/models/{model_id}",
            "POST /v1/budgets",
            "GET /v1/budgets",
            "GET /v1/budgets/{budget_id}",
            "POST /v1/budgets/{budget_id}",
            "DELETE /v1/budgets/{budget_id}",
            "POST /v1/gateway_keys",
            "GET /v1/gateway_keys",
            "GET /v1/gateway_keys/{key_id}",
            "DELETE /v1/gateway_keys/{key_id}",
            "POST /v1/executors/codes",
            "POST /v1/executors/register",
            "GET /v1/workers",
            "PATCH /v1/workers/{worker_id}",
            "GET /v1/scaling/{pool}",
            "GET /v1/executors",
            "GET /v1/executors/tunnel",
            "GET /v1/executors/{executor_id}/line",
            "GET /v1/executors/{executor_id}",
            "PATCH /v1/executors/{executor_id}",
            "DELETE /v1/executors/{executor_id}",
            "POST /v1/executors/{executor_id}/calls",
            "GET /v1/executors/{executor_id}/files",
            "PUT /v1/executors/{executor_id}/files",
            "GET /v1/executors/{executor_id}/search",
            "GET /v1/executors/{executor_id}/repositories",
            "GET /v1/executors/{executor_id}/diff",
            "PUT /v1/executors/{executor_id}/uploads",
            "GET /v1/executors/{executor_id}/forwards/{port}",
            "GET /v1/executors/{executor_id}/terminals/{name}",
            "POST /v1/executors/{executor_id}/tickets",
            "POST /v1/webhooks",
            "GET /v1/webhooks",
            "GET /v1/webhooks/{webhook_id}",
            "POST /v1/webhooks/{webhook_id}",
            "DELETE /v1/webhooks/{webhook_id}",
            "GET /v1/webhooks/{webhook_id}/deliveries",
            "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
            "POST /v1/executors/{executor_id}/previews",
            "GET /v1/usage",
            "GET /v1/usage/requests",
            "POST /v1/agents",
            "GET /v1/agents",
            "GET /v1/agents/{agent_id}",
            "POST /v1/agents/{agent_id}",
            "POST /v1/agents/{agent_id}/archive",
            "GET /v1/agents/{agent_id}/versions",
            "POST /v1/environments",
            "GET /v1/environments",
            "GET /v1/environments/{environment_id}",
            "POST /v1/environments/{environment_id}",
            "DELETE /v1/environments/{environment_id}",
            "POST /v1/environments/{environment_id}/archive",
            "POST /v1/environments/{environment_id}/keys",
            "GET /v1/environments/{environment_id}/keys",
            "DELETE /v1/environments/{environment_id}/keys/{key_id}",
            "GET /v1/environments/{environment_id}/work",
            "GET /v1/environments/{environment_id}/work/poll",
            "GET /v1/environments/{environment_id}/work/stats",
            "GET /v1/environments/{environment_id}/work/{work_id}",
            "POST /v1/environments/{environment_id}/work/{work_id}",
            "POST /v1/environments/{environment_id}/work/{work_id}/ack",
            "POST /v1/environments/{environment_id}/work/{work_id}/heartbeat",
            "POST /v1/environments/{environment_id}/work/{work_id}/stop",
            "POST /v1/sessions",
            "GET /v1/sessions",
            "POST /v1/files",
            "GET /v1/files",
            "GET /v1/files/{file_id}",
            "DELETE /v1/files/{file_id}",
            "GET /v1/files/{file_id}/content",
            "GET /v1/sessions/{session_id}",
            "POST /v1/sessions/{session_id}",
            "DELETE /v1/sessions/{session_id}",
            "POST /v1/sessions/{session_id}/archive",
            "POST /v1/sessions/{session_id}/executors",
            "DELETE /v1/sessions/{session_id}/executors/{executor_id}",
            "POST /v1/sessions/{session_id}/fork",
            "GET /v1/sessions/{session_id}/export",
            "POST /v1/sessions/import",
            "GET /v1/sessions/{session_id}/log",
            "GET /v1/sessions/{session_id}/blobs/{sha256}",
            "GET /v1/sessions/{session_id}/diff",
            "POST /v1/sessions/{session_id}/retry",
            "POST /v1/sessions/{session_id}/events",
            "GET /v1/sessions/{session_id}/events",
            "GET /v1/sessions/{session_id}/events/stream",
        ]
        .map(str::to_owned),
    );
    assert_eq!(routes, expected);
}

#[tokio::test]
async fn metrics_count_by_route() {
    let config = perennial_api::Config {
        metrics: perennial_api::prometheus(),
        ..perennial_api::Config::default()
    };
    let rig = Rig::with(
        std::sync::Arc::new(perennial_broker::bus::local::Local::new()),
        config,
        |ports| ports,
    )
    .await;
    let session = rig.session().await;
    rig.get(&format!("/v1/sessions/{session}")).await.ok();
    let text = rig.get("/metrics").await.json.as_str().unwrap().to_owned();
    let counted = "perennial_http_requests_total{route=\"/v1/sessions/{session_id}\",method=\"GET\",class=\"2xx\"}";
    assert!(text.contains(counted), "{text}");
    assert!(text.contains("perennial_pool_wanted_slots "), "{text}");
    assert!(!text.contains(&session), "no ids in labels");
}
