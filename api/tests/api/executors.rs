//! Machines: codes, registration without a key, the registry's routes, and who may open a tunnel.

use axum::body::Body;
use perennial_api::Config;
use perennial_engine::ports::Executors as _;
use perennial_schema::{ExecutorCode, ExecutorPass};
use serde_json::{Value, json};

use crate::rig::{Rig, id};

fn secret(digit: &str) -> String {
    digit.repeat(64)
}

async fn code(rig: &Rig) -> String {
    let made = rig.post("/v1/executors/codes", &json!({})).await.ok();
    made["secret"].as_str().unwrap().to_owned()
}

async fn register(rig: &Rig, code: &str, digit: &str) -> crate::rig::Answer {
    let body = json!({"code": code, "name": "laptop", "secret": secret(digit)});
    rig.without_key("POST", "/v1/executors/register", &body).await
}

#[tokio::test]
async fn a_machine_registers_renames_and_goes() {
    let rig = Rig::new().await;
    let registered = register(&rig, &code(&rig).await, "a").await.ok();
    let executor = id(&registered);
    let token = registered["token"].as_str().unwrap();
    assert!(
        token.starts_with("xt_") && token.ends_with(&secret("a")),
        "{registered}"
    );
    assert_eq!(registered["workspace_id"], rig.workspace.to_string());
    let path = format!("/v1/executors/{executor}");
    let shown = rig.get(&path).await.ok();
    assert_eq!(
        (&shown["name"], &shown["kind"], &shown["status"], &shown["card"]),
        (&json!("laptop"), &json!("device"), &json!("offline"), &Value::Null)
    );
    assert!(shown.get("token").is_none() && !shown.to_string().contains(&secret("a")));
    assert_eq!(rig.get("/v1/executors").await.ok()["data"], json!([shown]));
    let renamed = rig.send_json("PATCH", &path, &json!({"name": "desk"})).await.ok();
    assert_eq!(renamed["name"], "desk");
    let call = json!({"tool": "bash", "input": {"command": "true"}});
    let offline = rig.post(&format!("{path}/calls"), &call).await;
    offline.refused(409, "invalid_request_error");
    assert_eq!(offline.json["error"]["details"]["error_code"], "executor_offline");
    assert_eq!(rig.delete(&path).await.ok()["type"], "executor_deleted");
    rig.get(&path).await.refused(404, "not_found_error");
    rig.delete(&path).await.refused(404, "not_found_error");
}

/// An answer that was lost is asked for again; nobody else gets in with the same code.
#[tokio::test]
async fn a_code_is_one_machines() {
    let rig = Rig::new().await;
    let code = code(&rig).await;
    let first = register(&rig, &code, "a").await.ok();
    assert_eq!(register(&rig, &code, "a").await.ok(), first);
    register(&rig, &code, "b").await.refused(401, "authentication_error");
    let unknown = ExecutorCode::new([7; 16]);
    register(&rig, unknown.expose(), "a")
        .await
        .refused(401, "authentication_error");
    for (body, field) in [
        (json!({"code": "guess", "name": "a", "secret": secret("a")}), "code"),
        (json!({"code": code, "name": "", "secret": secret("a")}), "name"),
        (json!({"code": code, "name": "a", "secret": "short"}), "secret"),
        (json!({"code": code, "name": "a", "secret": secret("A")}), "secret"),
        (json!({"code": code, "name": "a", "secret": secret("é")}), "secret"),
    ] {
        let refused = rig.without_key("POST", "/v1/executors/register", &body).await;
        assert!(
            refused.refused(400, "invalid_request_error").contains(field),
            "{}",
            refused.json
        );
    }
}

#[tokio::test]
async fn guessing_codes_is_slow() {
    let rig = Rig::new().await;
    let mut refused = None;
    for n in 0..100 {
        let answer = register(&rig, ExecutorCode::new([n; 16]).expose(), "a").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.refused(401, "authentication_error");
    }
    let refused = refused.expect("a bound");
    refused.refused(429, "rate_limit_error");
    assert_eq!(refused.header("retry-after"), Some("1"));
}

