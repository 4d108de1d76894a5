//! A connection to an MCP server: of one session, so that what a server keeps for a client is that session's alone.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use perennial_egress::Refused;
use perennial_schema::event::{ErrorDetail, ErrorKind, RetryStatus};
use perennial_schema::mcp::McpToolCard;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams, ProtocolVersion, Tool};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, NotificationContext, Peer, RunningService, ServiceError,
    serve_client_with_lifecycle,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, InsufficientScopeError, StreamableHttpClientTransportConfig,
};
use rmcp::{ClientHandler, RoleClient};
use tokio::time::timeout;

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
    stale: Arc<AtomicBool>,
    listed: Mutex<Arc<Listed>>,
}

/// What a server offered.
pub(super) struct Listed {
    pub(super) tools: Vec<McpToolCard>,
    /// Tools that are not taken, and why.
    pub(super) left_out: Vec<String>,
    at: Instant,
}

/// Hears when a server's tools change.
struct Ear(Arc<AtomicBool>);

impl ClientHandler for Ear {
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("perennial", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.0.store(true, Ordering::Relaxed);
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
    pub(super) async fn connect(url: &str, http: reqwest::Client) -> Result<(Self, Arc<Listed>), Trouble> {
        let stale = Arc::<AtomicBool>::default();
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let opened = serve_client_with_lifecycle(Ear(stale.clone()), transport, lifecycle);
        let service = timeout(limits::MCP_CONNECT, opened)
            .await
            .map_err(|_| slow())?
            .map_err(|error| not_opened(&error))?;
        let listed = Arc::new(listed_by(service.peer()).await?);
        let line = Self {
            service,
            stale,
            listed: Mutex::new(listed.clone()),
        };
        Ok((line, listed))
    }

    /// What it offers: as it was said a moment ago, unless it said since that it changed. And whether it was asked for this.
    pub(super) async fn listed(&self) -> Result<(Arc<Listed>, bool), Trouble> {
        let known = self.known().clone();
        if !self.stale.swap(false, Ordering::Relaxed) && known.at.elapsed() < limits::MCP_LIST_FRESH {
            return Ok((known, false));
        }
        let listed = Arc::new(listed_by(self.service.peer()).await?);
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

async fn listed_by(peer: &Peer<RoleClient>) -> Result<Listed, Trouble> {
    let asked = timeout(limits::MCP_CONNECT, pages(peer)).await.map_err(|_| slow())?;
    let (tools, left_out) = asked.map_err(|error| Trouble::unreachable(chain(&error)))?;
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
