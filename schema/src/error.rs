//! The API's error shape and its closed list of types.

use serde::{Deserialize, Serialize};

/// Error types of the adopted API; each maps to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorType {
    /// 400, 409 on logical conflicts, and 413: the official SDKs' union has no type of its own for that.
    InvalidRequestError,
    /// 401.
    AuthenticationError,
    /// 403.
    PermissionError,
    /// 404, also for what is not yours.
    NotFoundError,
    /// 429.
    RateLimitError,
    /// 500.
    ApiError,
    /// 503 and 529.
    OverloadedError,
}

impl ErrorType {
    /// The wire name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequestError => "invalid_request_error",
            Self::AuthenticationError => "authentication_error",
            Self::PermissionError => "permission_error",
            Self::NotFoundError => "not_found_error",
            Self::RateLimitError => "rate_limit_error",
            Self::ApiError => "api_error",
            Self::OverloadedError => "overloaded_error",
        }
    }
}
