//! A connection to an MCP server: of one session, so that what a server keeps for a client is that session's alone.

use std::collections::HashSet;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use perennial_egress::Refused;
use perennial_engine::ports::SessionKey;
use perennial_schema::event::{ErrorDetail, ErrorKind, RetryStatus};
use perennial_schema::mcp::McpToolCard;
use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams, ProtocolVersion, SubscriptionFilter, Tool,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, NotificationContext, Peer, RunningService, ServiceError,
    serve_client_with_lifecycle,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, InsufficientScopeError, StreamableHttpClientTransportConfig,
};
use rmcp::{ClientHandler, RoleClient};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::stdio::Program;
use crate::limits;

/// Why a server's tools are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) kind: ErrorKind,
    /// As a clause.
    pub(super) reason: String,
}

/// A live connection, and what its server offered when it was asked last.
pub(super) struct Line {
    service: RunningService<RoleClient, Ear>,
    ear: Ear,
    listed: Mutex<Arc<Listed>>,
    /// What is at the other end, if it was started for this.
    program: Option<Program>,
    _listening: JoinSet<()>,
}

/// Sessions of whose servers one said that its tools changed, until somebody asks.
#[derive(Debug, Default)]
pub(super) struct News(Mutex<HashSet<SessionKey>>);

impl News {
    fn note(&self, key: SessionKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// Asks, and forgets.
    pub(super) fn take(&self, key: SessionKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }

    /// Keeps those that something is known of.
    pub(super) fn retain(&self, keep: impl Fn(&SessionKey) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(keep);
    }
}

/// What a server offered.
pub(super) struct Listed {
    pub(super) tools: Vec<McpToolCard>,
    /// Tools that are not taken, and why.
    pub(super) left_out: Vec<String>,
    at: Instant,
}

/// Hears when a server's tools change.
#[derive(Clone)]
pub(super) struct Ear {
    key: SessionKey,
    stale: Arc<AtomicBool>,
    news: Arc<News>,
}

impl Ear {
    pub(super) fn new(key: SessionKey, news: Arc<News>) -> Self {
        Self {
            key,
            stale: Arc::default(),
            news,
        }
    }

    fn hear(&self) {
        self.stale.store(true, Ordering::Relaxed);
        self.news.note(self.key);
    }
}

impl ClientHandler for Ear {
    /// By the newest revision with a handshake; the one without is negotiated before anybody asks this.
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("perennial", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us).with_protocol_version(ProtocolVersion::V_2025_11_25)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.hear();
    }
}

/// Without a handshake a server tells only who asked to be told.
async fn listen(peer: Peer<RoleClient>, ear: Ear) {
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let Ok(mut told) = peer.listen(filter).await else {
        return;
    };
    while let Ok(Some(_)) = told.next().await {
        ear.hear();
    }
}

impl Trouble {
    pub(super) fn unreachable(reason: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::McpConnectionFailedError,
            reason: reason.into(),
        }
    }

    /// For people who look at the session.
    pub(super) fn told(&self, server: &str) -> ErrorDetail {
        let what = match self.kind {
            ErrorKind::McpAuthenticationFailedError => "refuses us",
            _ => "is not reached",
        };
        ErrorDetail {
            kind: self.kind,
            message: format!(
                "MCP server {server:?} {what}: {}. Its tools are not offered.",
                self.reason
            ),
            retry_status: RetryStatus::Exhausted,
            mcp_server_name: Some(server.to_owned()),
        }
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        let remedy = match &refused {
            Refused::NotAllowed(_) => ", nor are all hosts of MCP servers (networking.allow_mcp_servers)",
            _ => "",
        };
        Self::unreachable(format!("{refused}{remedy}"))
    }
}

impl Line {
    /// Introduces us and asks for the tools, by the newest revision that both know.
    pub(super) async fn connect(url: &str, http: reqwest::Client, ear: Ear) -> Result<(Self, Arc<Listed>), Trouble> {
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let opened = serve_client_with_lifecycle(ear.clone(), transport, lifecycle);
        let service = timeout(limits::MCP_CONNECT, opened)
            .await
            .map_err(|_| slow())?
            .map_err(|error| not_opened(&error))?;
        Self::begin(service, ear, None).await
    }

    /// Asks for the tools, and listens for changes.
    pub(super) async fn begin(
        service: RunningService<RoleClient, Ear>,
        ear: Ear,
        program: Option<Program>,
    ) -> Result<(Self, Arc<Listed>), Trouble> {
        let mut listening = JoinSet::new();
        let info = service.peer().peer_info();
        if info.is_some_and(|info| {
            let tools = info.capabilities.tools.as_ref();
            info.protocol_version == ProtocolVersion::V_2026_07_28
                && tools.is_some_and(|tools| tools.list_changed == Some(true))
        }) {
            listening.spawn(listen(service.peer().clone(), ear.clone()));
        }
        let listed = match listed_by(service.peer()).await {
            Ok(listed) => Arc::new(listed),
            Err(error) => return Err(Trouble::unreachable(why(program.as_ref(), &error).await)),
        };
        let line = Self {
            service,
            ear,
            listed: Mutex::new(listed.clone()),
            program,
            _listening: listening,
        };
        Ok((line, listed))
    }

