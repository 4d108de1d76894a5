//! The console's doors: logins by link and by key, where requests may come from, and what its files say of themselves.

use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use perennial_api::accounts::Secret;
use perennial_api::limits::{LOGIN_EVERY, LOGINS};
use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

const ORIGIN: (&str, &str) = ("origin", "http://127.0.0.1:7340");

/// A request as a page of the console makes it, with these headers instead of or beside the usual ones.
fn page(method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:7340")
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request.body(Body::from(text)).unwrap()
}

/// `name=value` of the cookie an answer sets.
fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie").expect("a cookie");
    set.split(';').next().unwrap().to_owned()
}

async fn login(rig: &Rig) -> String {
    let begun = page("POST", "/console/login", &[ORIGIN], &json!({"key": rig.key}));
    let answer = rig.send(begun).await;
    assert_eq!(answer.status, 204, "{}", answer.json);
    cookie(&answer)
}

#[tokio::test]
async fn a_key_logs_in_and_the_cookie_is_good_for_the_console_only() {
    let rig = Rig::new().await;
    let answer = rig
        .send(page("POST", "/console/login", &[ORIGIN], &json!({"key": rig.key})))
        .await;
    let set = answer.header("set-cookie").unwrap();
    for part in [
        "__Host-perennial-7340=",
        "Path=/",
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
    ] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = cookie(&answer);
    let carried = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    let shown = rig
        .send(page("GET", "/console/login", &carried, &Value::Null))
        .await
        .ok();
    assert_eq!(shown["workspace_id"], rig.workspace.to_string());
    rig.send(page("GET", "/console/v1/sessions", &carried, &Value::Null))
        .await
        .ok();
    // The API for programs knows no cookies, and the cookie's value is no key.
    rig.send(page("GET", "/v1/sessions", &carried, &Value::Null))
        .await
        .refused(401, "authentication_error");
    let value = cookie.split_once('=').unwrap().1;
    rig.send(page("GET", "/v1/sessions", &[("x-api-key", value)], &Value::Null))
        .await
        .refused(401, "authentication_error");
    // Nor does the console take keys in headers: what pages may do, they do as whoever is logged in.
    rig.send(page(
        "GET",
        "/console/v1/sessions",
        &[("x-api-key", &rig.key)],
        &Value::Null,
    ))
    .await
    .refused(401, "authentication_error");
}

#[tokio::test]
async fn a_link_logs_in_once() {
    let rig = Rig::new().await;
    let link = rig.api.console_link(rig.workspace).unwrap();
    let code = link.strip_prefix("/login#").expect("the code is behind the #");
    let open = || page("POST", "/console/login", &[ORIGIN], &json!({"code": code}));
    let first = rig.send(open()).await;
    assert_eq!(first.status, 204);
    let carried = cookie(&first);
    rig.send(page("GET", "/console/login", &[("cookie", &carried)], &Value::Null))
        .await
        .ok();
    rig.send(open()).await.refused(401, "authentication_error");
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_never_echoed() {
    let rig = Rig::new().await;
    let (key, forged_login) = (Secret::generate().unwrap(), Secret::login().unwrap());
    for body in [
        json!({"key": key.expose()}),
        json!({"key": "sk-ant-1"}),
        json!({"code": "nothing"}),
        json!({"code": ""}),
    ] {
        let answer = rig.send(page("POST", "/console/login", &[ORIGIN], &body)).await;
        answer.refused(401, "authentication_error");
        assert!(answer.header("set-cookie").is_none());
        assert!(!answer.json.to_string().contains(key.expose()));
    }
    for body in [
        json!({}),
        json!({"key": rig.key, "code": "x"}),
        json!({"password": "x"}),
    ] {
        let answer = rig.send(page("POST", "/console/login", &[ORIGIN], &body)).await;
        answer.refused(400, "invalid_request_error");
    }
    let good = login(&rig).await;
    let spoiled = format!("{}AAA", &good[..good.len() - 3]);
    let unknown = format!("__Host-perennial-7340={}", forged_login.expose());
    // The name belongs to this port: another server's cookie is not ours.
    let other_port = good.replacen("-7340", "-7341", 1);
    for cookie in [
        spoiled,
        unknown,
        other_port,
        "__Host-perennial-7340=".into(),
        "é".into(),
    ] {
        let answer = rig
            .send(page("GET", "/console/v1/agents", &[("cookie", &cookie)], &Value::Null))
            .await;
        answer.refused(401, "authentication_error");
    }
}

#[tokio::test]
async fn logging_out_ends_the_login_itself() {
    let rig = Rig::new().await;
    let (mine, other) = (login(&rig).await, login(&rig).await);
    let out = rig
        .send(page(
            "DELETE",
            "/console/login",
            &[("cookie", &mine), ORIGIN],
            &Value::Null,
        ))
        .await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    // Also for whoever kept the cookie.
    rig.send(page("GET", "/console/login", &[("cookie", &mine)], &Value::Null))
        .await
        .refused(401, "authentication_error");
    rig.send(page("GET", "/console/login", &[("cookie", &other)], &Value::Null))
        .await
        .ok();
}

/// S6: a form, a fetch from elsewhere, JSON as text, no origin at all.
#[tokio::test]
async fn other_pages_cannot_act_in_the_name_of_who_is_logged_in() {
    let rig = Rig::new().await;
    let cookie = login(&rig).await;
    let agent = json!({"name": "planted", "model": "rehearsal-1"});
    let same_site = [ORIGIN, ("sec-fetch-site", "same-site")];
    let form = [ORIGIN, ("sec-fetch-site", "cross-site"), ("content-type", "text/plain")];
    let foreign: [&[(&str, &str)]; 7] = [
        &[],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("origin", "http://127.0.0.1:9999")],
        &[("content-type", "text/plain")],
        &same_site,
        &form,
    ];
    for headers in foreign {
        for (method, path) in [
            ("POST", "/console/v1/agents"),
            ("POST", "/console/login"),
            ("DELETE", "/console/login"),
            ("PATCH", "/console/v1/executors/exec_1"),
        ] {
            let mut headers = headers.to_vec();
            headers.push(("cookie", &cookie));
            let answer = rig.send(page(method, path, &headers, &agent)).await;
            answer.refused(403, "permission_error");
        }
    }
    let own = [("cookie", cookie.as_str()), ORIGIN, ("sec-fetch-site", "same-origin")];
    let listed = rig
        .send(page("GET", "/console/v1/agents", &own, &Value::Null))
        .await
        .ok();
    assert_eq!(listed["data"], json!([]), "nothing was made");
    let made = rig.send(page("POST", "/console/v1/agents", &own, &agent)).await.ok();
    assert_eq!(made["name"], "planted");
}

