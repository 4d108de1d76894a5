//! What a preview costs: a download from a service on a port of a machine, directly and through its preview.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::StreamExt as _;
use perennial_tests::client::Client;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::redirect::Policy;
use serde_json::json;
use tokio::net::TcpListener;

use crate::report::{Goal, Report};

const SCENARIO: &str = "tunnel";
/// Bytes that the service writes at once.
const PIECE: usize = 64 * 1024;

/// One round: so many bytes each way of asking.
pub(crate) async fn round(report: &mut Report, client: &Client, url: &str, executor: &str, bytes: usize) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let service = listener.local_addr()?;
    let pieces = bytes / PIECE;
    let download = async move || {
        let piece = Bytes::from(vec![7; PIECE]);
        let pieces = futures_util::stream::iter(0..pieces).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
        Body::from_stream(pieces)
    };
    let serving = tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(download))).await });
    let path = format!("/v1/executors/{executor}/previews");
    let made = client.post(&path, &json!({"port": service.port()})).await?.ok()?;
    let origin = made["origin"].as_str().context("an origin")?;
    let name = origin.strip_prefix("http://").and_then(|named| named.split(':').next());
    let server: SocketAddr = url.strip_prefix("http://").context("http")?.parse()?;
    let browser = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .resolve(name.context("a name")?, server)
        .build()?;
    let opened = browser.get(made["url"].as_str().context("an address")?).send().await?;
    let cookie = opened.headers().get(SET_COOKIE).context("a cookie")?.to_str()?;
    let cookie = cookie.split(';').next().context("a value")?.to_owned();
    let direct = format!("http://{service}/");
    let plain = fetched(browser.get(direct), bytes).await?;
    let ours = fetched(browser.get(origin).header(COOKIE, cookie), bytes).await?;
    serving.abort();
    report.add(SCENARIO, "download, directly", "MiB/s", plain);
    report.add(SCENARIO, "download, preview", "MiB/s", ours);
    let goal = Some(Goal::AtLeast(0.5));
    report.ratio(SCENARIO, "download, preview", "download, directly", "MiB/s", goal);
    Ok(())
}

async fn fetched(request: reqwest::RequestBuilder, bytes: usize) -> Result<f64> {
    let begun = Instant::now();
    let answer = request.send().await?.error_for_status()?;
    let mut body = answer.bytes_stream();
    let mut came = 0;
    while let Some(piece) = body.next().await {
        came += piece?.len();
    }
    ensure!(came == bytes / PIECE * PIECE, "{came} of {bytes} bytes came");
    Ok(came as f64 / (1 << 20) as f64 / begun.elapsed().as_secs_f64())
}
