//! One request to the service, over a stream of its own; and what it becomes when both go on with another protocol.

use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri, Version};
use axum::response::Response;
use hyper::client::conn::http1;
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::TokioIo;
use perennial_schema::WorkspaceId;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::time::timeout;

use super::address::Site;
use super::{Refusal, headers};
use crate::api::App;
use crate::endpoints::executors::{tunnels, unopened};
use crate::limits::{FORWARD_PIECE_BYTES, PREVIEW_WAIT};
use crate::server::Shutdown;

/// Asks the service. Bodies go through as they come, both ways; whoever goes away ends it for the other.
pub(super) async fn carry(
    app: &App,
    site: Site,
    workspace: WorkspaceId,
    mut request: Request,
) -> Result<Response, Refusal> {
    let stream = tunnels(app)?.forward(workspace, site.executor, site.port).await;
    let stream = stream.map_err(|why| Refusal::from(unopened(why)))?;
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (mut service, connection) = handshake.map_err(|error| unanswered(&error))?;
    app.tracker.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a service behind a preview went away");
        }
    });
    let shutdown = request.extensions().get::<Shutdown>().cloned();
    let browser = headers::upgrade(request.headers()).map(|_| upgrade::on(&mut request));
    let asked = timeout(PREVIEW_WAIT, service.send_request(towards_service(request, site.port))).await;
    let mut answer = asked
        .map_err(|_| Refusal::new(StatusCode::GATEWAY_TIMEOUT, "the service does not answer"))?
        .map_err(|error| unanswered(&error))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let browser = browser.ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_GATEWAY,
                "the service changes to a protocol nobody asked for",
            )
        })?;
        let there = upgrade::on(&mut answer);
        app.tracker.spawn(async move {
            let going_on = go_on(browser, there);
            match shutdown {
                Some(Shutdown(ending)) => ending.run_until_cancelled(going_on).await.unwrap_or_default(),
                None => going_on.await,
            }
        });
    }
    headers::towards_browser(answer.headers_mut(), site.port);
    Ok(answer.map(Body::new))
}

fn towards_service(request: Request, port: u16) -> Request {
    let (mut parts, body) = request.into_parts();
    headers::towards_service(&mut parts.headers, port);
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
    // What our own layers know of a request is no business of the client connection's.
    parts.extensions.clear();
    Request::from_parts(parts, body)
}

async fn go_on(browser: OnUpgrade, service: OnUpgrade) {
    if let Ok((browser, service)) = tokio::try_join!(browser, service) {
        let (mut browser, mut service) = (TokioIo::new(browser), TokioIo::new(service));
        let piece = FORWARD_PIECE_BYTES;
        // However it ends, letting go of both tells both.
        let _ = copy_bidirectional_with_sizes(&mut browser, &mut service, piece, piece).await;
    }
}

fn unanswered(error: &hyper::Error) -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        format!("the service gave no answer in HTTP: {error}"),
    )
}
