//! What is in a folder of a machine: one look at it, in a bounded answer.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Most entries of one listing; of a larger folder these are some, and the listing says so.
pub const MAX_FOLDER_ENTRIES: usize = 5_000;
/// Longest listing, encoded, in bytes.
pub const MAX_LISTING_BYTES: u64 = 4 << 20;

/// A folder as it was when it was looked at, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What is in it.
    pub entries: Vec<Entry>,
    /// There is more than is listed.
    pub truncated: bool,
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name; what is no UTF-8 in it is U+FFFD.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// Bytes of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When it was last written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<Timestamp>,
}

/// Kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A symbolic link, wherever it leads.
    Link,
    /// A socket, a device, a pipe.
    #[serde(other)]
    Other,
}
