//! What the gateway does not pass on, and what it says then, in the words of the caller's own API.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response};
use perennial_engine::ports::{Budget, BudgetRefusal, StoreError};
use serde_json::json;

use crate::limits::USED_UP_PAUSE;
use crate::wire::Dialect;

/// The budget that refused a request.
pub const BUDGET: HeaderName = HeaderName::from_static("x-perennial-budget");
/// How much a refused request may need of that budget.
pub const BUDGET_NEED: HeaderName = HeaderName::from_static("x-perennial-budget-need");
/// When that budget begins anew, RFC 3339.
pub const BUDGET_RESETS: HeaderName = HeaderName::from_static("x-perennial-budget-resets-at");
/// On every refusal: the gateway said this, no provider did.
pub const REFUSED: HeaderName = HeaderName::from_static("x-perennial-refused");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Malformed.
    Invalid,
    /// Larger than a provider takes.
    TooLarge,
    /// No key, or none that is good.
    Unauthenticated,
    /// The key may not do this.
    Forbidden,
    /// No such provider.
    NoProvider,
    /// The provider is known, and cannot be used as it is set up.
    Setup,
    /// Not on the list of what is passed on.
    NoEndpoint,
    /// On the list, with another method.
    NoMethod,
    /// A budget is used up.
    Budget,
    /// A money budget covers the request, and the model has no price.
    NoPrice,
    /// The store cannot say whether there is room.
    Store,
    /// The provider cannot be reached.
    Unreachable,
    /// The provider said nothing for too long.
    Silent,
    /// The provider answered what must not be passed on.
    Withheld,
}

/// A refused request.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Class.
    pub kind: Kind,
    /// For the caller.
    pub message: String,
    /// For whoever runs the gateway: addresses and causes.
    pub detail: Option<String>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// Which budget.
    pub budget: Option<BudgetRefusal>,
    /// The provider may have the request all the same.
    pub(crate) left: bool,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
            retry_after: None,
            budget: None,
            left: false,
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// No key, or none that is good.
    #[must_use]
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, message)
    }

    /// A request that is malformed.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Nothing that is passed on.
    #[must_use]
    pub fn no_endpoint(message: impl Into<String>) -> Self {
        Self::new(Kind::NoEndpoint, message)
    }

    /// Not for this caller.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, message)
    }

    /// A body that is too large.
    #[must_use]
    pub fn too_large() -> Self {
        let bytes = crate::limits::BODY_BYTES;
        Self::new(Kind::TooLarge, format!("the body is larger than {bytes} bytes"))
    }

    /// The store cannot answer now.
    #[must_use]
    pub fn store(error: &StoreError) -> Self {
        tracing::warn!(%error, "the gateway's store cannot answer");
        let mut refusal = Self::new(Kind::Store, "the gateway cannot count this request now; try again");
        refusal.retry_after = Some(Duration::from_secs(1));
        refusal.detail(error.to_string())
    }

    pub(crate) fn used_up(budget: &Budget, need: u64, now: perennial_schema::Timestamp) -> Self {
        let mut refusal = Self::new(Kind::Budget, BudgetRefusal::message(budget, need));
        refusal.budget = Some(BudgetRefusal {
            budget: budget.id,
            need,
            resets_at: budget.resets_at,
        });
        let until_reset = budget.resets_at.map(|at| {
            let micros = at.micros().saturating_sub(now.micros()).max(1_000_000);
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        });
        refusal.retry_after = Some(until_reset.unwrap_or(USED_UP_PAUSE));
        refusal
    }

    /// HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self.kind {
            Kind::Invalid => 400,
            Kind::TooLarge => 413,
            Kind::Unauthenticated => 401,
            Kind::Forbidden | Kind::Setup | Kind::NoPrice => 403,
            Kind::NoProvider | Kind::NoEndpoint => 404,
            Kind::NoMethod => 405,
            Kind::Budget => 429,
            Kind::Store => 503,
            Kind::Unreachable | Kind::Withheld => 502,
            Kind::Silent => 504,
        }
    }

    /// Message and detail, for whoever may see both.
    #[must_use]
    pub fn whole(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} {detail}", self.message),
            None => self.message.clone(),
        }
    }

    /// As the caller's API words it.
    #[must_use]
    pub fn response(&self, dialect: Dialect) -> Response<Bytes> {
        let body = match dialect {
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": self.message},
                "request_id": null,
            }),
            Dialect::OpenAi => {
                let (kind, code) = self.openai_type();
                json!({"error": {"message": self.message, "type": kind, "param": null, "code": code}})
            }
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = http::StatusCode::from_u16(self.status()).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REFUSED, HeaderValue::from_static("true"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(refused) = &self.budget {
            // The official clients would try every 429 again at once; a used-up budget is for a person.
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            if let Ok(id) = HeaderValue::from_str(&refused.budget.to_string()) {
                headers.insert(BUDGET, id);
            }
            headers.insert(BUDGET_NEED, HeaderValue::from(refused.need));
            if let Some(at) = refused.resets_at
                && let Ok(at) = HeaderValue::from_str(&at.to_string())
            {
                headers.insert(BUDGET_RESETS, at);
            }
        }
        response
    }

    const fn anthropic_type(&self) -> &'static str {
        match self.kind {
            Kind::Invalid | Kind::NoMethod => "invalid_request_error",
            Kind::TooLarge => "request_too_large",
            Kind::Unauthenticated => "authentication_error",
            Kind::Forbidden | Kind::Setup | Kind::NoPrice => "permission_error",
            Kind::NoProvider | Kind::NoEndpoint => "not_found_error",
            Kind::Budget => "rate_limit_error",
            Kind::Store => "overloaded_error",
            Kind::Unreachable | Kind::Withheld => "api_error",
            Kind::Silent => "timeout_error",
        }
    }

    const fn openai_type(&self) -> (&'static str, Option<&'static str>) {
        match self.kind {
            Kind::Invalid | Kind::TooLarge | Kind::NoMethod | Kind::NoEndpoint | Kind::NoProvider => {
                ("invalid_request_error", None)
            }
            Kind::Unauthenticated => ("invalid_request_error", Some("invalid_api_key")),
            Kind::Forbidden | Kind::Setup => ("invalid_request_error", Some("permission_denied")),
            Kind::NoPrice => ("invalid_request_error", Some("model_without_price")),
            Kind::Budget => ("rate_limit_error", Some("budget_reached")),
            Kind::Store | Kind::Unreachable | Kind::Silent | Kind::Withheld => ("server_error", None),
        }
    }
}
