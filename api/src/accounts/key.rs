//! API keys: `pk_<key id>_<256 random bits>`. The id finds the row, the secret proves the holder; the database keeps only a
//! hash. A plain SHA-256 is enough because the secret is random, not chosen by a person.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perennial_schema::KeyId;
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a key begins with, and what a login of the console.
const KEY: &str = "pk_";
const LOGIN: &str = "pl_";

/// A key in plaintext. Never printed by `Debug`.
#[derive(Clone)]
pub struct Secret {
    /// Finds the row.
    pub id: KeyId,
    text: String,
}

/// SHA-256 of a key's plaintext.
#[derive(Clone, Copy)]
pub struct SecretHash(pub [u8; 32]);

/// Text that is not a key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key of this server: it begins with pk_")]
pub struct NotAKey;

impl Secret {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, rand::rand_core::OsError> {
        Self::random(KEY)
    }

    /// Makes a login of the console. It is a key that only a cookie may carry: as a key it does not parse, and its hash is that
    /// of no key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn login() -> Result<Self, rand::rand_core::OsError> {
        Self::random(LOGIN)
    }

    /// A login as its cookie has it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_login(text: &str) -> Result<Self, NotAKey> {
        Self::parse(LOGIN, text)
    }

    fn random(prefix: &str) -> Result<Self, rand::rand_core::OsError> {
        let mut id = [0_u8; 16];
        let mut secret = [0_u8; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut id)?;
        rand::rngs::OsRng.try_fill_bytes(&mut secret)?;
        let id = KeyId::from_uuid(uuid::Uuid::from_bytes(id));
        let text = format!("{prefix}{}_{}", id.uuid().simple(), URL_SAFE_NO_PAD.encode(secret));
        Ok(Self { id, text })
    }

    fn parse(prefix: &str, text: &str) -> Result<Self, NotAKey> {
        let (id, secret) = text
            .strip_prefix(prefix)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(NotAKey)?;
        let id = format!("key_{id}").parse().map_err(|_| NotAKey)?;
        if secret.len() != 43 {
            return Err(NotAKey);
        }
        Ok(Self {
            id,
            text: text.to_owned(),
        })
    }

    /// The plaintext, for the one place that may keep it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the database keeps.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.text.as_bytes()).into())
    }
}

impl SecretHash {
    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, secret: &Secret) -> bool {
        self.0.ct_eq(&secret.hash().0).into()
    }
}

impl FromStr for Secret {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        Self::parse(KEY, text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, …)", self.id)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_round_trips_and_proves_itself() {
        let key = Secret::generate().unwrap();
        let again: Secret = key.expose().parse().unwrap();
        assert_eq!(again.id, key.id);
        assert!(key.hash().matches(&again));
        assert!(!Secret::generate().unwrap().hash().matches(&key));
        assert!(!format!("{key:?}").contains(key.expose()));
    }

    #[test]
    fn a_login_is_no_key_and_a_key_is_no_login() {
        let (key, login) = (Secret::generate().unwrap(), Secret::login().unwrap());
        assert!(login.expose().parse::<Secret>().is_err());
        assert!(Secret::parse_login(key.expose()).is_err());
        let as_key = login.expose().replacen(LOGIN, KEY, 1).parse::<Secret>().unwrap();
        assert!(!login.hash().matches(&as_key), "another prefix makes another secret");
        assert!(login.hash().matches(&Secret::parse_login(login.expose()).unwrap()));
    }

    #[test]
    fn foreign_text_is_no_key() {
        for text in ["", "pk_", "sk-ant-xyz", "pk_00_00", "pk_zz_", "pk_é_é"] {
            assert!(text.parse::<Secret>().is_err(), "{text}");
        }
    }
}