/// A tunnel is opened by an executor's own token, and by nothing else.
#[tokio::test]
async fn a_tunnel_asks_for_its_token() {
    let rig = Rig::new().await;
    let registered = register(&rig, &code(&rig).await, "a").await.ok();
    let token = registered["token"].as_str().unwrap();
    let forged = token.replace(&secret("a"), &secret("b"));
    for refused in ["", "xt_", forged.as_str(), rig.key.as_str()] {
        let answer = rig.with_bearer("GET", "/v1/executors/tunnel", refused).await;
        answer.refused(401, "authentication_error");
    }
    // The token opens nothing else.
    rig.with_bearer("GET", "/v1/executors", token)
        .await
        .refused(401, "authentication_error");
    // A good token, and no WebSocket.
    let plain = rig.with_bearer("GET", "/v1/executors/tunnel", token).await;
    assert!(plain.refused(400, "invalid_request_error").contains("WebSocket"));
    rig.delete(&format!("/v1/executors/{}", id(&registered))).await.ok();
    let gone = rig.with_bearer("GET", "/v1/executors/tunnel", token).await;
    gone.refused(401, "authentication_error");
}

/// A line to a machine is opened by a pass that the registry made, once, and by nothing else.
#[tokio::test]
async fn a_line_asks_for_a_pass() {
    let rig = Rig::new().await;
    let registered = register(&rig, &code(&rig).await, "a").await.ok();
    let path = format!("/v1/executors/{}/line?generation=1", id(&registered));
    let token = registered["token"].as_str().unwrap();
    let forged = ExecutorPass::new([1; 32]);
    for refused in ["", "xp_", forged.expose(), token, rig.key.as_str()] {
        rig.with_bearer("GET", &path, refused)
            .await
            .refused(401, "authentication_error");
    }
    let other = register(&rig, &code(&rig).await, "b").await.ok();
    let pass = rig.executors.mint_pass(id(&other).parse().unwrap()).await.unwrap();
    rig.with_bearer("GET", &path, pass.expose())
        .await
        .refused(401, "authentication_error");
    // A good pass, and no such tunnel here: it is used up.
    let pass = rig.executors.mint_pass(id(&registered).parse().unwrap()).await.unwrap();
    let elsewhere = rig.with_bearer("GET", &path, pass.expose()).await;
    elsewhere.refused(409, "invalid_request_error");
    assert_eq!(elsewhere.json["error"]["details"]["error_code"], "executor_elsewhere");
    rig.with_bearer("GET", &path, pass.expose())
        .await
        .refused(401, "authentication_error");
}

#[tokio::test]
async fn environments_name_machines_of_their_workspace() {
    let rig = Rig::new().await;
    let executor = id(&register(&rig, &code(&rig).await, "a").await.ok());
    let config = json!({"type": "local", "executor_id": executor, "dir": "/work"});
    let made = rig
        .post("/v1/environments", &json!({"name": "laptop", "config": config}))
        .await
        .ok();
    assert_eq!(made["config"], config);
    let foreign = json!({"type": "local", "executor_id": "exec_00000000000000000000000000000001"});
    let refused = rig
        .post("/v1/environments", &json!({"name": "other", "config": foreign}))
        .await;
    assert!(
        refused
            .refused(400, "invalid_request_error")
            .contains("config.executor_id")
    );
}

