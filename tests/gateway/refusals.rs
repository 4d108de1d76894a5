//! What is not passed on.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Rig, ask};

/// Bytes as they are: no client of ours would send them.
async fn raw(rig: &Rig, head: &str) -> String {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk).await.unwrap() {
            0 => break,
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_not_on_the_list_stays_here() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    for (method, path) in [
        ("POST", "/v1/files"),
        ("GET", "/v1/files"),
        ("POST", "/openai/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/x/results"),
        ("POST", "/openai/v1/batches"),
        ("POST", "/openai/v1/uploads"),
        ("GET", "/openai/v1/responses/resp_1"),
        ("POST", "/v1/organizations/x/api_keys"),
        ("POST", "/v1//messages"),
        ("POST", "/v1/messages/"),
        ("POST", "/anthropic/v1/models/%2e%2e/files"),
        ("POST", "/local/v1/responses"),
        ("POST", "/openai/v1/messages"),
        ("POST", "/nobody/v1/messages"),
        ("POST", "//v1/messages"),
        ("POST", "/http:%2F%2Fevil.example/v1/messages"),
        ("POST", ""),
    ] {
        let url = format!("{}{path}", rig.base);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = rig
            .http
            .request(method, url)
            .bearer_auth(&key)
            .body(ask("m"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
    }
    for (method, path) in [
        ("GET", "/v1/messages"),
        ("DELETE", "/v1/models/x"),
        ("PUT", "/openai/v1/responses"),
    ] {
        let url = format!("{}{path}", rig.base);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = rig.http.request(method, url).bearer_auth(&key).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{path}");
    }
    assert!(rig.received().is_empty());
}

#[tokio::test]
async fn addresses_that_lead_elsewhere_are_refused() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let host = rig.address;
    let auth = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
    let body = ask("m");
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    for (head, statuses) in [
        (
            format!("POST http://evil.example/llm/v1/messages HTTP/1.1\r\nHost: {host}\r\n{auth}{length}"),
            &["400", "403"][..],
        ),
        (
            format!("POST http://{host}/llm/v1/messages HTTP/1.1\r\nHost: {host}\r\n{auth}{length}"),
            &["400"],
        ),
        (
            format!("POST /llm/v1/messages HTTP/1.1\r\nHost: evil.example\r\n{auth}{length}"),
            &["403"],
        ),
        (
            format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n{auth}\r\n"),
            &["400", "404", "405"],
        ),
        (
            format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n"),
            &["400", "404", "405"],
        ),
        (
            format!("POST /llm/v1/../../v1/files HTTP/1.1\r\nHost: {host}\r\n{auth}{length}"),
            &["404"],
        ),
        (
            format!("POST /llm/v1/models/../files HTTP/1.1\r\nHost: {host}\r\n{auth}{length}"),
            &["404"],
        ),
    ] {
        let answer = raw(&rig, &head).await;
        let status = answer.get(9..12).unwrap_or_default();
        assert!(statuses.contains(&status), "{head}\n{answer}");
    }
    // Nor can a body say where to go.
    for member in ["base_url", "api_base", "api_key", "Api_Base"] {
        let body = format!(r#"{{"model":"m","{member}":"http://evil.example"}}"#);
        let answer = rig
            .post("/openai/v1/chat/completions", &key, body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{member}");
    }
    assert!(rig.received().is_empty());
}

#[tokio::test]
async fn bodies_are_bounded_plain_and_json() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let url = format!("{}/v1/messages", rig.base);
    let declared = format!(
        "POST /llm/v1/messages HTTP/1.1\r\nHost: {}\r\nx-api-key: {key}\r\nContent-Length: 99999999\r\n\r\n",
        rig.address
    );
    let answer = raw(&rig, &declared).await;
    assert!(answer.contains("413"), "before any of it is read: {answer}");
    let packed = crate::counted::gzip(ask("m").as_bytes());
    let answer = rig
        .http
        .post(&url)
        .bearer_auth(&key)
        .header("content-encoding", "gzip")
        .body(packed);
    assert_eq!(answer.send().await.unwrap().status(), 400);
    for body in [
        "",
        "[]",
        "null",
        "{",
        "{\"model\":7}",
        "{}",
        "{\"model\":\"\"}",
        "{\"model\":\"a\"}x",
    ] {
        let answer = rig.post("/v1/messages", &key, body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["error"]["type"], "invalid_request_error");
    }
    let deep = format!(
        "{{\"model\":\"m\",\"messages\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let status = rig.post("/v1/messages", &key, deep).send().await.unwrap().status();
    assert!(matches!(status.as_u16(), 200 | 400), "{status}: nothing falls over");
    let unset = rig.post("/unset/v1/messages", &key, ask("m")).send().await.unwrap();
    assert_eq!(unset.status(), 403);
    assert!(unset.text().await.unwrap().contains("UNSET_API_KEY"));
}
