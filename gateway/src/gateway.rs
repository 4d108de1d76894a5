//! The gateway: lets a caller in, checks what it asks for, reserves, passes on, counts.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method, StatusCode};
use perennial_engine::ports::{Clock, Ids, Metering};
use perennial_schema::model::Usage;
use perennial_schema::{GatewayKeyId, TraceParent, VirtualKey};

use crate::answer::{Answer, Body, Pieces};
use crate::books::{Books, End, Entry, Line};
use crate::caller::Caller;
use crate::endpoint::{self, Endpoint};
use crate::headers;
use crate::keys::Keys;
use crate::limits::{BODY_BYTES, PATH_BYTES};
use crate::peek::Peek;
use crate::price::Prices;
use crate::provider::{ANTHROPIC, OPENAI, Provider, Providers};
use crate::refusal::{Kind, Refusal};
use crate::rehearsal::{Performance, Stage};
use crate::upstream::{Timeouts, Upstream};
use crate::usage::{Seen, Tap};
use crate::wire::{Dialect, Wire};

/// A request to a model's API.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which provider; none means the one whose API it is.
    pub provider: Option<String>,
    /// Method.
    pub method: Method,
    /// Path below the provider's root: begins with `/v1`. As it came, nothing decoded.
    pub path: String,
    /// Query, without its question mark.
    pub query: Option<String>,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// Body as it came.
    pub body: Bytes,
}

impl Ask {
    /// A POST of JSON to a provider.
    #[must_use]
    pub fn post(provider: &str, path: &str, mut headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let json = http::HeaderValue::from_static("application/json");
        headers.insert(http::header::CONTENT_TYPE, json);
        Self {
            provider: Some(provider.to_owned()),
            method: Method::POST,
            path: path.to_owned(),
            query: None,
            headers,
            body: body.into(),
        }
    }

    /// Whose errors its sender understands.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        let anthropic = self.headers.contains_key("anthropic-version") || self.headers.contains_key("x-api-key");
        endpoint::dialect(&self.path, anthropic)
    }
}

/// Passes requests on to models: the gateway of this process, or another one.
#[async_trait]
pub trait Forward: Send + Sync {
    /// Passes a request on, and gives the answer as soon as it begins. Dropping the future or the answer ends the request.
    ///
    /// # Errors
    /// What is not passed on, or never gets an answer. An answer whose status says that it failed is an answer.
    async fn forward(&self, caller: &Caller, ask: Ask) -> Result<Answer, Refusal>;
}

/// What a gateway is made of.
pub struct Settings {
    /// Where models are.
    pub providers: Providers,
    /// What they cost.
    pub prices: Prices,
    /// How long they may be silent.
    pub timeouts: Timeouts,
    /// Counts requests and knows virtual keys; none counts nothing and knows no key.
    pub metering: Option<Arc<dyn Metering>>,
    /// Stamps traces, judges keys.
    pub clock: Arc<dyn Clock>,
    /// Names reservations and traces.
    pub ids: Arc<dyn Ids>,
}

/// The model gateway.
pub struct Gateway {
    providers: Providers,
    upstream: Upstream,
    stage: Stage,
    keys: Option<Keys>,
    books: Arc<Books>,
}

