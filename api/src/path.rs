//! The id in a path, as text. What is not even text is as unknown as any other id.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use perennial_schema::mail::Address;

use crate::error::ApiError;

/// A mailbox: `…/{kind}/{name}…`.
pub(crate) struct MailboxAt(pub(crate) Address);

/// A message of a mailbox: `…/{kind}/{name}/messages/{message_id}…`.
pub(crate) struct MessageAt {
    pub(crate) mailbox: Address,
    /// As given.
    pub(crate) id: String,
}

fn address(kind: &str, name: &str) -> Result<Address, ApiError> {
    Address::of(kind, name).map_err(|error| ApiError::bad_request(error.to_string()))
}

impl<S: Send + Sync> FromRequestParts<S> for MailboxAt {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((kind, name)) = path.map_err(|_| ApiError::no_route("the address in the path is not text"))?;
        address(&kind, &name).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MessageAt {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String, String)>::from_request_parts(parts, state).await;
        let Path((kind, name, id)) = path.map_err(|_| ApiError::no_route("the address in the path is not text"))?;
        let mailbox = address(&kind, &name)?;
        Ok(Self { mailbox, id })
    }
}

/// What belongs to an environment: `…/{environment_id}/work/{work_id}…`, `…/{environment_id}/keys/{key_id}`, as given.
pub(crate) struct OfEnvironment {
    pub(crate) environment: String,
    pub(crate) id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for OfEnvironment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let [environment, id] = two(parts, state).await?;
        Ok(Self { environment, id })
    }
}

async fn two<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<[String; 2], ApiError> {
    let path = Path::<(String, String)>::from_request_parts(parts, state).await;
    path.map(|Path((first, second))| [first, second])
        .map_err(|_| ApiError::no_route("the ids in the path are not text"))
}

/// A delivery: `…/{webhook_id}/deliveries/{delivery_id}…`, as given.
pub(crate) struct DeliveryAt {
    pub(crate) webhook: String,
    pub(crate) id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryAt {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let [webhook, id] = two(parts, state).await?;
        Ok(Self { webhook, id })
    }
}

/// An id as given.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id))
            .map_err(|_| ApiError::no_route("the id in the path is not text"))
    }
}
