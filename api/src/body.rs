//! Request bodies: bounded in size, depth and time, then parsed with errors that name the field by its path.

use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use perennial_schema::limits::BODY_BYTES;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout, timeout_at};

use crate::api::App;
use crate::error::ApiError;

/// A request body, checked but not parsed.
pub(crate) struct JsonBody {
    bytes: Bytes,
    /// SHA-256 of the bytes, hex; what idempotency compares.
    pub hash: String,
}

impl JsonBody {
    /// Parses the body; an empty one counts as `{}`, because bodyless POSTs arrive that way.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let bytes: &[u8] = if self.bytes.trim_ascii().is_empty() {
            b"{}"
        } else {
            &self.bytes
        };
        // A struct would also take an array of its fields in order; the API's bodies are objects.
        if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            return Err(ApiError::bad_request("the body must be a JSON object"));
        }
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| named(&error, ""))?;
        parser
            .end()
            .map_err(|error| ApiError::bad_request(format!("the body has more than one JSON value: {error}")))?;
        Ok(value)
    }
}

/// Parses a part of a body that was kept as a tree, under the path it has there.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn part<T: DeserializeOwned>(value: &serde_json::Value, path: &str) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| named(&error, path))
}

fn named(error: &serde_path_to_error::Error<serde_json::Error>, prefix: &str) -> ApiError {
    let inner = error.path().to_string();
    let inner = if inner == "." { "" } else { inner.as_str() };
    let path = match (prefix.is_empty(), inner.is_empty()) {
        (true, true) => "body".to_owned(),
        (false, true) => prefix.to_owned(),
        (true, false) => inner.to_owned(),
        (false, false) if inner.starts_with('[') => format!("{prefix}{inner}"),
        (false, false) => format!("{prefix}.{inner}"),
    };
    ApiError::field(path, error.inner())
}

impl FromRequest<App> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = collect(request, app).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
        crate::json::check(text).map_err(ApiError::bad_request)?;
        Ok(Self {
            hash: hex(&Sha256::digest(&bytes)),
            bytes,
        })
    }
}

/// A request body that is not JSON, as it came.
pub(crate) struct RawBody {
    pub bytes: Bytes,
}

impl FromRequest<App> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = collect(request, app).await?;
        Ok(Self { bytes })
    }
}

/// SHA-256, hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

async fn collect(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(format!("the body is larger than {BODY_BYTES} bytes"));
    if let Some(encoding) = request.headers().get(CONTENT_ENCODING)
        && encoding != "identity"
    {
        // Decompressing would let a small request become a large one.
        return Err(
            ApiError::bad_request("content-encoding: compressed request bodies are not accepted")
                .code("request_body_encoding_unsupported"),
        );
    }
    let declared = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_BYTES as u64) {
        return Err(too_large());
    }
    let limits = &app.config.limits;
    let deadline = Instant::now() + limits.body_total;
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, timeout(limits.body_idle, body.frame())).await;
        let Ok(Ok(frame)) = frame else {
            return Err(ApiError::too_slow("the body did not arrive in time"));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| ApiError::bad_request("the body ended early"))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > BODY_BYTES {
                return Err(too_large());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.freeze())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tells an absent field from a null one: absent is `None`, null is `Some(None)`.
///
/// # Errors
/// When the value has another type.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