impl Gateway {
    /// A gateway. Connects to nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let keys = settings.metering.clone();
        Self {
            upstream: Upstream::new(settings.timeouts),
            stage: Stage::default(),
            keys: keys.map(|metering| Keys::new(metering, settings.clock.clone())),
            books: Arc::new(Books::new(
                settings.metering,
                settings.clock,
                settings.ids,
                settings.prices,
            )),
            providers: settings.providers,
        }
    }

    /// Where models are.
    #[must_use]
    pub const fn providers(&self) -> &Providers {
        &self.providers
    }

    /// What they cost.
    #[must_use]
    pub fn prices(&self) -> &Prices {
        self.books.prices()
    }

    /// Who holds a virtual key.
    ///
    /// # Errors
    /// When nobody does any more, or the store cannot say.
    pub async fn authenticate(&self, secret: &VirtualKey) -> Result<Caller, Refusal> {
        match &self.keys {
            Some(keys) => keys.open(secret).await,
            None => Err(Refusal::unauthenticated("this gateway knows no virtual keys")),
        }
    }

    /// A key was revoked by this process: it is not to be believed for another moment.
    pub fn forget(&self, key: GatewayKeyId) {
        if let Some(keys) = &self.keys {
            keys.forget(key);
        }
    }

    /// Waits until what is over is counted and traced.
    pub async fn settled(&self) {
        self.books.settled().await;
    }

    /// Counts a request to a model of this process that does not come through here.
    ///
    /// # Errors
    /// When a budget is used up, or the store cannot say.
    pub async fn count(&self, caller: &Caller, model: &str, tokens: (u64, u64)) -> Result<Counted, Refusal> {
        let line = Line {
            payer: caller.payer,
            provider: crate::REHEARSAL.to_owned(),
            model: model.to_owned(),
            wire: crate::REHEARSAL,
            body: 0,
            tokens,
            streamed: true,
            parent: parent(caller, None),
        };
        let mut entry = self.books.open(line).await?;
        entry.answered(200);
        Ok(Counted(entry))
    }

    /// The provider a request is for, and the endpoint; both are checked.
    fn place<'a>(&'a self, caller: &Caller, ask: &'a Ask) -> Result<(&'a str, Target<'a>, Endpoint), Refusal> {
        if ask.path.len() > PATH_BYTES || ask.query.as_ref().is_some_and(|query| query.len() > PATH_BYTES) {
            return Err(Refusal::invalid("the address is too long"));
        }
        let endpoint = Endpoint::find(&ask.method, &ask.path)?;
        let name = ask.provider.as_deref().unwrap_or(match ask.dialect() {
            Dialect::Anthropic => ANTHROPIC,
            Dialect::OpenAi => OPENAI,
        });
        if name == crate::REHEARSAL {
            caller.may_use(name)?;
            return Ok((name, Target::Here(&self.stage), endpoint));
        }
        let provider = self.providers.find(name)?;
        caller.may_use(name)?;
        if !endpoint.is_served_by(provider.wire) {
            let message = format!("the provider {name:?} speaks {}, and not this", provider.wire);
            return Err(Refusal::new(Kind::NoEndpoint, message));
        }
        Ok((name, Target::There(provider), endpoint))
    }

    /// Checks what is asked of a model, and reserves what it may need; nothing is reserved for what costs nothing.
    async fn admit(
        &self,
        caller: &Caller,
        name: &str,
        target: &Target<'_>,
        endpoint: Endpoint,
        ask: &Ask,
    ) -> Result<Option<Entry>, Refusal> {
        let body = &ask.body;
        if endpoint == Endpoint::Models {
            if body.is_empty() {
                return Ok(None);
            }
            return Err(Refusal::invalid("this endpoint takes no body"));
        }
        let peek = Peek::into(body)?;
        let mut listed = caller.models.is_some();
        if let Target::There(provider) = target {
            provider.has(name, &peek.model)?;
            listed |= provider.models.is_some();
        }
        caller.may_ask(name, &peek.model)?;
        if peek.others && listed {
            let message = "this key may ask certain models only: leave out the list of others";
            return Err(Refusal::new(Kind::Forbidden, message));
        }
        let Endpoint::Model(wire) = endpoint else {
            return Ok(None);
        };
        let line = Line {
            payer: caller.payer,
            provider: name.to_owned(),
            tokens: peek.tokens(body.len()),
            streamed: peek.stream,
            model: peek.model,
            wire: wire.as_str(),
            body: body.len(),
            parent: parent(caller, Some(&ask.headers)),
        };
        self.books.open(line).await.map(Some)
    }
}

