//! Who may see a preview. A ticket opens it once; what a browser then shows with each request is a cookie of that site and no
//! other. A cookie is a row of the registry, so any process knows it, and it ends with the machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::header::{CACHE_CONTROL, HeaderValue, LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use perennial_engine::ports::EXECUTOR_VISIT_MILLIS;
use perennial_schema::executor_token::ExecutorSecretHash;
use perennial_schema::{ExecutorTicket, WorkspaceId};

use super::Refusal;
use super::address::Site;
use super::headers::{OURS, cookies};
use crate::api::App;
use crate::error::ApiError;
use crate::limits::{CACHED_VISITS, KEY_CACHE};

/// Where a ticket is shown. A service that has something there is not reached there.
pub(super) const OPENING: &str = "/.perennial/preview";

/// The name of the cookie: this host only, and only where connections are safe.
fn cookie() -> String {
    format!("{OURS}-preview")
}

/// A new ticket for a site, as it is opened.
///
/// # Errors
/// When the registry cannot be asked.
pub(crate) async fn opens(app: &App, site: Site, origin: &str) -> Result<String, ApiError> {
    let registry = &app.ports.executors;
    let ticket = registry.mint_ticket(site.executor, &site.opening()).await?;
    Ok(format!("{origin}{OPENING}?ticket={}", ticket.expose()))
}

/// Lets a browser in that shows a good ticket.
pub(super) async fn begin(app: &App, site: Site, asked: &Uri, headers: &HeaderMap) -> Result<Response, Refusal> {
    let shown = asked
        .query()
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("ticket="));
    let ticket = shown.and_then(|text| text.parse::<ExecutorTicket>().ok());
    let hash = ticket.ok_or_else(refuse)?.hash(&site.opening());
    // Apart from the request: a browser that goes away drops nothing half-way.
    let inner = Arc::clone(app);
    let opened = app.tracker.spawn(async move {
        let registry = &inner.ports.executors;
        if !registry.use_pass(site.executor, hash).await? {
            return Ok(None);
        }
        registry.mint_visit(site.executor, &site.visiting()).await.map(Some)
    });
    let visit = opened.await.map_err(|_| ApiError::bug())??;
    let visit = match visit {
        Some(visit) => visit.expose().to_owned(),
        // The same address opened again.
        None if admit(app, site, headers).await.is_ok() => return Ok(inside(None)),
        None => return Err(refuse()),
    };
    let seconds = EXECUTOR_VISIT_MILLIS / 1000;
    let cookie = format!(
        "{}={visit}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax",
        cookie()
    );
    Ok(inside(HeaderValue::from_str(&cookie).ok()))
}

/// To the site's own first page.
fn inside(cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// Whose machine a request may see.
pub(super) async fn admit(app: &App, site: Site, headers: &HeaderMap) -> Result<WorkspaceId, Refusal> {
    let name = cookie();
    let shown = cookies(headers).find_map(|(known, value)| (known == name).then(|| value.to_owned()));
    let visit = shown.and_then(|text| text.parse::<ExecutorTicket>().ok());
    let hash = visit.ok_or_else(refuse)?.hash(&site.visiting());
    if let Some(workspace) = app.visits.find(hash) {
        return Ok(workspace);
    }
    let inner = Arc::clone(app);
    let asked = app.tracker.spawn(async move {
        let registry = &inner.ports.executors;
        match registry.is_visit(site.executor, hash).await? {
            true => registry.holder(site.executor).await,
            false => Ok(None),
        }
    });
    let executor = asked.await.map_err(|_| ApiError::bug())??.ok_or_else(refuse)?;
    app.visits.keep(hash, executor.workspace);
    Ok(executor.workspace)
}

fn refuse() -> Refusal {
    Refusal {
        status: StatusCode::UNAUTHORIZED,
        message: "this preview was not opened in this browser, or too long ago; open it from the console, or with: perennial \
                  preview EXECUTOR PORT"
            .to_owned(),
    }
}

/// Cookies that were good lately, so that a page of a hundred files asks the database once. Bounded in number and age.
#[derive(Default)]
pub(crate) struct Visits(Mutex<BTreeMap<ExecutorSecretHash, (WorkspaceId, Instant)>>);

impl Visits {
    fn find(&self, visit: ExecutorSecretHash) -> Option<WorkspaceId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (workspace, since) = known.get(&visit)?;
        (since.elapsed() < KEY_CACHE).then_some(*workspace)
    }

    fn keep(&self, visit: ExecutorSecretHash, workspace: WorkspaceId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED_VISITS {
            known.clear();
        }
        known.insert(visit, (workspace, Instant::now()));
    }
}
