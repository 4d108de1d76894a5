//! Executors that are attached to sessions, as clients write them.

use perennial_engine::ports::{Executor, ExecutorKind};
use perennial_schema::limits::NAME_CHARS;
use perennial_schema::{Attachment, ExecutorId};
use serde::Deserialize;

use super::length;
use crate::error::ApiError;

/// What the catalogue calls the hands of an environment: nothing attached may be called so.
const TAKEN: [&str; 2] = ["sandbox", "server"];

/// One executor that is to be attached.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attach {
    executor_id: String,
    name: Option<String>,
    dir: Option<String>,
}

impl Attach {
    /// Which executor; what is no id is as unknown as any other.
    pub(crate) fn executor(&self) -> Result<ExecutorId, ApiError> {
        let unknown = |_| ApiError::not_found("executor", &self.executor_id);
        self.executor_id.parse().map_err(unknown)
    }

    /// The id as it was given.
    pub(crate) fn given(&self) -> &str {
        &self.executor_id
    }

    /// The attachment of an executor that was found.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn of(self, executor: &Executor) -> Result<Attachment, ApiError> {
        if executor.kind == ExecutorKind::Sandbox {
            return Err(ApiError::field(
                "executor_id",
                "a sandbox is the session's it was made for, and not to be attached to others",
            ));
        }
        let name = self.name.unwrap_or_else(|| executor.name.clone());
        length("name", &name, 1, NAME_CHARS)?;
        if TAKEN.contains(&name.as_str()) || name.chars().any(char::is_control) {
            return Err(ApiError::field(
                "name",
                format!("an executor cannot be called {name:?} in a session: give it another name"),
            ));
        }
        if self.dir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
            return Err(ApiError::field("dir", "must be an absolute path"));
        }
        Ok(Attachment {
            executor_id: executor.id,
            name,
            dir: self.dir,
        })
    }
}
