//! Repeated POSTs: an `Idempotency-Key`, or the retry count official SDKs send instead (DESIGN §6).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use perennial_engine::ports::{Idempotency, IdempotencyMode};
use perennial_schema::limits::IDEMPOTENCY_KEY_BYTES;
use sha2::{Digest as _, Sha256};

use crate::auth::Principal;
use crate::body::{JsonBody, hex};
use crate::error::ApiError;

/// How a request may be told from its repetition; becomes an [`Idempotency`] with the body's hash.
pub(crate) struct Repeatable {
    scope: String,
    credential: String,
    key: Option<String>,
    retry_count: Option<u32>,
}

impl<S: Send + Sync> FromRequestParts<S> for Repeatable {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let principal = Principal::from_request_parts(parts, state).await?;
        let key = parts
            .headers
            .get("idempotency-key")
            .map(|value| match value.to_str() {
                Ok(text) if (1..=IDEMPOTENCY_KEY_BYTES).contains(&text.len()) => Ok(text.to_owned()),
                _ => Err(ApiError::field(
                    "Idempotency-Key",
                    format!("must be 1 to {IDEMPOTENCY_KEY_BYTES} visible ASCII characters"),
                )),
            })
            .transpose()?;
        let retry_count = parts
            .headers
            .get("x-stainless-retry-count")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        Ok(Self {
            scope: format!("{} {}", parts.method, parts.uri.path()),
            credential: principal.key.to_string(),
            key,
            retry_count,
        })
    }
}

impl Repeatable {
    /// None when the client offers neither key nor retry count.
    pub(crate) fn with(&self, body: &JsonBody) -> Option<Idempotency> {
        self.hashed(&body.hash)
    }

    /// The same for a body that is known by its hash only.
    pub(crate) fn hashed(&self, body_hash: &str) -> Option<Idempotency> {
        let (key, mode) = match (&self.key, self.retry_count) {
            (Some(key), _) => (key.clone(), IdempotencyMode::Key),
            (None, Some(0)) => (self.derived(body_hash), IdempotencyMode::Remember),
            (None, Some(_)) => (self.derived(body_hash), IdempotencyMode::Retry),
            (None, None) => return None,
        };
        Some(Idempotency {
            scope: self.scope.clone(),
            key,
            body_hash: body_hash.to_owned(),
            mode,
        })
    }

    /// Named apart from clients' own keys; one that imitates it only meets its own earlier request.
    fn derived(&self, body_hash: &str) -> String {
        let mut hash = Sha256::new();
        for part in [&self.credential, &self.scope, body_hash] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        format!("sdk:{}", hex(&hash.finalize()))
    }
}
