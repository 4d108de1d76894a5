//! What a preview costs: downloads from a service on a port of a machine, directly and through its preview. From one that only sends,
//! whose two ends fill two processors by themselves, and from Node reading a file, as what is previewed mostly is.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use perennial_tests::client::Client;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::redirect::Policy;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::aside::Aside;
use crate::report::{Goal, Report};

const SCENARIO: &str = "tunnel";
/// Bytes that the service writes at once.
const PIECE: usize = 64 * 1024;
/// Downloads each way in a round; they take turns.
const TURNS: usize = 4;
/// Before those that are measured.
const FIRST: usize = 1 << 20;

/// The service: `/{bytes}` is a download of so many. Serves until killed; its address is the first line of output.
pub(crate) async fn serve() -> Result<()> {
    let download = async |Path(bytes): Path<usize>| {
        let piece = Bytes::from(vec![7; PIECE]);
        Body::from_stream(stream::iter(0..bytes / PIECE).map(move |_| Ok::<_, Infallible>(piece.clone())))
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, Router::new().route("/{bytes}", get(download))).await?)
}

/// A server of files on Node.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/load/files.mjs");

/// Whose ports are previewed, and where.
pub(crate) struct Machine<'m> {
    pub(crate) client: &'m Client,
    pub(crate) server: &'m str,
    pub(crate) executor: &'m str,
}

/// One round: so many bytes a download.
pub(crate) async fn round(report: &mut Report, machine: &Machine<'_>, bytes: usize) -> Result<()> {
    let service = Aside::start("--serve-download").await?;
    downloads(report, machine, "a service that only sends", service, bytes).await?;
    let mut file = tempfile::NamedTempFile::new()?;
    for _ in 0..bytes / PIECE {
        file.write_all(&[7; PIECE])?;
    }
    let service = Aside::run(Command::new("node").arg(FILES).arg(file.path())).await?;
    downloads(report, machine, "Node reading a file", service, bytes).await
}

async fn downloads(report: &mut Report, machine: &Machine<'_>, what: &str, service: Aside, bytes: usize) -> Result<()> {
    let (_, port) = service.url.rsplit_once(':').context("a port")?;
    let path = format!("/v1/executors/{}/previews", machine.executor);
    let made = machine
        .client
        .post(&path, &json!({"port": port.parse::<u16>()?}))
        .await?
        .ok()?;
    let origin = made["origin"].as_str().context("an origin")?;
    let name = origin.strip_prefix("http://").and_then(|named| named.split(':').next());
    let server: SocketAddr = machine.server.strip_prefix("http://").context("http")?.parse()?;
    let browser = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .resolve(name.context("a name")?, server)
        .build()?;
    let opened = browser.get(made["url"].as_str().context("an address")?).send().await?;
    let cookie = opened.headers().get(SET_COOKIE).context("a cookie")?.to_str()?;
    let cookie = cookie.split(';').next().context("a value")?;
    let directly = |bytes| fetched(browser.get(format!("{}/{bytes}", service.url)), bytes);
    let preview = |bytes| fetched(browser.get(format!("{origin}/{bytes}")).header(COOKIE, cookie), bytes);
    directly(FIRST).await?;
    preview(FIRST).await?;
    let (mut plain, mut ours) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        plain += directly(bytes).await?;
        ours += preview(bytes).await?;
    }
    service.stop().await?;
    let rate = |took: Duration| (TURNS * bytes) as f64 / f64::from(1 << 20) / took.as_secs_f64();
    let (direct, shown) = (format!("{what}, directly"), format!("{what}, preview"));
    report.add(SCENARIO, &direct, "MiB/s", rate(plain));
    report.add(SCENARIO, &shown, "MiB/s", rate(ours));
    report.ratio(SCENARIO, &shown, &direct, "MiB/s", Some(Goal::AtLeast(0.5)));
    Ok(())
}

async fn fetched(request: reqwest::RequestBuilder, bytes: usize) -> Result<Duration> {
    // On a task: the thread that waits for the whole bench would have to be woken for each piece.
    let fetching = tokio::spawn(async move {
        let begun = Instant::now();
        let answer = request.send().await?.error_for_status()?;
        let mut body = answer.bytes_stream();
        let mut came = 0;
        while let Some(piece) = body.next().await {
            came += piece?.len();
        }
        ensure!(came == bytes / PIECE * PIECE, "{came} of {bytes} bytes came");
        Ok(begun.elapsed())
    });
    fetching.await?
}
