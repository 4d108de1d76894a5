//! Secrets at rest under one key of the install: AES-256-GCM, bound to what a secret is for. The key is a file or a setting, never
//! in the database, so that a copy of the database opens nothing.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perennial_engine::ports::{SealError, Seals};
use perennial_schema::Secret;
use sha2::{Digest as _, Sha256};

/// What sealed text begins with: the way it was sealed.
const FIRST: &str = "s1.";
/// Bytes of a nonce, which stands before the rest.
const NONCE: usize = 12;

/// A key.
#[derive(Debug)]
pub struct KeySeals(RandomizedNonceKey);

impl KeySeals {
    /// Of a long random text. None when the library refuses it.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let key = Sha256::digest(text.as_bytes());
        RandomizedNonceKey::new(&AES_256_GCM, &key).ok().map(Self)
    }
}

/// A text that a key may be of.
#[must_use]
pub fn fresh_key() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

impl Seals for KeySeals {
    fn seal(&self, about: &str, secret: &Secret) -> Result<String, SealError> {
        let mut bytes = secret.expose().as_bytes().to_vec();
        let sealed = self.0.seal_in_place_append_tag(Aad::from(about), &mut bytes);
        let nonce = sealed.map_err(|_| SealError::NoKey)?;
        let whole = [nonce.as_ref().as_slice(), &bytes].concat();
        Ok(format!("{FIRST}{}", URL_SAFE_NO_PAD.encode(whole)))
    }

    fn open(&self, about: &str, sealed: &str) -> Result<Secret, SealError> {
        let unreadable = SealError::Unreadable;
        let whole = sealed
            .strip_prefix(FIRST)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let whole = whole.filter(|whole| whole.len() > NONCE).ok_or(unreadable.clone())?;
        let (nonce, bytes) = whole.split_at(NONCE);
        let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable.clone())?;
        let mut bytes = bytes.to_vec();
        let opened = self
            .0
            .open_in_place(nonce, Aad::from(about), &mut bytes)
            .map_err(|_| unreadable.clone())?;
        String::from_utf8(opened.to_vec())
            .map(Secret::new)
            .map_err(|_| unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_what_it_was_sealed_for_and_under_its_key() {
        let seals = KeySeals::of(&fresh_key()).unwrap();
        let secret = Secret::new("ghp_secret".into());
        let sealed = seals.seal("one", &secret).unwrap();
        assert!(!sealed.contains("ghp_") && sealed != seals.seal("one", &secret).unwrap());
        assert_eq!(seals.open("one", &sealed), Ok(secret));
        assert_eq!(seals.open("two", &sealed), Err(SealError::Unreadable));
        let other = KeySeals::of(&fresh_key()).unwrap();
        assert_eq!(other.open("one", &sealed), Err(SealError::Unreadable));
        for spoiled in ["", "s1.", "s1.AAAA", &sealed[..sealed.len() - 2], &format!("{sealed}A")] {
            assert_eq!(seals.open("one", spoiled), Err(SealError::Unreadable), "{spoiled}");
        }
    }
}
