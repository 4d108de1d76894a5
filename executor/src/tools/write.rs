//! `write`, and the atomic replacement it shares with `edit`.

use std::io::Write;

use perennial_schema::tool::WriteInput;

use crate::replacement::Replacement;
use crate::workspace::{Folder, explain};

pub(super) fn run(input: &WriteInput, folder: &Folder) -> Result<String, String> {
    let path = &input.file_path;
    replace(folder, path, input.content.as_bytes())?;
    Ok(said(input))
}

/// What is said when it is done.
pub(crate) fn said(input: &WriteInput) -> String {
    format!("wrote {} bytes to {}", input.content.len(), input.file_path)
}

/// Puts `content` where `path` leads.
pub(super) fn replace(folder: &Folder, path: &str, content: &[u8]) -> Result<(), String> {
    let (replacement, file) = Replacement::begin(folder, path)?;
    let mut file = file.into_std();
    file.write_all(content).map_err(|error| explain(path, &error))?;
    replacement.commit(&file)
}
