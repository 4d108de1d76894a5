//! What an editor sends, as the content of a `user.message`.

use agent_client_protocol::v1::schema::{ContentBlock, EmbeddedResourceResource};
use serde_json::{Value, json};

use crate::error::Error;

/// The blocks of a prompt; what the editor refers to is named, what it embeds is said whole.
pub(super) fn content(blocks: Vec<ContentBlock>) -> Result<Vec<Value>, Error> {
    let content: Vec<Value> = blocks.into_iter().map(block).collect::<Result<_, _>>()?;
    if content.is_empty() {
        return Err(Error::Usage("the prompt is empty".into()));
    }
    Ok(content)
}

fn block(block: ContentBlock) -> Result<Value, Error> {
    match block {
        ContentBlock::Text(said) => Ok(text(&said.text)),
        ContentBlock::Image(image) => Ok(picture(&image.mime_type, &image.data)),
        ContentBlock::ResourceLink(link) => Ok(text(&format!("[{}]({})", link.name, link.uri))),
        ContentBlock::Resource(embedded) => match embedded.resource {
            EmbeddedResourceResource::TextResourceContents(file) => {
                Ok(text(&format!("<file uri={:?}>\n{}\n</file>", file.uri, file.text)))
            }
            EmbeddedResourceResource::BlobResourceContents(file) => match file.mime_type {
                Some(kind) if kind.starts_with("image/") => Ok(picture(&kind, &file.blob)),
                _ => Err(Error::Usage(format!("{}: neither text nor an image", file.uri))),
            },
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::Usage("a prompt is text, images, and files that are embedded or named".into())
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn picture(media_type: &str, data: &str) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Value, expect: &Value) {
        let blocks = serde_json::from_value(given).unwrap();
        assert_eq!(&json!(content(blocks).unwrap()), expect);
    }

    #[test]
    fn what_an_editor_sends_is_said() {
        check(
            json!([{"type": "text", "text": "hi"}, {"type": "resource_link", "name": "a.rs", "uri": "file:///a.rs"}]),
            &json!([{"type": "text", "text": "hi"}, {"type": "text", "text": "[a.rs](file:///a.rs)"}]),
        );
        check(
            json!([{"type": "resource", "resource": {"uri": "file:///a", "text": "x"}}]),
            &json!([{"type": "text", "text": "<file uri=\"file:///a\">\nx\n</file>"}]),
        );
        let image = json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}]);
        check(
            json!([{"type": "image", "mimeType": "image/png", "data": "QQ=="}]),
            &image,
        );
        check(
            json!([{"type": "resource", "resource": {"uri": "u", "mimeType": "image/png", "blob": "QQ=="}}]),
            &image,
        );
    }

    #[test]
    fn what_no_model_reads_is_refused() {
        for given in [
            json!([]),
            json!([{"type": "audio", "mimeType": "audio/wav", "data": "QQ=="}]),
            json!([{"type": "resource", "resource": {"uri": "u", "blob": "QQ=="}}]),
        ] {
            let blocks = serde_json::from_value(given).unwrap();
            assert!(content(blocks).is_err());
        }
    }
}
