//! A gateway on a port, a meter on a disk, and a provider that notes every request as it came and answers byte for byte.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use perennial_api::{Hosts, Limits, Llm};
use perennial_broker::clock::System;
use perennial_broker::log::sqlite::{self, Sqlite};
use perennial_broker::meter::Meter;
use perennial_engine::ports::{
    Budget, BudgetMetric, BudgetPeriod, BudgetScope, GatewayKeyKind, Ids, Metering, NewBudget, NewGatewayKey, Trace,
    TraceQuery,
};
use perennial_gateway::{Credential, Gateway, Price, Prices, Provider, Providers, Settings, Timeouts, Wire};
use perennial_schema::{BudgetId, GatewayKeyId, WorkspaceId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The provider's key; it must turn up nowhere but at the provider.
pub(crate) const CANARY: &str = "sk-canary-5f2d8a-never-to-be-seen";
/// A model that has a price.
pub(crate) const PRICED: &str = "priced-model";

/// A request as the provider got it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the provider answers.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) pieces: mpsc::Receiver<Result<Bytes, std::io::Error>>,
}

/// Says an answer piece by piece.
pub(crate) struct Speaker(mpsc::Sender<Result<Bytes, std::io::Error>>);

impl Speaker {
    pub(crate) async fn say(&self, piece: impl Into<Bytes>) {
        self.0.send(Ok(piece.into())).await.expect("the gateway still listens");
    }

    pub(crate) async fn cut(self) {
        let _ = self.0.send(Err(std::io::ErrorKind::ConnectionReset.into())).await;
    }

    /// Until nobody listens any more.
    pub(crate) async fn left(&self) {
        self.0.closed().await;
    }
}

impl Reply {
    /// An answer to be said while it is heard.
    pub(crate) fn spoken(kind: &str) -> (Self, Speaker) {
        let (speaker, pieces) = mpsc::channel(64);
        let reply = Self {
            status: 200,
            headers: vec![("content-type", kind.to_owned())],
            pieces,
        };
        (reply, Speaker(speaker))
    }

    /// A whole answer.
    pub(crate) fn of(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        let (mut reply, speaker) = Self::spoken(kind);
        reply.status = status;
        speaker.0.try_send(Ok(body.into())).expect("room");
        reply
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
}

/// The gateway and everything around it.
pub(crate) struct Rig {
    pub(crate) base: String,
    pub(crate) address: SocketAddr,
    pub(crate) meter: Arc<Meter>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) workspace: WorkspaceId,
    pub(crate) http: reqwest::Client,
    /// The provider `mute` takes requests and says nothing.
    pub(crate) mute: TcpListener,
    upstream: Arc<Shared>,
    closing: CancellationToken,
    dir: TempDir,
}

struct Fresh;

impl Ids for Fresh {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// What a stream on each wire ends with, and the usage it tells: input 10, output 7, cached 4.
pub(crate) fn stream(wire: Wire) -> &'static str {
    match wire {
        Wire::Messages => concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":6,",
            "\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"h\u{e9}llo\"}}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        Wire::Responses => concat!(
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"h\u{e9}llo\"}\n\n",
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":10,",
            "\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":7}}}\n\n",
        ),
        Wire::Chat => concat!(
            "data: {\"choices\":[{\"delta\":{\"content\":\"h\u{e9}llo\"}}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":7,",
            "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n",
        ),
    }
}

