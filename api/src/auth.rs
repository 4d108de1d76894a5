//! Who is calling: `x-api-key` or `Authorization: Bearer`, both with the same keys.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use perennial_engine::ports::StoreError;
use perennial_schema::{KeyId, WorkspaceId};

use crate::accounts::{Accounts, ApiKey, Secret, SecretHash};
use crate::api::App;
use crate::error::ApiError;
use crate::limits::{CACHED_KEYS, CREDENTIAL_CHECK, KEY_CACHE};
use crate::scope::{Scope, WorkScope};

/// A verified caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Principal {
    pub key: KeyId,
    pub workspace: WorkspaceId,
    pub scope: Scope,
    /// Runs the servers: the key is of the workspace the install was made with.
    pub operates: bool,
}

/// A caller who runs the servers. What concerns all workspaces of an install takes one.
pub(crate) struct Operator;

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        if Principal::from_request_parts(parts, state).await?.operates {
            return Ok(Self);
        }
        Err(ApiError::forbidden(
            "workers serve every workspace of this install: only a key of the workspace it was made with may see and steer them",
        ))
    }
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

/// Lets a request through with a good key, or with a worker's on a route that is a worker's.
pub(crate) async fn require_key(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let principal = match worker(&app, request.headers()).await? {
        Some(worker) => worker,
        None => principal(&app, request.headers()).await?,
    };
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if !principal.scope.admits(request.method(), route.unwrap_or_default()) {
        return Err(ApiError::forbidden(
            "this is a key of an environment's workers: it polls for work, serves the sessions it is given and posts their tool \
             results; everything else takes a key of the workspace",
        ));
    }
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
        scope: Scope::Workspace,
        operates: key.operates,
    })
}

/// The worker whose credential a request shows; none when it shows another one. Asked anew each time, so that an ended key
/// opens nothing.
async fn worker(app: &App, headers: &HeaderMap) -> Result<Option<Principal>, ApiError> {
    let Some(text) = shown(headers) else { return Ok(None) };
    let refuse = || ApiError::unauthenticated("this key of an environment's workers is not known here, or was ended");
    if let Ok(secret) = Secret::parse_environment(text) {
        let key = app.ports.accounts.environment_key(secret.id).await?;
        let key = key.filter(|key| key.hash.matches(&secret)).ok_or_else(refuse)?;
        return Ok(Some(Principal {
            key: key.id,
            workspace: key.workspace,
            scope: Scope::Environment(key.environment),
            operates: false,
        }));
    }
    let Ok((id, token)) = Secret::parse_work(text) else {
        return Ok(None);
    };
    let stale = || ApiError::unauthenticated("this work item was given to another worker since");
    let (_, work) = app.ports.work.piece(id).await?.ok_or_else(stale)?;
    let (hash, key) = work.token.zip(work.key).ok_or_else(stale)?;
    if !SecretHash(hash).matches(&token) {
        return Err(stale());
    }
    let accounts = &app.ports.accounts;
    if accounts.environment_key(key).await?.is_none() && app.keys.find(&**accounts, key).await?.is_none() {
        return Err(refuse());
    }
    Ok(Some(Principal {
        key,
        workspace: work.queue.workspace,
        scope: Scope::Work(WorkScope {
            environment: work.queue.environment,
            work: id,
            session: work.session,
            live: !work.is_over(),
        }),
        operates: false,
    }))
}

/// Ends when a worker's credential opens its session no longer: its key was ended, or its piece of work is somebody else's or over.
/// Never for others.
pub(crate) async fn ended(app: App, principal: Principal, headers: HeaderMap) {
    if !principal.scope.is_worker() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(CREDENTIAL_CHECK).await;
        // A store that cannot answer says nothing about it.
        let ended = match worker(&app, &headers).await {
            Ok(Some(now)) => matches!(now.scope, Scope::Work(work) if !work.live),
            Ok(None) => true,
            Err(error) => error.status == StatusCode::UNAUTHORIZED,
        };
        if ended {
            return;
        }
    }
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

/// The credential of a request, whatever it is.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let plain = headers.get("x-api-key");
    plain
        .map(|value| value.to_str().unwrap_or_default().trim())
        .or_else(|| bearer(headers))
}

fn presented(headers: &HeaderMap) -> Result<Secret, ApiError> {
    let text = shown(headers).ok_or_else(|| ApiError::unauthenticated(REMEDY))?;
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
