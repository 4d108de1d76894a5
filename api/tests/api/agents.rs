//! Agents: versions, filled-out tools, optimistic updates.

use serde_json::{Value, json};

use crate::rig::{Rig, id};

#[tokio::test]
async fn an_agent_comes_back_filled_out() {
    let rig = Rig::new().await;
    let body = json!({
        "name": "coder", "model": "claude-opus-5", "system": null,
        "tools": [
            {"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]},
            {"type": "mcp_toolset", "mcp_server_name": "docs"},
            {"type": "custom", "name": "get_weather", "description": "Weather", "input_schema": {"type": "object"}},
        ],
        "mcp_servers": [{"type": "url", "name": "docs", "url": "https://docs.example/mcp"}],
        "metadata": {"team": "a"},
    });
    let agent = rig.post("/v1/agents?beta=true", &body).await.ok();
    assert!(id(&agent).starts_with("agent_"));
    assert_eq!((&agent["type"], &agent["version"]), (&json!("agent"), &json!(1)));
    assert_eq!(agent["model"], json!({"id": "claude-opus-5"}));
    assert_eq!(agent["execution_identity"], json!({"type": "service_account"}));
    assert_eq!(
        (&agent["skills"], &agent["multiagent"], &agent["archived_at"]),
        (&json!([]), &Value::Null, &Value::Null)
    );
    let toolset = &agent["tools"][0];
    assert_eq!(
        toolset["default_config"],
        json!({"enabled": true, "permission_policy": {"type": "auto"}})
    );
    let configs = toolset["configs"].as_array().unwrap();
    assert_eq!(configs.len(), 8);
    assert!(configs.iter().all(|config| config["type"] == config["name"]));
    assert_eq!(configs[0]["permission_policy"]["type"], "always_ask");
    assert_eq!(configs[1]["permission_policy"]["type"], "auto");
    assert!(
        configs
            .iter()
            .filter(|config| config["enabled"] == false)
            .all(|config| { config["name"].as_str().unwrap().starts_with("web_") })
    );
    assert_eq!(
        agent["tools"][1]["default_config"]["permission_policy"]["type"],
        "always_ask"
    );
    assert_eq!(agent["tools"][1]["configs"], json!([]));
    assert_eq!(agent["tools"][2]["input_schema"]["type"], "object");
    assert!(agent["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(rig.get(&format!("/v1/agents/{}", id(&agent))).await.ok(), agent);
}

#[tokio::test]
async fn updates_make_versions_and_nothing_makes_none() {
    let rig = Rig::new().await;
    let agent = rig.agent().await;
    let path = format!("/v1/agents/{agent}");
    let second = rig
        .post(&path, &json!({"system": "be kind", "metadata": {"a": "1", "b": "2"}}))
        .await
        .ok();
    assert_eq!((&second["version"], &second["system"]), (&json!(2), &json!("be kind")));
    let same = rig.post(&path, &json!({"system": "be kind", "version": 2})).await.ok();
    assert_eq!(same["version"], 2, "an update that changes nothing makes no version");
    let third = rig
        .post(&path, &json!({"system": null, "tools": null, "metadata": {"a": null}}))
        .await
        .ok();
    assert_eq!(third["version"], 3);
    assert_eq!(
        (&third["system"], &third["tools"], &third["metadata"]),
        (&Value::Null, &json!([]), &json!({"b": "2"}))
    );
    let stale = rig.post(&path, &json!({"name": "x", "version": 1})).await;
    assert!(stale.refused(409, "invalid_request_error").contains("version"));
    assert_eq!(stale.header("x-should-retry"), Some("false"));
    let old = rig.get(&format!("{path}?version=2")).await.ok();
    assert_eq!((&old["version"], &old["system"]), (&json!(2), &json!("be kind")));
    rig.get(&format!("{path}?version=9"))
        .await
        .refused(404, "not_found_error");
    let versions = rig.get(&format!("{path}/versions")).await.ok();
    let numbers: Vec<u64> = versions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 2, 1]);
}

#[tokio::test]
async fn concurrent_updates_all_count() {
    let rig = Rig::new().await;
    let path = format!("/v1/agents/{}", rig.agent().await);
    let updates = (0..4).map(|n| {
        let (rig, path) = (&rig, &path);
        async move { rig.post(path, &json!({"metadata": {format!("k{n}"): "v"}})).await.ok() }
    });
    futures_util::future::join_all(updates).await;
    let agent = rig.get(&path).await.ok();
    assert_eq!(
        (agent["version"].as_u64(), agent["metadata"].as_object().unwrap().len()),
        (Some(5), 4)
    );
}

#[tokio::test]
async fn archived_agents_take_no_changes_and_no_sessions() {
    let rig = Rig::new().await;
    let agent = rig.agent().await;
    let environment = rig.environment(json!({"type": "cloud"})).await;
    let archived = rig.text(&format!("/v1/agents/{agent}/archive"), "").await.ok();
    assert!(archived["archived_at"].is_string());
    let again = rig.text(&format!("/v1/agents/{agent}/archive"), "").await.ok();
    assert_eq!(again, archived);
    rig.post(&format!("/v1/agents/{agent}"), &json!({"name": "x"}))
        .await
        .refused(400, "invalid_request_error");
    let session = rig
        .post("/v1/sessions", &json!({"agent": agent, "environment_id": environment}))
        .await;
    assert!(session.refused(400, "invalid_request_error").contains("archived"));
    assert_eq!(rig.get("/v1/agents").await.ok()["data"], json!([]));
    assert_eq!(
        rig.get("/v1/agents?include_archived=true").await.ok()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn model_and_harness_are_normalised() {
    let rig = Rig::new().await;
    let body = json!({"name": "a", "harness": "claude-code",
        "model": {"id": "claude-opus-5", "effort": "high", "speed": "fast", "inference_geo": null}});
    let agent = rig.post("/v1/agents", &body).await.ok();
    assert_eq!(
        agent["model"],
        json!({"id": "claude-opus-5", "speed": "fast", "effort": {"type": "high"}})
    );
    assert_eq!(agent["harness"], "claude-code");
}

#[tokio::test]
async fn bad_agents_are_refused_by_field() {
    let rig = Rig::new().await;
    let ok = json!({"name": "a", "model": "m"});
    let with = |key: &str, value: Value| {
        let mut body = ok.clone();
        body[key] = value;
        body
    };
    let tool = |tool: Value| with("tools", json!([tool]));
    for (body, field) in [
        (json!({"model": "m"}), "name"),
        (json!({"name": "a"}), "model"),
        (with("name", json!("")), "name"),
        (with("name", json!("x".repeat(257))), "name"),
        (with("name", json!(7)), "name"),
        (with("model", json!(7)), "model"),
        (with("model", json!({})), "model"),
        (with("model", json!({"id": "m", "effort": "lots"})), "model.effort"),
        (with("model", json!({"id": "m", "speed": "warp"})), "model.speed"),
        (with("system", json!("x".repeat(100_001))), "system"),
        (with("description", json!("x".repeat(2049))), "description"),
        (with("nmae", json!("typo")), "nmae"),
        (
            with("skills", json!([{"type": "anthropic", "skill_id": "x"}])),
            "skills",
        ),
        (
            with("multiagent", json!({"type": "coordinator", "agents": []})),
            "multiagent",
        ),
        (
            with("execution_identity", json!({"type": "aws_role", "role_arn": "x"})),
            "execution_identity",
        ),
        (with("harness", json!("codex-2")), "harness"),
        (with("harness", json!("acp:")), "harness"),
        (with("metadata", json!({"k": 7})), "metadata.k"),
        (with("metadata", json!({"k": "v".repeat(513)})), "metadata.k"),
        (with("tools", json!("bash")), "tools"),
        (with("tools", json!(["bash"])), "tools[0]"),
        (tool(json!({})), "tools[0].type"),
        (tool(json!({"type": "toolbox"})), "tools[0].type"),
        (
            tool(json!({"type": "agent_toolset_20260401", "configs": [{"name": "fly"}]})),
            "tools[0].configs[0].name",
        ),
        (
            tool(json!({"type": "agent_toolset_20260401", "configs": [{"name": "web_search", "enabled": true}]})),
            "tools[0].configs[0].name",
        ),
        (
            tool(json!({"type": "agent_toolset_20260401", "configs": [{"name": "bash", "type": "read"}]})),
            "tools[0].configs[0].type",
        ),
        (
            tool(json!({"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "maybe"}}})),
            "tools[0].default_config",
        ),
        (
            tool(json!({"type": "mcp_toolset", "mcp_server_name": "nowhere"})),
            "tools[0].mcp_server_name",
        ),
        (
            tool(json!({"type": "custom", "name": "a b", "description": "", "input_schema": {"type": "object"}})),
            "tools[0].name",
        ),
        (
            tool(json!({"type": "custom", "name": "a", "description": "", "input_schema": {"type": "string"}})),
            "tools[0].input_schema",
        ),
        (
            with("mcp_servers", json!([{"type": "url", "name": "a", "url": "ftp://x"}])),
            "mcp_servers[0].url",
        ),
        (
            with("mcp_servers", json!([{"type": "sse", "name": "a", "url": "http://x"}])),
            "mcp_servers[0].type",
        ),
        (
            with("mcp_servers", json!([{"type": "stdio", "name": "a", "command": ""}])),
            "mcp_servers[0].command",
        ),
        (
            with(
                "tools",
                json!([{"type": "agent_toolset_20260401"}, {"type": "custom", "name": "bash", "description": "", "input_schema": {"type": "object"}}]),
            ),
            "tools",
        ),
        (
            with(
                "tools",
                json!([{"type": "agent_toolset_20260401"}, {"type": "agent_toolset_20260401"}]),
            ),
            "tools[1]",
        ),
    ] {
        let message = rig
            .post("/v1/agents", &body)
            .await
            .refused(400, "invalid_request_error");
        assert!(message.contains(field), "{message} should name {field}");
    }
}
