//! The protocol's own suite, of npm, by both revisions: what this server does not offer is listed beside this file, and a listed
//! scenario that passes fails the run as much as another one that does not.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use perennial_tests::not_run;
use perennial_tests::server::Up;
use tokio::process::Command;

use crate::clients::{NO_NPM, npm};

const PATIENCE: Duration = Duration::from_secs(300);
const BODY: usize = 1024 * 1024;

/// A door that knows the key: the suite has none.
#[derive(Clone)]
struct Door {
    http: reqwest::Client,
    to: String,
    key: HeaderValue,
}

async fn pass(State(door): State<Door>, request: Request) -> Result<Response, StatusCode> {
    let gone = |_| StatusCode::BAD_GATEWAY;
    let (mut head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY)
        .await
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    head.headers.insert("x-api-key", door.key);
    let asked = door
        .http
        .request(head.method, format!("{}{}", door.to, head.uri.path()));
    let answer = asked.headers(head.headers).body(body).send().await.map_err(gone)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    Ok(response)
}

async fn suite(revision: &str) -> Result<()> {
    let Some((node, conformance)) = npm("conformance") else {
        return not_run(NO_NPM);
    };
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let server = Up::on(&data).env("PERENNIAL_TEST_MCP_FIXTURES", "1").start().await?;
    let key = std::fs::read_to_string(data.join("key"))?;
    let door = Door {
        http: reqwest::Client::builder().no_proxy().build()?,
        to: server.url.clone(),
        key: HeaderValue::from_str(key.trim())?,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let app = Router::new().fallback(pass).with_state(door);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let baseline = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("mcp/conformance-{revision}.yml"));
    let run = Command::new(node)
        .args([
            conformance.as_str(),
            "server",
            "--url",
            &url,
            "--spec-version",
            revision,
            "--expected-failures",
        ])
        .arg(baseline)
        .current_dir(dir.path())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run)
        .await
        .context("the suite did not end in time")??;
    serving.abort();
    let said = String::from_utf8_lossy(&output.stdout);
    let more = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{revision}: {}\n{said}\n{more}", output.status);
    Ok(())
}

#[tokio::test]
async fn by_the_revision_without_a_handshake() -> Result<()> {
    suite("2026-07-28").await
}

#[tokio::test]
async fn by_the_revision_with_a_handshake() -> Result<()> {
    suite("2025-11-25").await
}
