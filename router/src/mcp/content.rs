//! What a server answered, as a tool's result: safe to store, and within the bounds of an event.

use perennial_schema::content::{Block, Source};
use perennial_schema::limits::TOOL_OUTPUT_BYTES;
use perennial_schema::text;
use perennial_schema::tool::Outcome;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

use crate::limits;

/// Pictures that models take.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// For what later revisions may say.
const UNKNOWN: &str = "[something that is not known here, and is not shown]";

/// The result of a call.
pub(super) fn outcome(result: CallToolResult) -> Outcome {
    let mut room = TOOL_OUTPUT_BYTES / 2;
    let mut content: Vec<Block> = result
        .content
        .into_iter()
        .take(limits::MCP_BLOCKS)
        .map(|given| block(given, &mut room))
        .collect();
    // Said twice by those who keep to the rules: as text, and as this.
    if let Some(structured) = result.structured_content.filter(|_| content.is_empty()) {
        content.push(words(&structured.to_string(), &mut room));
    }
    Outcome {
        content,
        is_error: result.is_error == Some(true),
        whole: None,
        exit_code: None,
    }
}

/// Somebody else's text within a sentence of ours.
pub(super) fn line(given: &str) -> String {
    let line = text::sanitize(given.as_bytes());
    line.chars().take(limits::MCP_REASON_CHARS).collect()
}

fn block(given: ContentBlock, room: &mut usize) -> Block {
    match given {
        ContentBlock::Text(said) => words(&said.text, room),
        ContentBlock::Image(picture)
            if PICTURES.contains(&picture.mime_type.as_str()) && picture.data.len() <= limits::MCP_PICTURE_BYTES =>
        {
            Block::Image {
                source: Source::Base64 {
                    media_type: picture.mime_type,
                    data: picture.data,
                },
            }
        }
        ContentBlock::Image(picture) => unshown(&picture.mime_type, picture.data.len(), room),
        ContentBlock::Audio(sound) => unshown(&sound.mime_type, sound.data.len(), room),
        ContentBlock::Resource(embedded) => match embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => words(&format!("{uri}\n\n{text}"), room),
            ResourceContents::BlobResourceContents {
                uri, mime_type, blob, ..
            } => {
                let kind = mime_type.unwrap_or_else(|| "bytes".to_owned());
                unshown(&format!("{kind} ({uri})"), blob.len(), room)
            }
            _ => words(UNKNOWN, room),
        },
        ContentBlock::ResourceLink(link) => words(&format!("{} ({})", link.name, link.uri), room),
        _ => words(UNKNOWN, room),
    }
}

fn unshown(kind: &str, base64: usize, room: &mut usize) -> Block {
    words(&format!("[{kind}, {} bytes, which is not shown]", base64 / 4 * 3), room)
}

fn words(given: &str, room: &mut usize) -> Block {
    let safe = text::sanitize(given.as_bytes());
    let shown = match *room {
        0 => "[there is more]".to_owned(),
        room => text::head_and_tail(&safe, room),
    };
    *room = room.saturating_sub(shown.len());
    Block::text(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_bounded_and_safe() {
        let long = "x".repeat(TOOL_OUTPUT_BYTES);
        let given = vec![
            ContentBlock::text("a\0b"),
            ContentBlock::image("aGk=", "image/png"),
            ContentBlock::image("aGk=", "image/svg+xml"),
            ContentBlock::text(long),
            ContentBlock::text("no room"),
        ];
        let outcome = outcome(CallToolResult::error(given));
        assert!(outcome.is_error);
        let text = |at: usize| match &outcome.content[at] {
            Block::Text { text } => text.clone(),
            other => format!("{other:?}"),
        };
        assert!(!text(0).contains('\0') && text(0).starts_with('a'));
        assert!(matches!(outcome.content[1], Block::Image { .. }));
        assert!(text(2).contains("image/svg+xml"), "{}", text(2));
        assert!(text(3).len() < TOOL_OUTPUT_BYTES * 6 / 10);
        let whole: usize = (0..5).map(|at| text(at).len()).sum();
        assert!(whole < TOOL_OUTPUT_BYTES * 6 / 10, "{whole}");
    }

    #[test]
    fn what_is_only_structured_is_told_as_json() {
        let mut result = CallToolResult::success(Vec::new());
        result.structured_content = Some(serde_json::json!({"n": 1}));
        assert_eq!(outcome(result).content, [Block::text("{\"n\":1}")]);
    }
}
