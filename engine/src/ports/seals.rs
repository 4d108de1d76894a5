//! Secrets at rest: sealed under a key that the store does not have, and bound to what they are for.

use perennial_schema::Secret;

/// Why a secret is not sealed or not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// This process has no key.
    #[error("this process has no key to keep secrets with")]
    NoKey,
    /// It was sealed under another key, for something else, or was changed since.
    #[error("a secret cannot be opened: it was sealed under another key or for something else")]
    Unreadable,
}

/// Seals and opens secrets. `about` says what a secret is for: sealed for one thing, it does not open for another.
pub trait Seals: Send + Sync {
    /// Text that may be stored.
    ///
    /// # Errors
    /// Without a key.
    fn seal(&self, about: &str, secret: &Secret) -> Result<String, SealError>;

    /// What was sealed.
    ///
    /// # Errors
    /// See [`SealError`].
    fn open(&self, about: &str, sealed: &str) -> Result<Secret, SealError>;
}

/// No key: nothing is kept.
#[derive(Clone, Copy, Debug)]
pub struct NoSeals;

impl Seals for NoSeals {
    fn seal(&self, _about: &str, _secret: &Secret) -> Result<String, SealError> {
        Err(SealError::NoKey)
    }

    fn open(&self, _about: &str, _sealed: &str) -> Result<Secret, SealError> {
        Err(SealError::NoKey)
    }
}