/// The span that a request is part of: as its sender said, or where the session is for which it is made.
fn parent(caller: &Caller, headers: Option<&HeaderMap>) -> Option<TraceParent> {
    let said = headers.and_then(|headers| headers.get("traceparent")?.to_str().ok()?.parse().ok());
    said.or_else(|| caller.payer.session.and_then(perennial_telemetry::here))
}

/// Who answers.
enum Target<'a> {
    Here(&'a Stage),
    There(&'a Provider),
}

/// A request that is counted without going through the gateway. Dropped, it counts as reserved.
pub struct Counted(Entry);

impl Counted {
    /// The answer begins.
    pub fn heard(&mut self) {
        self.0.heard();
    }

    /// The answer is over, and came to this.
    pub fn done(mut self, usage: Usage) {
        let seen = Seen {
            usage: Some(usage),
            whole: true,
            ..Seen::default()
        };
        self.0.close(End::Heard, &seen, None);
    }

    /// There was no answer.
    pub fn failed(mut self, fault: String) {
        self.0.close(End::NeverLeft, &Seen::default(), Some(fault));
    }
}

#[async_trait]
impl Forward for Gateway {
    async fn forward(&self, caller: &Caller, ask: Ask) -> Result<Answer, Refusal> {
        let (name, target, endpoint) = self.place(caller, &ask)?;
        if ask.body.len() > BODY_BYTES {
            return Err(Refusal::too_large());
        }
        if ask
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| coding != "identity")
        {
            return Err(Refusal::invalid(
                "content-encoding: what a compressed body asks for cannot be checked; send it plain",
            ));
        }
        // What cannot be sent is found out before anything is reserved for it.
        let sendable = match &target {
            Target::Here(_) => None,
            Target::There(provider) => {
                let url = provider.url(name, &ask.path, ask.query.as_deref())?;
                let mut sent = headers::request(&ask.headers);
                provider.sign(name, &mut sent)?;
                Some((url, sent))
            }
        };
        let mut entry = self.admit(caller, name, &target, endpoint, &ask).await?;
        let begun = match (&target, sendable) {
            (Target::There(provider), Some((url, sent))) => {
                let (method, body) = (ask.method.clone(), ask.body.clone());
                let sending = self.upstream.send(name, method, url, sent, body).await;
                sending.map(|response| Begun::of(response, provider))
            }
            (Target::Here(stage), _) => stage.perform(endpoint, &ask.body).await.map(Begun::here),
            (Target::There(_), None) => Err(Refusal::new(Kind::Setup, "the provider has no address")),
        };
        let begun = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                if let Some(mut entry) = entry {
                    let end = if refusal.left { End::Cut } else { End::NeverLeft };
                    entry.close(end, &Seen::default(), Some(refusal.whole()));
                }
                return Err(refusal);
            }
        };
        if let Some(entry) = &mut entry {
            entry.answered(begun.status.as_u16());
        }
        let wire = match (endpoint, &target) {
            (Endpoint::Model(wire), _) => wire,
            (_, Target::There(provider)) => provider.wire,
            (_, Target::Here(_)) => Wire::Messages,
        };
        let tap = Tap::new(wire, &begun.headers);
        let mut answer = Answer::new(Body::read(begun.pieces, begun.secret, tap, entry));
        *answer.status_mut() = begun.status;
        *answer.headers_mut() = begun.headers;
        Ok(answer)
    }
}

/// An answer that has begun.
struct Begun<'a> {
    status: StatusCode,
    headers: HeaderMap,
    pieces: Pieces,
    secret: Option<&'a str>,
}

impl<'a> Begun<'a> {
    fn of(response: reqwest::Response, provider: &'a Provider) -> Self {
        let secret = provider.secret();
        Self {
            status: response.status(),
            headers: headers::answer(response.headers(), secret),
            pieces: Body::pieces(response),
            secret,
        }
    }

    fn here((status, headers, pieces): Performance) -> Self {
        Self {
            status,
            headers,
            pieces,
            secret: None,
        }
    }
}
