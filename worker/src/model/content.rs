//! Content blocks as clients and tools sent them, sorted by what a wire may be able to carry. What it cannot carry becomes a
//! note to the model: a block that a provider refuses would make every later request of the session fail.

use perennial_schema::event::Raw;
use serde_json::Value;

/// Pictures that every vendor takes.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
/// Most base64 characters of one picture: vendors refuse more than 5 MB.
const PICTURE_CHARS: usize = 5 * 1024 * 1024 / 3 * 4;
/// Most base64 characters of one document: vendors refuse requests of more than 32 MB.
const DOCUMENT_CHARS: usize = 24 * 1024 * 1024;

/// One block.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text with something in it.
    Text(String),
    /// A picture.
    Picture(Place),
    /// A PDF document, with its title.
    Document(Place, Option<String>),
    /// Text with a title: a text document, or a hit of a search.
    Titled(Option<String>, String),
    /// What nobody can carry, in words.
    Note(String),
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// Here: media type and base64.
    Inline(String, String),
    /// To be fetched by the provider.
    Url(String),
}

impl Place {
    /// The address; what is inline as a `data:` URL.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Inline(media_type, data) => format!("data:{media_type};base64,{data}"),
            Self::Url(url) => url.clone(),
        }
    }
}

impl Piece {
    /// The block; none for one that says nothing.
    pub(super) fn of(block: &Raw) -> Option<Self> {
        let block: Value = block.parse().ok()?;
        Self::of_value(&block)
    }

    pub(super) fn of_value(block: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let title = || block["title"].as_str().map(str::to_owned);
        let source = &block["source"];
        let kind = block["type"].as_str().unwrap_or("unknown");
        Some(match (kind, source["type"].as_str().unwrap_or_default()) {
            ("text", _) => return Some(Self::Text(text(&block["text"]))).filter(|piece| !piece.is_blank()),
            ("image", "base64") => {
                let (media_type, data) = (text(&source["media_type"]), text(&source["data"]));
                if !PICTURES.contains(&media_type.as_str()) {
                    Self::Note(format!("[a picture of type {media_type:?}, which models do not take]"))
                } else if data.len() > PICTURE_CHARS {
                    Self::Note(format!(
                        "[a picture of {} bytes, which is too large for models]",
                        data.len() / 4 * 3
                    ))
                } else if data.is_empty() {
                    Self::Note("[an empty picture]".into())
                } else {
                    Self::Picture(Place::Inline(media_type, data))
                }
            }
            ("image", "url") => Self::Picture(Place::Url(text(&source["url"]))),
            ("document", "base64") => {
                let (media_type, data) = (text(&source["media_type"]), text(&source["data"]));
                if media_type != "application/pdf" {
                    Self::Note(format!("[a document of type {media_type:?}, which models do not take]"))
                } else if data.is_empty() || data.len() > DOCUMENT_CHARS {
                    Self::Note(format!(
                        "[a document of {} bytes, which models do not take]",
                        data.len() / 4 * 3
                    ))
                } else {
                    Self::Document(Place::Inline(media_type, data), title())
                }
            }
            ("document", "url") => Self::Document(Place::Url(text(&source["url"])), title()),
            ("document", "text") => Self::Titled(title(), text(&source["data"])),
            ("document", "content") => {
                let said = source["content"].as_array().map_or_else(
                    || text(&source["content"]),
                    |blocks| {
                        blocks
                            .iter()
                            .map(|block| text(&block["text"]))
                            .collect::<Vec<_>>()
                            .join("\n")
                    },
                );
                Self::Titled(title(), said)
            }
            ("search_result", _) => {
                let said = block["content"].as_array().into_iter().flatten();
                let said: Vec<String> = said.map(|block| text(&block["text"])).collect();
                Self::Titled(
                    Some(format!("{} ({})", text(&block["title"]), text(source))),
                    said.join("\n"),
                )
            }
            (kind, "file") => Self::Note(format!("[{kind} of an uploaded file that cannot be shown here]")),
            (kind, _) => Self::Note(format!("[content of type {kind} that this model's API cannot take]")),
        })
    }

    fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }

    /// The piece for a model that reads nothing but text.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Note(text) => text,
            Self::Picture(Place::Url(url)) => format!("[a picture that is not shown to this model: {url}]"),
            Self::Picture(Place::Inline(..)) => "[a picture that is not shown to this model]".into(),
            Self::Document(place, title) => {
                let title = title.map(|title| format!(" {title:?}")).unwrap_or_default();
                match place {
                    Place::Url(url) => format!("[a document{title} that is not shown to this model: {url}]"),
                    Place::Inline(..) => format!("[a document{title} that is not shown to this model]"),
                }
            }
            Self::Titled(Some(title), text) => format!("{title}:\n{text}"),
            Self::Titled(None, text) => text,
        }
    }
}

/// A block as text, whatever it is.
pub(crate) fn as_text(block: &Raw) -> String {
    Piece::of(block).map_or_else(String::new, Piece::into_text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_sorted() {
        let piece = |block: Value| Piece::of(&Raw::of(&block));
        let source =
            |kind: &str, media_type: &str| json!({"type": kind, "media_type": media_type, "data": "AA", "url": "u"});
        assert_eq!(piece(json!({"type": "text", "text": " \n"})), None);
        assert_eq!(
            piece(json!({"type": "text", "text": "x"})),
            Some(Piece::Text("x".into()))
        );
        let picture = piece(json!({"type": "image", "source": source("base64", "image/png")}));
        assert!(
            matches!(&picture, Some(Piece::Picture(place)) if place.url() == "data:image/png;base64,AA"),
            "{picture:?}"
        );
        let odd = piece(json!({"type": "image", "source": source("base64", "image/svg+xml")}));
        assert!(
            matches!(&odd, Some(Piece::Note(note)) if note.contains("svg")),
            "{odd:?}"
        );
        let pdf = json!({"type": "document", "title": "t", "source": source("base64", "application/pdf")});
        assert!(matches!(piece(pdf), Some(Piece::Document(Place::Inline(..), Some(title))) if title == "t"));
        let text = json!({"type": "document", "title": "t", "source": {"type": "text", "data": "words"}});
        assert_eq!(as_text(&Raw::of(&text)), "t:\nwords");
        let hit =
            json!({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]});
        assert_eq!(as_text(&Raw::of(&hit)), "t (s):\nx");
        let file = json!({"type": "image", "source": {"type": "file", "file_id": "f"}});
        assert!(as_text(&Raw::of(&file)).contains("uploaded file"));
        assert!(as_text(&Raw::of(&json!({"type": "new"}))).contains("type new"));
        assert!(as_text(&Raw::of(&json!(3))).contains("type unknown"));
    }

    #[test]
    fn a_picture_beyond_what_vendors_take_is_a_note() {
        let data = "A".repeat(PICTURE_CHARS + 4);
        let block = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
        assert!(matches!(Piece::of(&Raw::of(&block)), Some(Piece::Note(note)) if note.len() < 100));
    }
}