pub(crate) const WIRES: [(Wire, &str, &str); 3] = [
    (Wire::Messages, "anthropic", "/v1/messages"),
    (Wire::Responses, "openai", "/v1/responses"),
    (Wire::Chat, "local", "/v1/chat/completions"),
];

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(Duration::from_secs(20)).await
    }

    /// With a limit on the provider's silence.
    pub(crate) async fn with(idle: Duration) -> Self {
        let upstream = Arc::<Shared>::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let provider = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(upstream.clone());
        let closing = CancellationToken::new();
        let ending = closing.clone();
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(ending.cancelled_owned());
            served.await.unwrap();
        });
        let mute = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let silence = format!("http://{}/v1", mute.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let settings = sqlite::Settings {
            clock: Arc::new(System),
            ..sqlite::Settings::default()
        };
        let store = Sqlite::open(dir.path(), settings).await.unwrap();
        let meter = Arc::new(Meter::sqlite(store));
        let key = || Credential::Key(CANARY.into());
        let plain = |wire, base: String, key| Provider::new(wire, base, key);
        let named = [
            ("anthropic", plain(Wire::Messages, provider.clone(), key())),
            ("openai", plain(Wire::Responses, format!("{provider}/v1"), key())),
            ("local", plain(Wire::Chat, format!("{provider}/v1"), key())),
            (
                "listed",
                Provider {
                    models: Some(vec!["allowed-*".into()]),
                    ..plain(Wire::Chat, format!("{provider}/v1"), key())
                },
            ),
            (
                "gone",
                plain(Wire::Chat, "http://127.0.0.1:1/v1".into(), Credential::Keyless),
            ),
            ("mute", plain(Wire::Responses, silence, Credential::Keyless)),
            (
                "unset",
                plain(
                    Wire::Messages,
                    provider,
                    Credential::Missing {
                        setting: "UNSET_API_KEY".into(),
                    },
                ),
            ),
        ];
        let price = Price {
            input: 3.0,
            output: 15.0,
            cache_read: 0.3,
            cache_write: 3.75,
        };
        let gateway = Arc::new(Gateway::new(Settings {
            providers: Providers::new(
                named
                    .into_iter()
                    .map(|(name, provider)| (name.to_owned(), provider))
                    .collect(),
            ),
            prices: Prices::new(BTreeMap::from([(PRICED.to_owned(), price)])),
            timeouts: Timeouts {
                connect: Duration::from_secs(2),
                idle,
            },
            metering: Some(meter.clone()),
            clock: Arc::new(System),
            ids: Arc::new(Fresh),
        }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let llm = Llm::new(gateway.clone(), None, Hosts::Loopback, Limits::default()).alone();
        tokio::spawn(perennial_api::serve(listener, llm, Limits::default(), closing.clone()));
        Self {
            base: format!("http://{address}/llm"),
            address,
            meter,
            gateway,
            workspace: WorkspaceId::from_uuid(Uuid::now_v7()),
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            mute,
            upstream,
            closing,
            dir,
        }
    }

    /// A virtual key of the workspace.
    pub(crate) async fn key(&self) -> String {
        self.mint(|_| {}).await.1
    }

    pub(crate) async fn mint(&self, change: impl FnOnce(&mut NewGatewayKey)) -> (GatewayKeyId, String) {
        let mut new = NewGatewayKey {
            id: None,
            workspace: self.workspace,
            kind: GatewayKeyKind::Workspace,
            name: "test".into(),
            session: None,
            agent: None,
            models: None,
            providers: None,
            ttl_millis: None,
        };
        change(&mut new);
        let minted = self.meter.mint(new).await.unwrap();
        (minted.key.id, minted.secret.expose().to_owned())
    }

    /// A budget of the workspace.
    pub(crate) async fn budget(&self, metric: BudgetMetric, period: BudgetPeriod, limit: u64) -> BudgetId {
        let id = BudgetId::from_uuid(Uuid::now_v7());
        let new = NewBudget {
            id,
            workspace: self.workspace,
            scope: BudgetScope::Workspace,
            metric,
            period,
            limit,
            warn_percent: None,
        };
        self.meter.create_budget(new).await.unwrap();
        id
    }

    /// A budget, when nothing is under way any more.
    pub(crate) async fn settled(&self, id: BudgetId) -> Budget {
        self.gateway.settled().await;
        self.meter.budget(self.workspace, id).await.unwrap().unwrap()
    }

    /// Traces, latest first.
    pub(crate) async fn traces(&self) -> Vec<Trace> {
        self.gateway.settled().await;
        let query = TraceQuery {
            workspace: self.workspace,
            session: None,
            key: None,
            model: None,
            from: None,
            to: None,
            cursor: None,
            limit: 100,
        };
        self.meter.traces(query).await.unwrap()
    }

    pub(crate) fn post(&self, path: &str, key: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(key);
        request.header("content-type", "application/json").body(body)
    }

    /// Answers the next request that has no answer yet.
    pub(crate) fn push(&self, reply: Reply) {
        self.upstream.queue.lock().unwrap().push_back(reply);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.upstream.received.lock().unwrap().clone()
    }

    /// Whether some bytes are in any file of the store.
    pub(crate) fn stored(&self, bytes: &str) -> bool {
        holds(self.dir.path(), bytes.as_bytes())
    }
}

/// Whether any file below a folder holds these bytes.
pub(crate) fn holds(dir: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        // Sockets and what vanishes meanwhile hold nothing.
        let held = std::fs::read(&path).unwrap_or_default();
        held.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// A request to a model, of no particular wire.
pub(crate) fn ask(model: &str) -> String {
    format!(r#"{{"model":"{model}","max_tokens":100,"stream":true}}"#)
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 * 1024 * 1024).await.unwrap();
    shared.received.lock().unwrap().push(Received {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        headers: parts.headers,
        body,
    });
    let reply = shared.queue.lock().unwrap().pop_front();
    let reply = reply.unwrap_or_else(|| {
        Reply::of(
            200,
            "application/json",
            "{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}",
        )
    });
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let pieces = futures_util::stream::unfold(reply.pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    response.body(Body::from_stream(pieces)).unwrap()
}
