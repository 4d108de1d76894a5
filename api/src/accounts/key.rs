//! API keys: `pk_<key id>_<256 random bits>`. The id finds the row, the secret proves the holder; the database keeps only a
//! hash. A plain SHA-256 is enough because the secret is random, not chosen by a person.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perennial_schema::{KeyId, WorkId};
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a key begins with, a login of the console, a key of an environment's workers, and the token of one piece of their work.
const KEY: &str = "pk_";
const LOGIN: &str = "pl_";
const ENVIRONMENT: &str = "pe_";
const WORK: &str = "wt_";

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

    /// Makes a key of an environment's workers. It opens what they need and nothing else: as a key it does not parse.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn environment(id: KeyId) -> Result<Self, rand::rand_core::OsError> {
        Self::of(ENVIRONMENT, id)
    }

    /// Such a key as a worker shows it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_environment(text: &str) -> Result<Self, NotAKey> {
        Self::parse(ENVIRONMENT, text)
    }

    /// Makes the token of a piece of work.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn work(id: WorkId) -> Result<Self, rand::rand_core::OsError> {
        Self::of(WORK, KeyId::from_uuid(id.uuid()))
    }

    /// Such a token as a worker shows it, and the piece of work it is for.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_work(text: &str) -> Result<(WorkId, Self), NotAKey> {
        let token = Self::parse(WORK, text)?;
        Ok((WorkId::from_uuid(token.id.uuid()), token))
    }

    fn random(prefix: &str) -> Result<Self, rand::rand_core::OsError> {
        let mut id = [0_u8; 16];
        rand::rngs::OsRng.try_fill_bytes(&mut id)?;
        Self::of(prefix, KeyId::from_uuid(uuid::Uuid::from_bytes(id)))
    }

    fn of(prefix: &str, id: KeyId) -> Result<Self, rand::rand_core::OsError> {
        let mut secret = [0_u8; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut secret)?;
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
    fn what_workers_show_is_no_key_of_the_server() {
        let id = KeyId::from_uuid(uuid::Uuid::from_u128(5));
        let (environment, work) = (
            Secret::environment(id).unwrap(),
            Secret::work(WorkId::from_uuid(id.uuid())).unwrap(),
        );
        for secret in [&environment, &work] {
            assert!(secret.expose().parse::<Secret>().is_err());
            assert!(Secret::parse_login(secret.expose()).is_err());
        }
        assert!(Secret::parse_work(environment.expose()).is_err() && Secret::parse_environment(work.expose()).is_err());
        let (of, again) = Secret::parse_work(work.expose()).unwrap();
        assert!(of.uuid() == id.uuid() && work.hash().matches(&again));
        let as_key = environment
            .expose()
            .replacen(ENVIRONMENT, KEY, 1)
            .parse::<Secret>()
            .unwrap();
        assert!(
            !environment.hash().matches(&as_key),
            "another prefix makes another secret"
        );
    }

    #[test]
    fn foreign_text_is_no_key() {
        for text in ["", "pk_", "sk-ant-xyz", "pk_00_00", "pk_zz_", "pk_é_é"] {
            assert!(text.parse::<Secret>().is_err(), "{text}");
        }
    }
}
