//! Pictures and documents.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Checked, ensure};
use crate::wire::text;

const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

fn is_base64(data: &str) -> bool {
    !data.is_empty() && STANDARD.decode(data).is_ok()
}

fn is_url(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// The source of one of Anthropic's blocks.
pub(super) fn source(kind: &str, source: &Value) -> Checked {
    let media = text(&source["media_type"]);
    match text(&source["type"]) {
        "base64" => {
            let allowed: &[&str] = if kind == "image" { &IMAGES } else { &["application/pdf"] };
            ensure(allowed.contains(&media), || {
                format!("{kind}.source.media_type: {media:?} is not one of {allowed:?}")
            })?;
            ensure(is_base64(text(&source["data"])), || {
                format!("{kind}.source.data: not base64")
            })
        }
        "url" => ensure(is_url(text(&source["url"])), || format!("{kind}.source.url: not a URL")),
        "file" => ensure(!text(&source["file_id"]).is_empty(), || {
            format!("{kind}.source.file_id: required")
        }),
        "text" if kind == "document" => ensure(media == "text/plain" && source["data"].is_string(), || {
            "document.source: text needs the media_type text/plain and data".into()
        }),
        "content" if kind == "document" => {
            ensure(source["content"].is_string() || source["content"].is_array(), || {
                "document.source.content: required".into()
            })
        }
        other => Err(format!("{kind} without a source, or with one of the type {other:?}")),
    }
}

/// An address of one of OpenAI's parts: a URL, or a `data:` one with an image in base64.
pub(super) fn image_url(url: &Value) -> Checked {
    let url = url.as_str().ok_or("an image without its URL")?;
    ensure(is_url(url) || data_url(url, &IMAGES), || {
        let start: String = url.chars().take(40).collect();
        format!("an image whose URL is neither http(s) nor an image in base64: {start:?}")
    })
}

/// A file's content: base64, as a `data:` URL or bare.
pub(super) fn file_data(data: &Value) -> Checked {
    let data = text(data);
    let bare = data.split_once(";base64,").map_or(data, |(_, data)| data);
    ensure(is_base64(bare), || "a file whose data is not base64".into())
}

fn data_url(url: &str, allowed: &[&str]) -> bool {
    url.strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"))
        .is_some_and(|(media, data)| allowed.contains(&media) && is_base64(data))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources_are_complete() {
        let png = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
        assert_eq!(source("image", &png), Ok(()));
        assert!(source("document", &png).unwrap_err().contains("media_type"));
        for (member, value) in [
            ("media_type", "image/tiff"),
            ("data", ""),
            ("data", "%"),
            ("type", "odd"),
        ] {
            let mut bad = png.clone();
            bad[member] = json!(value);
            assert!(source("image", &bad).is_err(), "{bad}");
        }
        assert_eq!(
            source(
                "document",
                &json!({"type": "text", "media_type": "text/plain", "data": "x"})
            ),
            Ok(())
        );
        assert!(
            source(
                "image",
                &json!({"type": "text", "media_type": "text/plain", "data": "x"})
            )
            .is_err()
        );
        assert!(source("image", &json!({"type": "url", "url": "file:///x"})).is_err());
    }

    #[test]
    fn addresses_are_complete() {
        assert_eq!(image_url(&json!("data:image/png;base64,AAAA")), Ok(()));
        assert_eq!(image_url(&json!("https://x/y.png")), Ok(()));
        for bad in ["data:image/png,AAAA", "data:text/plain;base64,AAAA", "y.png"] {
            assert!(image_url(&json!(bad)).is_err(), "{bad}");
        }
        assert_eq!(file_data(&json!("data:application/pdf;base64,AAAA")), Ok(()));
        assert!(file_data(&json!("")).is_err());
    }
}
