//! Keys of an environment's workers.

use perennial_schema::{EnvironmentId, KeyId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::accounts::EnvironmentKey;

/// `POST /v1/environments/{id}/keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    #[serde(default)]
    pub name: Option<String>,
}

/// A key.
#[derive(Serialize)]
pub(crate) struct KeyView {
    #[serde(rename = "type")]
    kind: &'static str,
    id: KeyId,
    environment_id: EnvironmentId,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    created_at: Timestamp,
}

impl KeyView {
    /// With its secret, for the answer that made it.
    pub(crate) fn of(key: &EnvironmentKey, secret: Option<String>) -> Self {
        Self {
            kind: "environment_key",
            id: key.id,
            environment_id: key.environment,
            name: key.name.clone(),
            secret,
            created_at: key.created_at,
        }
    }
}
