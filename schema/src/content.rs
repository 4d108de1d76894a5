//! Content blocks of messages and tool results, in the adopted API's shapes. Used to check what clients send and to build
//! our own; what is stored is the client's verbatim text, so unknown members survive.

use serde::{Deserialize, Serialize};

use crate::event::Raw;

/// One content block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// Where its bytes are.
        source: Source,
    },
    /// A document (PDF or plain text).
    Document {
        /// Where its bytes are.
        source: Source,
        /// Title shown to the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Context shown to the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
    },
    /// A search hit, in custom tool results only.
    SearchResult {
        /// Where it was found.
        source: String,
        /// Its title.
        title: String,
        /// Text blocks.
        content: serde_json::Value,
    },
}

/// Where the bytes of an image or document are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// Inline.
    Base64 {
        /// E.g. `image/png`.
        media_type: String,
        /// The bytes, base64.
        data: String,
    },
    /// To be fetched by the provider.
    Url {
        /// Absolute URL.
        url: String,
    },
    /// An uploaded file.
    File {
        /// Its id.
        file_id: String,
    },
    /// Plain text.
    Text {
        /// `text/plain`.
        media_type: String,
        /// The text.
        data: String,
    },
}

impl Block {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// A content array of one text block.
#[must_use]
pub fn text_content(text: &str) -> Raw {
    Raw::of(&[Block::text(text)])
}

/// The text of a content array, blocks joined by blank lines; blocks that are not text are left out.
#[must_use]
pub fn plain_text(content: &Raw) -> String {
    let blocks: Vec<serde_json::Value> = content.parse().unwrap_or_default();
    let texts: Vec<&str> = blocks
        .iter()
        .filter(|block| block["type"] == "text")
        .filter_map(|block| block["text"].as_str())
        .collect();
    texts.join("\n\n")
}
