//! Codex's only line to the outside: a loopback port of ours that it takes for its provider.
//!
//! Each thread has a path of its own there. A request waits until the thread's `think` answers it; one that nobody takes is
//! refused. So no request goes out that the log does not know of, and the process needs no key.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::limits;

/// The end of a thread's path.
const ENDPOINT: &str = "/responses";

/// A listening port; dropping it stops it.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    lanes: Arc<Lanes>,
    _stop: DropGuard,
}

type Requests = mpsc::Sender<Request>;

#[derive(Debug, Default)]
struct Lanes(Mutex<HashMap<Uuid, Requests>>);

impl Lanes {
    fn map(&self) -> MutexGuard<'_, HashMap<Uuid, Requests>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's way; closed when it is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    /// What Codex is told its provider's base URL is.
    pub(super) base_url: String,
    secret: Uuid,
    lanes: Arc<Lanes>,
    requests: mpsc::Receiver<Request>,
}

/// A request of Codex to its model. Dropped without an answer, it is refused.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    answer: oneshot::Sender<String>,
}

impl Request {
    /// Answers with a stream of events, whole.
    pub(super) fn answer(self, events: String) -> bool {
        self.answer.send(events).is_ok()
    }
}

impl Lane {
    /// The next request; none when the line is gone.
    pub(super) async fn next(&mut self) -> Option<Request> {
        self.requests.recv().await
    }

    /// Whether a request is there.
    pub(super) fn has_request(&self) -> bool {
        !self.requests.is_empty()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.map().remove(&self.secret);
    }
}

impl Line {
    /// Listens on a free loopback port.
    pub(super) async fn listen() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let lanes = Arc::<Lanes>::default();
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, lanes.clone(), stop.clone()));
        Ok(Self {
            address,
            lanes,
            _stop: stop.drop_guard(),
        })
    }

    /// A way for one thread. Its path is as good as a key: 122 random bits.
    pub(super) fn open(&self) -> Lane {
        let secret = Uuid::new_v4();
        let (sender, requests) = mpsc::channel(limits::CODEX_REQUESTS);
        self.lanes.map().insert(secret, sender);
        Lane {
            base_url: format!("http://{}/{secret}", self.address),
            secret,
            lanes: self.lanes.clone(),
            requests,
        }
    }
}

async fn accept(listener: TcpListener, lanes: Arc<Lanes>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(limits::CODEX_CONNECTIONS));
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (lanes, stop) = (lanes.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve(stream, lanes) => {}
                    }
                    drop(seat);
                });
            }
            Err(error) => tracing::warn!(%error, "codex could not be heard"),
        }
    }
}

async fn serve(stream: TcpStream, lanes: Arc<Lanes>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let lanes = lanes.clone();
        async move { Ok::<_, Infallible>(respond(request, &lanes).await) }
    });
    // A connection that breaks is the client's affair: its request is dropped with it.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(request: hyper::Request<Incoming>, lanes: &Lanes) -> Response<Full<Bytes>> {
    let Some(requests) = lane(&request, lanes) else {
        return refused(StatusCode::NOT_FOUND);
    };
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, limits::CODEX_REQUEST_BYTES).collect().await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let (answer, answered) = oneshot::channel();
    let request = Request {
        headers: head.headers,
        body: body.to_bytes(),
        answer,
    };
    if requests.try_send(request).is_err() {
        return refused(StatusCode::FORBIDDEN);
    }
    drop(requests);
    match answered.await {
        Ok(events) => {
            let mut response = Response::new(Full::new(events.into()));
            let stream = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, stream);
            response
        }
        Err(_) => refused(StatusCode::FORBIDDEN),
    }
}

fn lane(request: &hyper::Request<Incoming>, lanes: &Lanes) -> Option<Requests> {
    let path = request.uri().path();
    let secret = path.strip_prefix('/')?.strip_suffix(ENDPOINT)?.parse().ok()?;
    let posted = request.method() == Method::POST;
    lanes.map().get(&secret).filter(|_| posted).cloned()
}

/// Nothing is to be retried: whoever asks again is a harness that acts on its own.
fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post(url: &str) -> (u16, String) {
        let response = reqwest::Client::new().post(url).body("{}").send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    #[tokio::test]
    async fn a_request_is_answered_by_whoever_waits_for_it_and_by_nobody_else() {
        let line = Line::listen().await.unwrap();
        let mut lane = line.open();
        let url = format!("{}{ENDPOINT}", lane.base_url);
        let asked = tokio::spawn({
            let url = url.clone();
            async move { post(&url).await }
        });
        let request = lane.next().await.unwrap();
        assert_eq!(request.body, "{}");
        assert!(request.answer("data: {}\n\n".into()));
        assert_eq!(asked.await.unwrap(), (200, "data: {}\n\n".to_owned()));

        assert_eq!(post(&format!("{}/models", lane.base_url)).await.0, 404);
        assert_eq!(post(&format!("{url}/compact")).await.0, 404);
        let given_up = tokio::spawn({
            let url = url.clone();
            async move { post(&url).await }
        });
        drop(lane.next().await.unwrap());
        assert_eq!(given_up.await.unwrap().0, 403);
        drop(lane);
        assert_eq!(post(&url).await.0, 404);
    }
}
