//! Blobs: content-addressed bytes too large for an event, apart per tenant: knowing a hash gives nobody another's bytes.

pub mod files;
pub mod memory;
pub mod postgres;

use sha2::{Digest as _, Sha256};

/// SHA-256, hex: a blob's name.
fn name(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text can be a blob's name; what cannot is simply not there, and never a path.
fn is_name(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
