//! Executors, codes and single calls as clients see them.

use perennial_engine::ports::{Executor, ExecutorKind, StoredCode};
use perennial_schema::event::Raw;
use perennial_schema::frame::Card;
use perennial_schema::limits::NAME_CHARS;
use perennial_schema::tool::{Builtin, Outcome};
use perennial_schema::{EventId, ExecutorCode, ExecutorId, ExecutorToken, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::length;
use crate::error::ApiError;

/// `POST /v1/executors/codes`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCode {}

/// A registration code.
#[derive(Serialize)]
pub(crate) struct CodeView {
    #[serde(rename = "type")]
    kind: &'static str,
    expires_at: Timestamp,
    /// Shown once, by the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl CodeView {
    pub(crate) fn of(code: StoredCode, secret: Option<String>) -> Self {
        Self {
            kind: "executor_code",
            expires_at: code.expires_at,
            secret,
        }
    }
}

/// `POST /v1/executors/register`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    code: String,
    name: String,
    secret: String,
}

impl Register {
    /// The code, the name, and the token this machine will have: its id follows from the code, its secret is the machine's own.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn read(self) -> Result<(ExecutorCode, String, ExecutorToken), ApiError> {
        length("name", &self.name, 1, NAME_CHARS)?;
        let code: ExecutorCode = self
            .code
            .trim()
            .parse()
            .map_err(|error| ApiError::field("code", error))?;
        let secret = secret(&self.secret)
            .ok_or_else(|| ApiError::field("secret", "must be 64 lowercase hexadecimal digits, chosen at random"))?;
        let id = ExecutorId::from_uuid(named(&code));
        Ok((code, self.name, ExecutorToken::new(id, secret)))
    }
}

fn secret(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A code makes one executor, so its id is the code's; the hash says nothing about the code.
fn named(code: &ExecutorCode) -> Uuid {
    let hash = Sha256::digest(format!("executor of {}", code.expose()));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// An executor that has just registered.
#[derive(Serialize)]
pub(crate) struct RegisteredView {
    #[serde(flatten)]
    executor: ExecutorView,
    workspace_id: WorkspaceId,
    token: String,
}

impl RegisteredView {
    pub(crate) fn of(executor: Executor, token: &ExecutorToken) -> Self {
        Self {
            workspace_id: executor.workspace,
            token: token.expose().to_owned(),
            executor: executor.into(),
        }
    }
}

/// `PATCH /v1/executors/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rename {
    name: String,
}

impl Rename {
    /// The new name.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn read(self) -> Result<String, ApiError> {
        length("name", &self.name, 1, NAME_CHARS)?;
        Ok(self.name)
    }
}

/// An executor.
#[derive(Serialize)]
pub(crate) struct ExecutorView {
    id: ExecutorId,
    #[serde(rename = "type")]
    type_: &'static str,
    name: String,
    kind: &'static str,
    status: &'static str,
    /// What it said of itself when it connected last.
    card: Option<Card>,
    last_seen_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<Executor> for ExecutorView {
    fn from(executor: Executor) -> Self {
        Self {
            id: executor.id,
            type_: "executor",
            name: executor.name,
            kind: match executor.kind {
                ExecutorKind::Device => "device",
                ExecutorKind::Sandbox => "sandbox",
            },
            status: if executor.online { "online" } else { "offline" },
            card: executor.card,
            last_seen_at: executor.last_seen_at,
            created_at: executor.created_at,
        }
    }
}

/// `POST /v1/executors/{id}/calls`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCall {
    tool: String,
    input: Raw,
    dir: Option<String>,
}

/// A call that makes sense.
pub(crate) struct Call {
    pub(crate) tool: Builtin,
    pub(crate) input: Raw,
    pub(crate) dir: Option<String>,
}

impl CreateCall {
    /// The call this body describes.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn read(self) -> Result<Call, ApiError> {
        let tool = Builtin::by_name(&self.tool).ok_or_else(|| {
            let known = Builtin::ALL.map(Builtin::name).join(", ");
            ApiError::field("tool", format!("is none of {known}"))
        })?;
        if !self.input.text().trim_start().starts_with('{') {
            return Err(ApiError::field("input", "expected an object"));
        }
        if self.dir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
            return Err(ApiError::field("dir", "must be an absolute path"));
        }
        Ok(Call {
            tool,
            input: self.input,
            dir: self.dir,
        })
    }
}

/// What came of a call.
#[derive(Serialize)]
pub(crate) struct CallView {
    id: EventId,
    #[serde(rename = "type")]
    type_: &'static str,
    executor_id: ExecutorId,
    tool: &'static str,
    is_error: bool,
    exit_code: Option<i32>,
    content: Vec<perennial_schema::content::Block>,
}

impl CallView {
    pub(crate) fn of(call: Uuid, executor_id: ExecutorId, tool: Builtin, outcome: Outcome) -> Self {
        Self {
            id: EventId::from_uuid(call),
            type_: "executor_call",
            executor_id,
            tool: tool.name(),
            is_error: outcome.is_error,
            exit_code: outcome.exit_code,
            content: outcome.content,
        }
    }
}