    /// Why something failed on it.
    pub(super) async fn why(&self, error: &ServiceError) -> String {
        why(self.program.as_ref(), error).await
    }

    /// What it offers: as it was said a moment ago, unless it said since that it changed. And whether it was asked for this.
    pub(super) async fn listed(&self) -> Result<(Arc<Listed>, bool), Trouble> {
        let known = self.known().clone();
        if !self.ear.stale.swap(false, Ordering::Relaxed) && known.at.elapsed() < limits::MCP_LIST_FRESH {
            return Ok((known, false));
        }
        let listed = match listed_by(self.service.peer()).await {
            Ok(listed) => Arc::new(listed),
            Err(error) => return Err(Trouble::unreachable(self.why(&error).await)),
        };
        *self.known() = listed.clone();
        Ok((listed, true))
    }

    fn known(&self) -> MutexGuard<'_, Arc<Listed>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_live(&self) -> bool {
        !self.service.is_closed() && !self.service.peer().is_transport_closed()
    }

    pub(super) fn peer(&self) -> Peer<RoleClient> {
        self.service.peer().clone()
    }
}

/// What a program answers, or does not answer in time, says nothing of its end.
async fn why(program: Option<&Program>, error: &ServiceError) -> String {
    match (program, error) {
        (Some(program), ServiceError::TransportSend(_) | ServiceError::TransportClosed) => program.why(error).await,
        _ => chain(error),
    }
}

async fn listed_by(peer: &Peer<RoleClient>) -> Result<Listed, ServiceError> {
    let patience = limits::MCP_CONNECT;
    let asked = timeout(patience, pages(peer)).await;
    let (tools, left_out) = asked.map_err(|_| ServiceError::Timeout { timeout: patience })??;
    Ok(Listed {
        tools,
        left_out,
        at: Instant::now(),
    })
}

/// All pages, as far as there is room.
async fn pages(peer: &Peer<RoleClient>) -> Result<(Vec<McpToolCard>, Vec<String>), ServiceError> {
    let (mut tools, mut left_out, mut cursor) = (Vec::new(), Vec::new(), None);
    for _ in 0..limits::MCP_PAGES {
        let asked = PaginatedRequestParams::default().with_cursor(cursor);
        let page = peer.list_tools(Some(asked)).await?;
        for tool in page.tools {
            let card = card(tool);
            let size = serde_json::to_string(&card).map_or(usize::MAX, |text| text.len());
            if tools.len() >= limits::MCP_TOOLS {
                left_out.push(format!("more than {} tools", limits::MCP_TOOLS));
                return Ok((tools, left_out));
            }
            if size > limits::MCP_CARD_BYTES {
                let name: String = card.name.chars().take(60).collect();
                left_out.push(format!("{name:?}, which is described in {size} bytes"));
                continue;
            }
            tools.push(card);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok((tools, left_out))
}

fn card(tool: Tool) -> McpToolCard {
    McpToolCard {
        name: tool.name.into_owned(),
        description: tool.description.unwrap_or_default().into_owned(),
        input_schema: serde_json::Value::Object((*tool.input_schema).clone()),
        annotations: tool.annotations.and_then(|hints| serde_json::to_value(hints).ok()),
    }
}

fn slow() -> Trouble {
    Trouble::unreachable(format!("it did not answer within {} s", limits::MCP_CONNECT.as_secs()))
}

fn not_opened(error: &ClientInitializeError) -> Trouble {
    let text = chain(error);
    let refuses = error.is_authorization_required() || ["HTTP 401", "HTTP 403"].iter().any(|code| text.contains(code));
    Trouble {
        kind: match refuses {
            true => ErrorKind::McpAuthenticationFailedError,
            false => ErrorKind::McpConnectionFailedError,
        },
        reason: text,
    }
}

/// Whether a server refuses to deal with us at all.
pub(super) fn refuses(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|error| error.is::<AuthRequiredError>() || error.is::<InsufficientScopeError>())
}

pub(super) fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The whole chain: the reason is at its end, and ours are among them. The address is the agent's to know, and is left out.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    if let Some(refused) = sources(error).find_map(|error| error.downcast_ref::<Refused>()) {
        return refused.to_string();
    }
    let mut told = String::new();
    for error in sources(error) {
        let text = match error.downcast_ref::<reqwest::Error>() {
            Some(_) => "the request failed".to_owned(),
            None => error.to_string(),
        };
        if !told.contains(&text) {
            told.push_str(if told.is_empty() { "" } else { ": " });
            told.push_str(&text);
        }
    }
    told.chars().take(limits::MCP_REASON_CHARS).collect()
}
