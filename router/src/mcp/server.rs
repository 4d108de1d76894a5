//! A server for programs from outside: streamable HTTP, by the revision with a handshake and by the one without. What is offered, and
//! to whom, is its desk's to say, of each request anew: a session of the protocol is no authority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use perennial_schema::tool::{Effect, Outcome};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, JsonObject, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProgressToken, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{Peer, RequestContext};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::endpoint::result;
use crate::limits;

/// A tool as it is offered.
#[derive(Clone, Debug)]
pub struct McpOffer {
    /// `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// What a model is told.
    pub description: String,
    /// JSON Schema of the input, an object.
    pub input_schema: Value,
    /// What may be done when an outcome is unknown.
    pub effect: Effect,
}

/// A call from outside.
pub struct McpAsked {
    /// Which tool.
    pub tool: String,
    /// A JSON object.
    pub arguments: Value,
    /// Whoever asked wants the result no more.
    pub cancelled: CancellationToken,
    /// Hears how far it is.
    pub progress: McpProgress,
}

/// Tells whoever asked how far a call is, if they want to know.
pub struct McpProgress {
    to: Option<(Peer<RoleServer>, ProgressToken)>,
    told: AtomicU32,
}

impl McpProgress {
    /// One more thing happened. Whoever does not listen misses it.
    pub async fn tell(&self, message: String) {
        let Some((peer, token)) = &self.to else { return };
        let so_far = self.told.fetch_add(1, Ordering::Relaxed) + 1;
        let mut progress = ProgressNotificationParam::new(token.clone(), f64::from(so_far));
        progress.message = Some(message);
        // A connection that is gone ends the call by itself.
        let _ = peer.notify_progress(progress).await;
    }
}

/// What there is for a request; it carries whatever the door it came through put into its extensions.
#[async_trait]
pub trait McpDesk: Send + Sync + 'static {
    /// The tools of whoever asks; an error is for them.
    async fn offers(&self, request: &Parts) -> Result<Vec<McpOffer>, String>;

    /// What came of a call; none when there is no such tool for them.
    async fn call(&self, request: &Parts, asked: McpAsked) -> Result<Option<Outcome>, String>;
}

/// A server without a door of its own.
pub struct McpServer {
    service: StreamableHttpService<Counter, LocalSessionManager>,
}

impl McpServer {
    /// Behind a door that knows who asks, for which host they do, and which web pages may.
    #[must_use]
    pub fn new(desk: Arc<dyn McpDesk>) -> Self {
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(limits::MCP_BODY_BYTES);
        let counter = Counter { desk };
        let service = StreamableHttpService::new(move || Ok(counter.clone()), Arc::default(), config);
        Self { service }
    }

    /// Answers a request.
    pub async fn handle(&self, request: Request) -> Response {
        self.service.handle(request).await.map(Body::new)
    }
}

/// The protocol's side of the desk.
#[derive(Clone)]
struct Counter {
    desk: Arc<dyn McpDesk>,
}

impl ServerHandler for Counter {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("perennial", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let offers = self.desk.offers(parts(&context)?).await.map_err(internal)?;
        Ok(ListToolsResult::with_all_items(offers.into_iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let token = context.meta.get_progress_token();
        let asked = McpAsked {
            tool: request.name.into_owned(),
            arguments: Value::Object(request.arguments.unwrap_or_default()),
            cancelled: context.ct.clone(),
            progress: McpProgress {
                to: token.map(|token| (context.peer.clone(), token)),
                told: AtomicU32::new(0),
            },
        };
        match self.desk.call(parts(&context)?, asked).await.map_err(internal)? {
            Some(outcome) => Ok(result(outcome).into()),
            None => Err(ErrorData::invalid_params("no such tool", None)),
        }
    }
}

fn parts(context: &RequestContext<RoleServer>) -> Result<&Parts, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    parts.ok_or_else(|| internal("the request did not come over HTTP".into()))
}

fn internal(reason: String) -> ErrorData {
    ErrorData::internal_error(reason, None)
}

fn tool(offer: McpOffer) -> Tool {
    let schema: JsonObject = offer.input_schema.as_object().cloned().unwrap_or_default();
    let annotations = ToolAnnotations::new()
        .read_only(offer.effect == Effect::Read)
        .idempotent(offer.effect != Effect::Once);
    Tool::new(offer.name, offer.description, schema).with_annotations(annotations)
}
