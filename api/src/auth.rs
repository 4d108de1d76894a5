//! Who is calling: `x-api-key` or `Authorization: Bearer`, both with the same keys.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use perennial_engine::ports::StoreError;
use perennial_schema::{KeyId, WorkspaceId};

use crate::accounts::{Accounts, ApiKey, Secret};
use crate::api::App;
use crate::error::ApiError;
use crate::limits::{CACHED_KEYS, KEY_CACHE};

/// A verified caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Principal {
    pub key: KeyId,
    pub workspace: WorkspaceId,
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Put there by `require_key`; without it the route was mounted outside the checked part.
        parts
            .extensions
            .get()
            .copied()
            .ok_or_else(|| ApiError::unauthenticated(REMEDY))
    }
}

const REMEDY: &str = "send a key of this server as `x-api-key: pk_…` or `Authorization: Bearer pk_…`";

/// Lets a request through with a good key.
pub(crate) async fn require_key(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let principal = principal(&app, request.headers()).await?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Whose key a request shows.
///
/// # Errors
/// 401 when it shows none, or a wrong one.
pub(crate) async fn principal(app: &App, headers: &HeaderMap) -> Result<Principal, ApiError> {
    let secret = presented(headers)?;
    let refuse = || ApiError::unauthenticated("this key is not known here; the server prints where its key is kept");
    let key = app
        .keys
        .find(&*app.ports.accounts, secret.id)
        .await?
        .ok_or_else(refuse)?;
    if !key.hash.matches(&secret) {
        return Err(refuse());
    }
    Ok(Principal {
        key: key.id,
        workspace: key.workspace,
    })
}

/// What `Authorization: Bearer` presents; empty for other schemes.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION).map(|value| {
        let text = value.to_str().unwrap_or_default();
        let (scheme, token) = text.split_once(' ').unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer") {
            token.trim()
        } else {
            ""
        }
    })
}

fn presented(headers: &HeaderMap) -> Result<Secret, ApiError> {
    let bearer = bearer(headers);
    let plain = headers
        .get("x-api-key")
        .map(|value| value.to_str().unwrap_or_default().trim());
    let text = plain.or(bearer).ok_or_else(|| ApiError::unauthenticated(REMEDY))?;
    text.parse()
        .map_err(|error| ApiError::unauthenticated(format!("{error}; {REMEDY}")))
}

/// Keys seen lately, so that a burst of requests asks the database once. Bounded in number and age; what is cached is the
/// row, the secret is compared every time.
#[derive(Default)]
pub(crate) struct KeyCache(Mutex<HashMap<KeyId, (ApiKey, Instant)>>);

impl KeyCache {
    pub(crate) async fn find(&self, accounts: &dyn Accounts, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        if let Some(key) = self.cached(id) {
            return Ok(Some(key));
        }
        let Some(key) = accounts.key(id).await? else {
            return Ok(None);
        };
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_KEYS {
            cache.clear();
        }
        cache.insert(id, (key.clone(), Instant::now()));
        Ok(Some(key))
    }

    fn cached(&self, id: KeyId) -> Option<ApiKey> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(&id)
            .filter(|(_, since)| since.elapsed() < KEY_CACHE)
            .map(|(key, _)| key.clone())
    }
}
