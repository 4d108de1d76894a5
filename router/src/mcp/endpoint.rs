//! An endpoint for a driven harness: it offers a catalogue and hands each call back, with the model's own id of it.
//!
//! One endpoint serves one harness process: its own loopback port and its own bearer token, both gone with it. The harness
//! is not trusted: whoever lacks the token, comes with a foreign `Host`, or comes from a web page (any `Origin`) is refused.
//!
//! Streamable HTTP without sessions: every request stands alone, so nothing outlives it here. A request that breaks off
//! ends only the wait for its answer, never the call behind it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use perennial_engine::ports::ToolSpec;
use perennial_schema::content::{Block, Source};
use perennial_schema::event::Raw;
use perennial_schema::tool::{Effect, Outcome};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    MetaObject, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits;

/// Where Claude Code puts the model's id of a call (measured, see `worker/src/harness/claude_code`).
const TOOL_USE_ID: &str = "claudecode/toolUseId";

/// A tool call as it came from the harness.
#[derive(Clone, Debug, PartialEq)]
pub struct McpCall {
    /// Tool name, without the harness's prefix.
    pub tool: String,
    /// A JSON object.
    pub arguments: Raw,
    /// The model's id of the call.
    pub tool_use_id: String,
}

/// Answers calls. Dropping the future means the harness stopped waiting; it cancels nothing.
#[async_trait]
pub trait McpCalls: Send + Sync + 'static {
    /// Waits for what came of the call.
    async fn call(&self, call: McpCall) -> Outcome;

    /// An id for a call that came without the model's; none refuses it.
    fn name(&self) -> Option<String> {
        None
    }
}

/// A listening endpoint; dropping it stops it.
#[derive(Debug)]
pub struct McpEndpoint {
    address: SocketAddr,
    token: String,
    stop: CancellationToken,
    server: TaskTracker,
}

impl McpEndpoint {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn listen(tools: &[ToolSpec], calls: Arc<dyn McpCalls>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let token = token();
        let stop = CancellationToken::new();
        let app = app(tools, calls, address, &token, stop.clone());
        let server = TaskTracker::new();
        let stopped = stop.clone();
        server.spawn(async move {
            // Abrupt on purpose: whoever still waits for an answer is a harness that is being ended.
            tokio::select! {
                () = stopped.cancelled() => {}
                ended = async { axum::serve(listener, app).await } => {
                    if let Err(error) = ended {
                        tracing::warn!(error = %error, "mcp endpoint ended");
                    }
                }
            }
        });
        server.close();
        Ok(Self {
            address,
            token,
            stop,
            server,
        })
    }

    /// Where a harness reaches it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// What a harness must present as its bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Stops it and waits until its port is free.
    pub async fn close(self) {
        self.stop.cancel();
        self.server.wait().await;
    }
}

impl Drop for McpEndpoint {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn token() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn app(
    tools: &[ToolSpec],
    calls: Arc<dyn McpCalls>,
    address: SocketAddr,
    token: &str,
    stop: CancellationToken,
) -> axum::Router {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_allowed_hosts([address.to_string()])
        .enforce_origin_validation()
        .with_max_request_body_bytes(limits::MCP_BODY_BYTES)
        .with_cancellation_token(stop);
    let desk = Desk {
        tools: tools.iter().map(tool).collect(),
        calls,
    };
    let service = StreamableHttpService::new(move || Ok(desk.clone()), Arc::<NeverSessionManager>::default(), config);
    let expected: Arc<str> = format!("Bearer {token}").into();
    axum::Router::new()
        .nest_service("/mcp", service)
        .layer(middleware::from_fn_with_state(expected, authorize))
}

async fn authorize(
    State(expected): State<Arc<str>>,
    request: Request<Body>,
    next: Next,
) -> Result<Response, StatusCode> {
    if presented(request.headers()).is_some_and(|given| bool::from(given.ct_eq(expected.as_bytes()))) {
        Ok(next.run(request).await)
    } else {
        Err(StatusCode::UNAUTHORIZED)
    }
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes)
}

/// A tool as MCP shows it. The harness runs tools that are marked read-only side by side, and all others one by one.
fn tool(spec: &ToolSpec) -> Tool {
    let schema: JsonObject = spec.input_schema.as_object().cloned().unwrap_or_default();
    let annotations = ToolAnnotations::new()
        .read_only(spec.effect == Effect::Read)
        .idempotent(spec.effect != Effect::Once)
        .open_world(false);
    Tool::new(spec.name.clone(), spec.description.clone(), schema)
        .with_annotations(annotations)
        .with_meta(hints())
}

/// What Claude Code would otherwise decide by itself: to replace a long result by a file of its own (which its tools, all
/// off, could not read), and to hide tools behind a search.
fn hints() -> MetaObject {
    let mut hints = MetaObject::default();
    hints.insert("anthropic/maxResultSizeChars".into(), limits::MCP_RESULT_CHARS.into());
    hints.insert("anthropic/alwaysLoad".into(), true.into());
    hints
}

#[derive(Clone)]
struct Desk {
    tools: Vec<Tool>,
    calls: Arc<dyn McpCalls>,
}

impl ServerHandler for Desk {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("perennial", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !self.tools.iter().any(|tool| tool.name == request.name) {
            return Err(ErrorData::invalid_params("no such tool", None));
        }
        let given = context.meta.get(TOOL_USE_ID).and_then(|id| id.as_str());
        let Some(tool_use_id) = given.map(str::to_owned).or_else(|| self.calls.name()) else {
            return Err(ErrorData::invalid_params(format!("_meta lacks {TOOL_USE_ID}"), None));
        };
        let outcome = self.calls.call(McpCall {
            tool: request.name.into_owned(),
            arguments: Raw::of(&request.arguments.unwrap_or_default()),
            tool_use_id,
        });
        Ok(result(outcome.await).into())
    }
}

pub(super) fn result(outcome: Outcome) -> CallToolResult {
    let content = outcome.content.into_iter().map(block).collect();
    if outcome.is_error {
        CallToolResult::error(content)
    } else {
        CallToolResult::success(content)
    }
}

/// MCP knows text and inline pictures; everything else is told as its JSON. A caller that must not lose a block's form asks
/// [`carries`] first.
fn block(block: Block) -> ContentBlock {
    match block {
        Block::Text { text } => ContentBlock::text(text),
        Block::Image {
            source: Source::Base64 { media_type, data },
        } => ContentBlock::image(data, media_type),
        other => ContentBlock::text(Raw::of(&other).text()),
    }
}

/// Whether an outcome arrives at the model the same over MCP as it would from a rendered conversation.
#[must_use]
pub fn carries(outcome: &Outcome) -> bool {
    outcome.content.iter().all(|block| {
        matches!(
            block,
            Block::Text { .. }
                | Block::Image {
                    source: Source::Base64 { .. }
                }
        )
    })
}