/// A machine is its workspace's alone, and what opens a WebSocket to it must be one.
#[tokio::test]
async fn nobody_else_reaches_its_files_ports_and_terminals() {
    let rig = Rig::new().await;
    let executor = id(&register(&rig, &code(&rig).await, "a").await.ok());
    let stranger = Rig::with(rig.bus.clone(), Config::default(), |mut ports| {
        ports.executors = rig.executors.clone();
        ports
    })
    .await;
    let path = format!("/v1/executors/{executor}");
    let ticket = json!({"terminal": "main"});
    let put = |rig: &Rig| {
        let request = rig.request("PUT", &format!("{path}/files?path=a"));
        request.header("content-length", "1").body(Body::from("x")).unwrap()
    };
    for answer in [
        stranger.get(&format!("{path}/files?path=a")).await,
        stranger.send(put(&stranger)).await,
        stranger.get(&format!("{path}/forwards/80")).await,
        stranger.get(&format!("{path}/terminals/main")).await,
        stranger.post(&format!("{path}/tickets"), &ticket).await,
        stranger.post(&format!("{path}/previews"), &json!({"port": 80})).await,
    ] {
        answer.refused(404, "not_found_error");
    }
    for socket in ["forwards/80", "terminals/main"] {
        let plain = rig.get(&format!("{path}/{socket}")).await;
        assert!(plain.refused(400, "invalid_request_error").contains("WebSocket"));
        rig.without_key("GET", &format!("{path}/{socket}"), &json!({}))
            .await
            .refused(401, "authentication_error");
    }
    for (bad, field) in [("files", "path"), ("forwards/0", "port"), ("terminals/a.b", "name")] {
        let refused = rig.get(&format!("{path}/{bad}")).await;
        assert!(refused.refused(400, "invalid_request_error").contains(field), "{bad}");
    }
    let offline = rig.send(put(&rig)).await;
    offline.refused(409, "invalid_request_error");
    assert_eq!(offline.json["error"]["details"]["error_code"], "executor_offline");
    let endless = rig
        .request("PUT", &format!("{path}/files?path=a"))
        .body(Body::from("x"))
        .unwrap();
    assert!(
        rig.send(endless)
            .await
            .refused(400, "invalid_request_error")
            .contains("content-length")
    );
    // Whoever has a ticket needs no key, and has it once.
    let made = rig.post(&format!("{path}/tickets"), &ticket).await.ok();
    let with = format!("{path}/terminals/main?ticket={}", made["ticket"].as_str().unwrap());
    let opened = rig.without_key("GET", &with, &json!({})).await;
    assert!(opened.refused(400, "invalid_request_error").contains("WebSocket"));
    rig.without_key("GET", &with, &json!({}))
        .await
        .refused(401, "authentication_error");
    rig.post(&format!("{path}/tickets"), &json!({"terminal": "a/b"}))
        .await
        .refused(400, "invalid_request_error");
}

/// S16: the token of an executor opens its tunnel, and of everything else there is nothing.
#[tokio::test]
async fn an_executors_token_opens_no_other_route() {
    let rig = Rig::new().await;
    let registered = register(&rig, &code(&rig).await, "a").await.ok();
    let token = registered["token"].as_str().unwrap();
    let document = rig.get("/openapi.json").await.ok();
    let own = [
        "/v1/executors/tunnel",
        "/v1/executors/register",
        "/healthz",
        "/readyz",
        "/openapi.json",
    ];
    let mut asked = 0;
    for (path, verbs) in document["paths"].as_object().unwrap() {
        // The gateway is another house's, with keys of its own: `gateway` asks it.
        if own.contains(&path.as_str()) || path.starts_with("/llm/") {
            continue;
        }
        let mut named = path.replace("{executor_id}", &id(&registered));
        while let (Some(begin), Some(end)) = (named.find('{'), named.find('}')) {
            named.replace_range(begin..=end, "x");
        }
        for verb in verbs.as_object().unwrap().keys() {
            let answer = rig.with_bearer(&verb.to_uppercase(), &named, token).await;
            assert_eq!(answer.status, 401, "{verb} {named}: {}", answer.json);
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");
    // Nor does one executor's token open another's line, or its place.
    let other = register(&rig, &code(&rig).await, "b").await.ok();
    let line = format!("/v1/executors/{}/line", id(&other));
    rig.with_bearer("GET", &line, token)
        .await
        .refused(401, "authentication_error");
}
