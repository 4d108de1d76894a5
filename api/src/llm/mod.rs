//! The model gateway over HTTP: `/llm/v1/…` for the provider whose API it is, `/llm/PROVIDER/v1/…` for any.
//!
//! Apart from the rest of the API: bytes go through as they are, refusals are worded in the dialect of the caller, and a client
//! that hangs up takes its request with it, so nothing here is detached.
//!
//! * [`admit`]: virtual keys, and the keys of this server.
//! * [`doc`]: what OpenAPI says.

mod admit;
pub(crate) mod doc;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use perennial_gateway::limits::BODY_BYTES;
use perennial_gateway::{Ask, Dialect, Forward as _, Gateway, Kind, Refusal};
use tokio::time::{Instant, timeout, timeout_at};

use crate::accounts::Accounts;
use crate::auth::KeyCache;
use crate::host::Hosts;
use crate::limits::Limits;

/// Where the gateway is mounted.
const ROOT: &str = "/llm";

/// What requests to models need.
pub struct Llm {
    gateway: Arc<Gateway>,
    /// Keys of this server; none where it has no accounts.
    accounts: Option<Arc<dyn Accounts>>,
    keys: KeyCache,
    hosts: Hosts,
    limits: Limits,
}

impl Llm {
    /// A gateway for these names; `accounts` lets the keys of this server in beside the virtual ones.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, accounts: Option<Arc<dyn Accounts>>, hosts: Hosts, limits: Limits) -> Self {
        Self {
            gateway,
            accounts,
            keys: KeyCache::default(),
            hosts,
            limits,
        }
    }

    /// Its routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/llm", any(pass))
            .route("/llm/{*path}", any(pass))
            .with_state(Arc::new(self))
    }

    /// The same where nothing else is served.
    pub fn alone(self) -> Router {
        self.router().fallback(nothing_else)
    }
}

async fn nothing_else() -> Response {
    refuse(
        &Refusal::no_endpoint("this is a model gateway; its root is /llm"),
        Dialect::OpenAi,
    )
}

async fn pass(State(llm): State<Arc<Llm>>, request: Request) -> Response {
    let (mut ask, body, foreign) = addressed(request, &llm.hosts);
    let dialect = ask.dialect();
    let answered = async {
        if let Some(refusal) = foreign {
            return Err(refusal);
        }
        let caller = admit::caller(&llm, &ask.headers).await?;
        ask.body = collect(body, &ask.headers, &llm.limits).await?;
        llm.gateway.forward(&caller, ask).await
    };
    match answered.await {
        Ok(answer) => answer.map(Body::from_stream),
        Err(refusal) => {
            if let Some(detail) = &refusal.detail {
                tracing::warn!(status = refusal.status(), detail, "a request to a model failed");
            }
            refuse(&refusal, dialect)
        }
    }
}

fn refuse(refusal: &Refusal, dialect: Dialect) -> Response {
    let mut response = refusal.response(dialect).map(Body::from);
    if matches!(refusal.kind, Kind::TooLarge | Kind::Unauthenticated) {
        // The rest of the body will not be read.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// A request by its parts. Nothing of its path is decoded: what is not written plainly is on no list.
fn addressed(request: Request, hosts: &Hosts) -> (Ask, Body, Option<Refusal>) {
    let (parts, body) = request.into_parts();
    let below = parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let (provider, path) = match below.strip_prefix("/v1") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => (None, below),
        _ => {
            let below = below.strip_prefix('/').unwrap_or(below);
            let (name, _) = below.split_once('/').unwrap_or((below, ""));
            (Some(name.to_owned()), &below[name.len()..])
        }
    };
    let foreign = if parts.uri.authority().is_some() {
        // As to a proxy: the address in the request line is not ours to follow.
        Some(Refusal::invalid("requests name a path, not a whole address"))
    } else {
        let mut names = parts.headers.get_all(HOST).iter();
        let strange = names.any(|host| !hosts.serves(host.to_str().unwrap_or("?")));
        strange.then(|| Refusal::forbidden("this server does not answer to that host name"))
    };
    let ask = Ask {
        provider,
        method: parts.method,
        path: path.to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        body: Bytes::new(),
    };
    (ask, body, foreign)
}

async fn collect(mut body: Body, headers: &HeaderMap, limits: &Limits) -> Result<Bytes, Refusal> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let declared = declared.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    if declared > BODY_BYTES {
        return Err(Refusal::too_large());
    }
    let deadline = Instant::now() + limits.body_total;
    let mut bytes = BytesMut::with_capacity(declared);
    loop {
        let frame = timeout_at(deadline, timeout(limits.body_idle, body.frame())).await;
        let Ok(Ok(frame)) = frame else {
            return Err(Refusal::invalid("the body did not arrive in time"));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Refusal::invalid("the body ended early"))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > BODY_BYTES {
                return Err(Refusal::too_large());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.freeze())
}
