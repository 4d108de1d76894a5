//! Virtual keys of the model gateway: `vk_<key id>_<256 random bits>`. The id finds the row, the secret proves the holder; only
//! a SHA-256 is kept, which is enough because the secret is random and not chosen by a person.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::GatewayKeyId;

/// What every virtual key begins with.
const PREFIX: &str = "vk_";

/// A virtual key in plaintext. Never printed by `Debug`.
#[derive(Clone)]
pub struct VirtualKey {
    /// Finds the row.
    pub id: GatewayKeyId,
    text: String,
}

/// SHA-256 of a virtual key's plaintext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VirtualKeyHash(pub [u8; 32]);

/// Text that is not a virtual key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a virtual key of this gateway: it begins with vk_")]
pub struct NotAVirtualKey;

impl VirtualKey {
    /// Makes a key of an id and fresh random bytes.
    #[must_use]
    pub fn new(id: GatewayKeyId, random: [u8; 32]) -> Self {
        let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            id,
            text: format!("{PREFIX}{}_{secret}", id.uuid().simple()),
        }
    }

    /// The plaintext, for the one place that may keep it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the database keeps.
    #[must_use]
    pub fn hash(&self) -> VirtualKeyHash {
        VirtualKeyHash(Sha256::digest(self.text.as_bytes()).into())
    }
}

impl VirtualKeyHash {
    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, key: &VirtualKey) -> bool {
        self.0.ct_eq(&key.hash().0).into()
    }
}

impl FromStr for VirtualKey {
    type Err = NotAVirtualKey;

    fn from_str(text: &str) -> Result<Self, NotAVirtualKey> {
        let (id, secret) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(NotAVirtualKey)?;
        let id = format!("{}_{id}", GatewayKeyId::PREFIX)
            .parse()
            .map_err(|_| NotAVirtualKey)?;
        if secret.len() != 64 || secret.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotAVirtualKey);
        }
        Ok(Self {
            id,
            text: text.to_owned(),
        })
    }
}

impl fmt::Debug for VirtualKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualKey({}, …)", self.id)
    }
}

impl fmt::Debug for VirtualKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualKeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_key_reads_back_and_opens_its_own_hash_only() {
        let key = VirtualKey::new(GatewayKeyId::from_uuid(Uuid::from_u128(7)), [3; 32]);
        let read: VirtualKey = key.expose().parse().unwrap();
        assert_eq!(read.id, key.id);
        assert!(key.hash().matches(&read));
        let other = VirtualKey::new(key.id, [4; 32]);
        assert!(!key.hash().matches(&other));
        assert!(!format!("{key:?}").contains("0303"));
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in [
            "",
            "vk_",
            "pk_00000000000000000000000000000007_x",
            "vk_00000000000000000000000000000007_short",
        ] {
            assert!(text.parse::<VirtualKey>().is_err(), "{text}");
        }
    }
}