/// S7: a name rebound to a loopback address gets neither the console nor its API.
#[tokio::test]
async fn foreign_host_names_are_refused() {
    let rig = Rig::new().await;
    let cookie = login(&rig).await;
    for path in ["/", "/login", "/console/login", "/console/v1/agents"] {
        let request = Request::builder()
            .uri(path)
            .header("host", "evil.example:7340")
            .header("accept", "text/html")
            .header("cookie", &cookie);
        let answer = rig.send(request.body(Body::empty()).unwrap()).await;
        answer.refused(403, "permission_error");
    }
}

/// S24: what pages may load is said with each of them, and data behind the cookie is inert when opened as a page.
#[tokio::test]
async fn pages_and_data_say_what_they_may_do() {
    let rig = Rig::new().await;
    for path in ["/", "/login", "/sessions/sesn_1", "/anything"] {
        let answer = rig
            .send(page("GET", path, &[("accept", "text/html")], &Value::Null))
            .await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with("text/html"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
    }
    let cookie = login(&rig).await;
    let data = rig
        .send(page("GET", "/console/v1/agents", &[("cookie", &cookie)], &Value::Null))
        .await;
    assert!(data.header("content-security-policy").unwrap().contains("sandbox"));
    // Programs that ask for what is not there are told so, in the API's words.
    for (path, accept) in [
        ("/anything", "application/json"),
        ("/v1/nothing", "text/html"),
        ("/console/x", "text/html"),
    ] {
        rig.send(page("GET", path, &[("accept", accept)], &Value::Null))
            .await
            .refused(404, "not_found_error");
    }
    rig.send(page("GET", "/assets/../Cargo.toml", &[], &Value::Null))
        .await
        .refused(404, "not_found_error");
    rig.send(page("POST", "/", &[("accept", "text/html"), ORIGIN], &json!({})))
        .await
        .refused(404, "not_found_error");
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let rig = Rig::new().await;
    let (begun, mut tried) = (Instant::now(), 0);
    let refused = loop {
        let guess = page("POST", "/console/login", &[ORIGIN], &json!({"code": "guess"}));
        let answer = rig.send(guess).await;
        if answer.status == 429 {
            break answer;
        }
        answer.refused(401, "authentication_error");
        tried += 1;
        // As many at once, and one more for each pause since: however slow this machine is.
        let more = begun.elapsed().as_nanos() / LOGIN_EVERY.as_nanos();
        assert!(u128::from(tried) <= u128::from(LOGINS) + more + 1, "{tried} tries");
    };
    refused.refused(429, "rate_limit_error");
    assert!(refused.header("retry-after").is_some());
    assert!(tried >= LOGINS, "only {tried} tries");
}

#[tokio::test]
async fn settings_are_for_who_is_logged_in() {
    let rig = Rig::new().await;
    let ask = async |cookie: &str| {
        rig.send(page(
            "GET",
            "/console/settings",
            &[("cookie", cookie), ORIGIN],
            &Value::Null,
        ))
        .await
    };
    assert_eq!(ask("other=1").await.status, 401);
    let settings = ask(&login(&rig).await).await.ok();
    assert!(settings["key_id"].as_str().unwrap().starts_with("key_"), "{settings}");
    assert_eq!(
        (&settings["providers"], &settings["prices"]),
        (&Value::Null, &json!([]))
    );
}
