//! Lets a request of the console through with a good login.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use perennial_schema::Timestamp;

use super::cookie;
use crate::api::{App, Inner};
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::CONSOLE_LOGIN;
use crate::scope::Scope;

/// Logins made then or earlier are over.
pub(super) fn expired(app: &Inner) -> Timestamp {
    let millis = u64::try_from(CONSOLE_LOGIN.as_millis()).unwrap_or(u64::MAX);
    app.ports.clock.now().minus_millis(millis)
}

/// Who is logged in is whoever else had a key: endpoints see no difference.
pub(super) async fn require_login(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let refuse = || ApiError::unauthenticated("log in: open the link that the server prints, or enter a key");
    let secret = cookie::read(request.headers()).ok_or_else(refuse)?;
    let login = app.ports.accounts.login(secret.id, expired(&app)).await?;
    let login = login.filter(|login| login.hash.matches(&secret)).ok_or_else(refuse)?;
    request.extensions_mut().insert(Principal {
        key: login.id,
        workspace: login.workspace,
        scope: Scope::Workspace,
        operates: login.operates,
    });
    Ok(next.run(request).await)
}
