//! A file of a preparation: written whole, and read-only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cap_std::fs::PermissionsExt as _;
use perennial_schema::step::PutInput;

use super::write::replace;
use crate::workspace::{Folder, explain};

pub(super) fn run(input: &PutInput, folder: &Folder) -> Result<String, String> {
    let path = &input.path;
    let content = STANDARD
        .decode(&input.base64)
        .map_err(|error| format!("{path}: {error}"))?;
    replace(folder, path, &content)?;
    let mode = cap_std::fs::Permissions::from_mode(0o444);
    let relative = folder.relative(path)?;
    folder
        .dir
        .set_permissions(relative, mode)
        .map_err(|error| explain(path, &error))?;
    Ok(format!("wrote {} bytes to {path}", content.len()))
}
