//! Uploaded files: a session may have one in its folder.

mod content;
mod create;
mod delete;
mod list;
mod multipart;
mod retrieve;

pub(crate) use content::*;
pub(crate) use create::*;
pub(crate) use delete::*;
pub(crate) use list::*;
pub(crate) use retrieve::*;

use perennial_schema::file::File;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;

/// A file of the workspace.
async fn find(app: &App, principal: Principal, id: &str) -> Result<File, ApiError> {
    let gone = || ApiError::not_found("file", id);
    let file = id.parse().map_err(|_| gone())?;
    app.ports
        .accounts
        .file(principal.workspace, file)
        .await?
        .ok_or_else(gone)
}
