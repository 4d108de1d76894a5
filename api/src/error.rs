//! Errors as clients see them: Anthropic's shape, with `title`, `status` and `detail` beside it.
//!
//! An [`ApiError`] travels as a response extension; `respond::finish` writes the body, because only it knows the request id.
//!
//! | cause | status | type | retry |
//! |---|---|---|---|
//! | malformed, wrong type, too deep, foreign cursor | 400 | `invalid_request_error` | client's own rules |
//! | no or wrong key | 401 | `authentication_error` | |
//! | foreign `Host` | 403 | `permission_error` | |
//! | unknown, deleted or not yours | 404 | `not_found_error` | |
//! | body too slow | 408 | `invalid_request_error` | |
//! | conflicts with the resource's state | 409 | `invalid_request_error` | `x-should-retry: false` |
//! | a heartbeat that is not the next one | 412 | `invalid_request_error`, code `heartbeat_precondition_failed` | |
//! | body too large | 413 | `invalid_request_error` | |
//! | idempotency key with another body | 422 | `invalid_request_error` | `x-should-retry: false` |
//! | asked too often without a key | 429 | `rate_limit_error` | `retry-after` |
//! | a handler panicked (a bug) | 500 | `api_error` | |
//! | a store cannot answer now | 503 | `overloaded_error` | `retry-after` |
//! | a stored row does not parse | 503 | `api_error`, code `row_inconsistent` | `x-should-retry: false` |

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use perennial_engine::ports::{AppendError, StoreError};
use perennial_schema::error::ErrorType;

/// A refused or failed request.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub kind: ErrorType,
    pub message: String,
    /// `error.details.error_code`, where clients can act on it.
    pub code: Option<&'static str>,
    /// More of `error.details`.
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
    /// `x-should-retry`.
    pub retry: Option<bool>,
    /// `retry-after`, seconds.
    pub retry_after: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, kind: ErrorType, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            code: None,
            details: None,
            retry: None,
            retry_after: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorType::InvalidRequestError, message)
    }

    /// A 400 that names a field.
    pub(crate) fn field(path: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("{path}: {problem}"))
    }

    /// A 400 for a part of the adopted API we do not serve yet: refused rather than silently ignored.
    pub(crate) fn not_yet(path: impl std::fmt::Display) -> Self {
        Self::field(path, "not supported yet by this server; leave it out")
    }

    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorType::AuthenticationError, message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorType::PermissionError, message)
    }

    /// Unknown, deleted, or not yours: indistinguishable on purpose.
    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(80).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            ErrorType::NotFoundError,
            format!("no {what} {id:?} in this workspace"),
        )
    }

    pub(crate) fn no_route(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, message)
    }

    pub(crate) fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorType::InvalidRequestError, message)
    }

    pub(crate) fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorType::InvalidRequestError, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorType::InvalidRequestError, message)
    }

    /// A logical conflict: official SDKs retry every 409 unless told not to.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::CONFLICT, ErrorType::InvalidRequestError, message);
        error.retry = Some(false);
        error
    }

    /// Asked too often, without a key that would say by whom.
    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorType::RateLimitError, message);
        error.retry_after = Some(1);
        error
    }

    /// The state of the resource is not the one that the request names.
    pub(crate) fn precondition_failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, ErrorType::InvalidRequestError, message)
    }

    pub(crate) fn key_reused() -> Self {
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorType::InvalidRequestError,
            "Idempotency-Key: this key was used with another body; use a new key for a new request",
        );
        error.retry = Some(false);
        error
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorType::OverloadedError, message);
        error.retry_after = Some(1);
        error
    }

    pub(crate) fn inconsistent(message: impl Into<String>) -> Self {
        let mut error =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorType::ApiError, message).code("row_inconsistent");
        error.retry = Some(false);
        error
    }

    pub(crate) fn bug() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorType::ApiError,
            "internal error; the server's log has the details under this request id",
        )
    }

    pub(crate) const fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The JSON body.
    pub(crate) fn body(&self, request_id: Option<&str>) -> serde_json::Value {
        let mut error = serde_json::json!({"type": self.kind.as_str(), "message": self.message});
        if let Some(code) = self.code {
            let mut details = self.details.clone().unwrap_or_default();
            details.insert("error_code".to_owned(), code.into());
            error["details"] = details.into();
        }
        serde_json::json!({
            "type": "error",
            "error": error,
            "request_id": request_id,
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.message,
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Inconsistent { .. } => {
                tracing::error!(error = %error, "a stored row does not parse");
                Self::inconsistent(error.to_string())
            }
            StoreError::Unavailable { .. } | StoreError::Unknown { .. } => {
                tracing::warn!(error = %error, "a store cannot answer");
                Self::unavailable(error.to_string())
            }
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::NotFound => Self::no_route(message),
            AppendError::Archived => Self::conflict("the session is archived and takes no more events"),
            AppendError::Running => {
                Self::bad_request("the session is running: wait until it is idle, or send user.interrupt and try again")
            }
            AppendError::NotQuarantined => Self::conflict("the session is not quarantined; there is nothing to retry"),
            AppendError::NotAwaited(id) => Self::bad_request(format!(
                "no tool use {id} in this session waits for this; tool results and confirmations name the event id of the tool use"
            )),
            AppendError::AlreadyAnswered(_) => Self::conflict(message),
            AppendError::KeyReused => Self::key_reused(),
            AppendError::Store(store) => store.into(),
            // Only holders meet these; a client append that does is one of our own bugs, reported as a conflict.
            AppendError::Fenced { .. } | AppendError::Moved { .. } => Self::conflict(message),
        }
    }
}
