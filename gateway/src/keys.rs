//! Virtual keys as callers present them.
//!
//! A key that was seen lately is not asked for again for [`KEY_CACHE`], so a revocation made by another process takes effect
//! after that time at the latest; one made by this process takes effect at once. Keys of turns are asked for every time: they
//! die with their process, and nobody else may use the moment after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use perennial_engine::ports::{Clock, GatewayKey, GatewayKeyKind, Metering};
use perennial_schema::{GatewayKeyId, VirtualKey};

use crate::caller::Caller;
use crate::limits::{CACHED_KEYS, KEY_CACHE};
use crate::refusal::Refusal;

/// What a caller is told who has none.
pub const REMEDY: &str = "send a virtual key of this gateway (vk_…) or a key of this server (pk_…) as `x-api-key` or `Authorization: Bearer`";

/// The secret a request carries: `x-api-key`, or else a bearer token.
#[must_use]
pub fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok().map(str::trim);
    }
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Checks virtual keys.
pub(crate) struct Keys {
    metering: Arc<dyn Metering>,
    clock: Arc<dyn Clock>,
    seen: Mutex<HashMap<GatewayKeyId, (GatewayKey, Instant)>>,
}

impl Keys {
    pub(crate) fn new(metering: Arc<dyn Metering>, clock: Arc<dyn Clock>) -> Self {
        Self {
            metering,
            clock,
            seen: Mutex::default(),
        }
    }

    /// Who holds a key.
    pub(crate) async fn open(&self, secret: &VirtualKey) -> Result<Caller, Refusal> {
        let refuse =
            || Refusal::unauthenticated(format!("this virtual key is not known, expired or revoked; {REMEDY}"));
        let key = self.find(secret.id).await?.ok_or_else(refuse)?;
        if key.hash.matches(secret) && key.is_good(self.clock.now()) {
            Ok(Caller::with_key(key))
        } else {
            Err(refuse())
        }
    }

    /// Forgets what was seen of a key.
    pub(crate) fn forget(&self, id: GatewayKeyId) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    async fn find(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, Refusal> {
        if let Some(key) = self.cached(id) {
            return Ok(Some(key));
        }
        let asked = Instant::now();
        let found = self.metering.key(id).await.map_err(|error| Refusal::store(&error))?;
        if let Some(key) = &found
            && key.kind != GatewayKeyKind::Turn
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() >= CACHED_KEYS {
                seen.clear();
            }
            seen.insert(id, (key.clone(), asked));
        }
        Ok(found)
    }

    fn cached(&self, id: GatewayKeyId) -> Option<GatewayKey> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, at) = seen.get(&id)?;
        (at.elapsed() < KEY_CACHE).then(|| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_presented_in_two_ways() {
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            presented(&headers).map(str::to_owned)
        };
        assert_eq!(with("x-api-key", " vk_1 ").as_deref(), Some("vk_1"));
        assert_eq!(with("authorization", "bearer vk_2").as_deref(), Some("vk_2"));
        assert_eq!(with("authorization", "Basic dXNlcg=="), None);
        assert_eq!(with("cookie", "vk_3"), None);
    }
}
