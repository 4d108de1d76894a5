//! Where MCP clients come in: with a key like everybody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::any;
use perennial_router::mcp::McpServer;

use super::caller::{Caller, Scope};
use super::desk::Desk;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::path::Id;

/// What both doors lead to.
#[derive(Clone)]
struct Behind {
    server: Arc<McpServer>,
    /// The API's routes that need a key.
    inside: Router,
}

/// The doors; `inside` is asked for callers whose key was checked.
pub(crate) fn routes(app: &App, inside: Router<App>) -> Router<App> {
    let behind = Behind {
        server: Arc::new(McpServer::new(Arc::new(Desk))),
        inside: inside.with_state(app.clone()),
    };
    Router::new()
        .route("/mcp", any(workspace))
        .route("/v1/sessions/{session_id}/mcp", any(session))
        .layer(from_fn(own_pages))
        .layer(Extension(behind))
}

/// A web page may ask if it is of the very host that is asked, which is one of this server's names by then.
async fn own_pages(request: Request, next: Next) -> Result<Response, ApiError> {
    let headers = request.headers();
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let own = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        matches!(scheme, "http" | "https") && !host.is_empty() && rest.eq_ignore_ascii_case(host)
    };
    match headers.get_all(ORIGIN).iter().all(own) {
        true => Ok(next.run(request).await),
        false => Err(ApiError::forbidden(
            "this endpoint does not answer to pages of other origins",
        )),
    }
}

async fn workspace(
    State(app): State<App>,
    principal: Principal,
    Extension(behind): Extension<Behind>,
    request: Request,
) -> Response {
    behind.pass(app, principal, Scope::Workspace, request).await
}

async fn session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    Extension(behind): Extension<Behind>,
    request: Request,
) -> Result<Response, ApiError> {
    let scope = Scope::Session(app.session(&principal, &id).await?.key);
    Ok(behind.pass(app, principal, scope, request).await)
}

impl Behind {
    /// Each request says anew who asks, whatever session of the protocol it belongs to.
    async fn pass(self, app: App, principal: Principal, scope: Scope, mut request: Request) -> Response {
        request.extensions_mut().insert(Caller {
            app,
            principal,
            scope,
            inside: self.inside,
        });
        self.server.handle(request).await
    }
}
