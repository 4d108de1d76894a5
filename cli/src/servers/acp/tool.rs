//! A tool call as an editor shows it: a title, what kind it is, the places it touches, an edit as a diff.

use std::path::{Path, PathBuf};

use agent_client_protocol::v1::schema::{
    Content, ContentBlock, Diff, Terminal, TextContent, ToolCall, ToolCallContent, ToolCallLocation, ToolCallStatus,
    ToolCallUpdate, ToolCallUpdateFields, ToolKind,
};
use serde_json::Value;

use crate::render::{sanitize, summary};

/// A call that begins.
pub(super) fn call(id: &str, name: &str, input: &Value, folder: &Path) -> ToolCall {
    ToolCall::new(id.to_owned(), title(name, input))
        .name(name.to_owned())
        .kind(kind(name))
        .status(ToolCallStatus::Pending)
        .content(diff(name, input, folder).into_iter().collect())
        .locations(places(input, folder))
        .raw_input(input.clone())
}

/// The same for a question about it.
pub(super) fn question(id: &str, name: &str, input: &Value, folder: &Path) -> ToolCallUpdate {
    let mut fields = ToolCallUpdateFields::new()
        .title(title(name, input))
        .kind(kind(name))
        .status(ToolCallStatus::Pending)
        .locations(places(input, folder))
        .raw_input(input.clone());
    if let Some(diff) = diff(name, input, folder) {
        fields = fields.content(vec![diff]);
    }
    ToolCallUpdate::new(id.to_owned(), fields)
}

/// Another state of a call; what it shows stays when none is given.
pub(super) fn update(id: &str, status: ToolCallStatus, content: Option<Vec<ToolCallContent>>) -> ToolCallUpdate {
    let fields = ToolCallUpdateFields::new().status(status).content(content);
    ToolCallUpdate::new(id.to_owned(), fields)
}

/// Words in a call.
pub(super) fn words(text: &str) -> ToolCallContent {
    ToolCallContent::Content(Content::new(ContentBlock::Text(TextContent::new(text))))
}

/// A terminal of the editor.
pub(super) fn terminal(id: &str) -> ToolCallContent {
    ToolCallContent::Terminal(Terminal::new(id.to_owned()))
}

/// Whether a call shows a diff, which says more than its result.
pub(super) fn shows_diff(name: &str) -> bool {
    matches!(name, "write" | "edit")
}

fn title(name: &str, input: &Value) -> String {
    format!("{} {}", sanitize(name), summary(name, input))
}

fn kind(name: &str) -> ToolKind {
    match name {
        "bash" => ToolKind::Execute,
        "read" => ToolKind::Read,
        "write" | "edit" => ToolKind::Edit,
        "glob" | "grep" => ToolKind::Search,
        "web_fetch" | "web_search" => ToolKind::Fetch,
        _ => ToolKind::Other,
    }
}

fn path(input: &Value, folder: &Path) -> Option<PathBuf> {
    input["file_path"].as_str().map(|path| folder.join(path))
}

fn places(input: &Value, folder: &Path) -> Vec<ToolCallLocation> {
    let Some(path) = path(input, folder) else {
        return Vec::new();
    };
    let line = input["view_range"][0]
        .as_u64()
        .and_then(|line| u32::try_from(line).ok());
    vec![ToolCallLocation::new(path).line(line)]
}

fn diff(name: &str, input: &Value, folder: &Path) -> Option<ToolCallContent> {
    let path = path(input, folder)?;
    let member = |member: &str| input[member].as_str();
    let diff = match name {
        "write" => Diff::new(path, member("content")?),
        "edit" => Diff::new(path, member("new_string")?).old_text(member("old_string")?.to_owned()),
        _ => return None,
    };
    Some(ToolCallContent::Diff(diff))
}
