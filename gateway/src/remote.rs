//! Another process's gateway, reached over HTTP with a virtual key: what a worker without providers' keys has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::HeaderValue;
use perennial_engine::ports::{Clock, GatewayKeyKind, Metering, MintError, Minted, NewGatewayKey, Payer};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::answer::{Answer, Body};
use crate::caller::Caller;
use crate::gateway::{Ask, Forward};
use crate::headers;
use crate::limits::{CACHED_KEYS, TURN_KEY};
use crate::refusal::{Kind, REFUSED, Refusal};
use crate::upstream::{Timeouts, Upstream};

/// A gateway somewhere else.
pub struct Remote {
    base_url: String,
    upstream: Upstream,
    metering: Arc<dyn Metering>,
    clock: Arc<dyn Clock>,
    keys: Mutex<HashMap<Payer, Held>>,
}

#[derive(Clone)]
struct Held {
    secret: SecretString,
    good_until: i64,
}

impl Remote {
    /// The gateway below this address, which ends in `/llm`.
    #[must_use]
    pub fn new(
        base_url: impl Into<String>,
        timeouts: Timeouts,
        metering: Arc<dyn Metering>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            base_url: base_url.into().trim_end_matches('/').to_owned(),
            upstream: Upstream::new(timeouts),
            metering,
            clock,
            keys: Mutex::default(),
        }
    }

    /// A key for a payer: one a session, so that what it costs is its session's.
    async fn key(&self, payer: Payer) -> Result<SecretString, Refusal> {
        let now = self.clock.now().micros();
        let held = self.held(&payer).filter(|held| now < held.good_until);
        if let Some(held) = held {
            return Ok(held.secret);
        }
        let minted = mint(&*self.metering, payer, None, None).await?;
        let secret = SecretString::from(minted.secret.expose());
        let half = i64::try_from(TURN_KEY.as_micros() / 2).unwrap_or(i64::MAX);
        let held = Held {
            secret: secret.clone(),
            good_until: now.saturating_add(half),
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_KEYS {
            keys.clear();
        }
        keys.insert(payer, held);
        Ok(secret)
    }

    fn held(&self, payer: &Payer) -> Option<Held> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(payer).cloned()
    }

    fn drop_key(&self, payer: &Payer) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(payer);
    }

    async fn try_once(&self, payer: Payer, name: &str, url: &Url, ask: &Ask) -> Result<reqwest::Response, Refusal> {
        let mut sent = headers::request(&ask.headers);
        let secret = self.key(payer).await?;
        let mut value = HeaderValue::from_str(secret.expose_secret()).map_err(|_| Refusal::invalid("a bad key"))?;
        value.set_sensitive(true);
        sent.insert("x-api-key", value);
        let here = payer.session.and_then(perennial_telemetry::here);
        if let Some(here) = here.and_then(|here| HeaderValue::try_from(here.to_string()).ok()) {
            sent.insert("traceparent", here);
        }
        let sending = self
            .upstream
            .send(name, ask.method.clone(), url.clone(), sent, ask.body.clone());
        sending.await
    }
}

/// Makes a key for a harness process, or for a worker's own requests.
///
/// # Errors
/// When the store cannot.
pub async fn mint(
    metering: &dyn Metering,
    payer: Payer,
    models: Option<Vec<String>>,
    providers: Option<Vec<String>>,
) -> Result<Minted, Refusal> {
    let new = NewGatewayKey {
        id: None,
        workspace: payer.workspace,
        kind: GatewayKeyKind::Turn,
        name: String::new(),
        session: payer.session,
        agent: payer.agent,
        models,
        providers,
        ttl_millis: Some(u64::try_from(TURN_KEY.as_millis()).unwrap_or(u64::MAX)),
    };
    metering.mint(new).await.map_err(|error| match error {
        MintError::Store(error) => Refusal::store(&error),
        MintError::Exists(_) => Refusal::new(Kind::Store, error.to_string()),
    })
}

#[async_trait]
impl Forward for Remote {
    async fn forward(&self, caller: &Caller, ask: Ask) -> Result<Answer, Refusal> {
        let provider = ask.provider.as_deref().map(|name| format!("/{name}"));
        let text = format!("{}{}{}", self.base_url, provider.unwrap_or_default(), ask.path);
        let mut url = Url::parse(&text).map_err(|_| {
            Refusal::new(Kind::Setup, "the gateway's address is not usable.")
                .detail(format!("It cannot be asked at {text:?}; check gateway_url"))
        })?;
        url.set_query(ask.query.as_deref());
        let name = ask.provider.as_deref().unwrap_or("the gateway");
        let mut response = self.try_once(caller.payer, name, &url, &ask).await?;
        if response.status() == http::StatusCode::UNAUTHORIZED && response.headers().contains_key(REFUSED) {
            // The gateway's own refusal: the key was revoked or pruned under us. A new one, once.
            self.drop_key(&caller.payer);
            response = self.try_once(caller.payer, name, &url, &ask).await?;
        }
        let (status, passed) = (response.status(), headers::answer(response.headers(), None));
        let mut answer = Answer::new(Body::unread(Body::pieces(response)));
        *answer.status_mut() = status;
        *answer.headers_mut() = passed;
        Ok(answer)
    }
}
