//! What an executor on another machine shows: a one-time code to register with, then a token of its own. And what a process of
//! ours shows another one to reach such a machine: a pass. Only a SHA-256 of each is kept, which is enough because all are random
//! and not chosen by a person.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ExecutorId;

/// Carries the code of an executor that registers with its first connection.
pub const START_HEADER: &str = "perennial-start";

const TOKEN: &str = "xt_";
const CODE: &str = "xc_";
const PASS: &str = "xp_";
const TICKET: &str = "xk_";
/// Hexadecimal digits of a token's secret, and of a pass.
const TOKEN_DIGITS: usize = 64;
/// Hexadecimal digits of a code: short enough to be read out, far too many to be guessed within its ten minutes.
const CODE_DIGITS: usize = 32;

/// An executor's token in plaintext: `xt_<executor id>_<256 random bits>`. The id finds the row, the secret proves the holder.
/// Never printed by `Debug`.
#[derive(Clone)]
pub struct ExecutorToken {
    /// Whose. It opens nothing but this executor's tunnel.
    pub id: ExecutorId,
    text: String,
}

/// A registration code in plaintext: `xc_<128 random bits>`. Never printed by `Debug`.
#[derive(Clone)]
pub struct ExecutorCode(String);

/// A pass in plaintext: `xp_<256 random bits>`, good for one line to one executor. Never printed by `Debug`.
#[derive(Clone)]
pub struct ExecutorPass(String);

/// A ticket in plaintext: `xk_<256 random bits>`, good for opening one thing on one executor, once. Never printed by `Debug`.
#[derive(Clone)]
pub struct ExecutorTicket(String);

/// SHA-256 of the plaintext of a token, a code, a pass or a ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExecutorSecretHash(pub [u8; 32]);

/// Text that is none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an executor's {0}")]
pub struct NotAnExecutorSecret(&'static str);

impl ExecutorToken {
    /// Makes a token of an id and fresh random bytes.
    #[must_use]
    pub fn new(id: ExecutorId, random: [u8; 32]) -> Self {
        Self {
            id,
            text: format!("{TOKEN}{}_{}", id.uuid().simple(), hexadecimal(&random)),
        }
    }

    /// The plaintext, for the one place that may keep it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the database keeps.
    #[must_use]
    pub fn hash(&self) -> ExecutorSecretHash {
        hash(&self.text)
    }
}

impl ExecutorCode {
    /// Makes a code of fresh random bytes.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(format!("{CODE}{}", hexadecimal(&random)))
    }

    /// The plaintext, for whoever registers with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the database keeps.
    #[must_use]
    pub fn hash(&self) -> ExecutorSecretHash {
        hash(&self.0)
    }
}

impl ExecutorPass {
    /// Makes a pass of fresh random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(format!("{PASS}{}", hexadecimal(&random)))
    }

    /// The plaintext, for whoever dials with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the database keeps.
    #[must_use]
    pub fn hash(&self) -> ExecutorSecretHash {
        hash(&self.0)
    }
}

impl ExecutorTicket {
    /// Makes a ticket of fresh random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(format!("{TICKET}{}", hexadecimal(&random)))
    }

    /// The plaintext, for whoever opens something with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the database keeps: nothing but what it was made for has the same.
    #[must_use]
    pub fn hash(&self, what: &str) -> ExecutorSecretHash {
        hash(&format!("{} for {what}", self.0))
    }
}

impl ExecutorSecretHash {
    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, token: &ExecutorToken) -> bool {
        self.0.ct_eq(&token.hash().0).into()
    }
}

impl FromStr for ExecutorToken {
    type Err = NotAnExecutorSecret;

    fn from_str(text: &str) -> Result<Self, NotAnExecutorSecret> {
        let refused = NotAnExecutorSecret("token: it begins with xt_");
        let (id, secret) = text
            .strip_prefix(TOKEN)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(refused)?;
        let id = format!("{}_{id}", ExecutorId::PREFIX).parse().map_err(|_| refused)?;
        if !is_hexadecimal(secret, TOKEN_DIGITS) {
            return Err(refused);
        }
        Ok(Self {
            id,
            text: text.to_owned(),
        })
    }
}

impl FromStr for ExecutorTicket {
    type Err = NotAnExecutorSecret;

    fn from_str(text: &str) -> Result<Self, NotAnExecutorSecret> {
        match text.strip_prefix(TICKET) {
            Some(secret) if is_hexadecimal(secret, TOKEN_DIGITS) => Ok(Self(text.to_owned())),
            _ => Err(NotAnExecutorSecret("ticket: it begins with xk_")),
        }
    }
}

impl FromStr for ExecutorCode {
    type Err = NotAnExecutorSecret;

    fn from_str(text: &str) -> Result<Self, NotAnExecutorSecret> {
        match text.strip_prefix(CODE) {
            Some(secret) if is_hexadecimal(secret, CODE_DIGITS) => Ok(Self(text.to_owned())),
            _ => Err(NotAnExecutorSecret("code: it begins with xc_")),
        }
    }
}

impl FromStr for ExecutorPass {
    type Err = NotAnExecutorSecret;

    fn from_str(text: &str) -> Result<Self, NotAnExecutorSecret> {
        match text.strip_prefix(PASS) {
            Some(secret) if is_hexadecimal(secret, TOKEN_DIGITS) => Ok(Self(text.to_owned())),
            _ => Err(NotAnExecutorSecret("pass: it begins with xp_")),
        }
    }
}

fn hash(text: &str) -> ExecutorSecretHash {
    ExecutorSecretHash(Sha256::digest(text.as_bytes()).into())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Debug for ExecutorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExecutorToken({}, …)", self.id)
    }
}

impl fmt::Debug for ExecutorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutorCode(…)")
    }
}

impl fmt::Debug for ExecutorPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutorPass(…)")
    }
}

impl fmt::Debug for ExecutorTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutorTicket(…)")
    }
}

impl fmt::Debug for ExecutorSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutorSecretHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_token_reads_back_and_opens_its_own_hash_only() {
        let token = ExecutorToken::new(ExecutorId::from_uuid(Uuid::from_u128(7)), [3; 32]);
        let read: ExecutorToken = token.expose().parse().unwrap();
        assert_eq!(read.id, token.id);
        assert!(token.hash().matches(&read));
        let other_id = ExecutorToken::new(ExecutorId::from_uuid(Uuid::from_u128(8)), [3; 32]);
        assert!(!token.hash().matches(&ExecutorToken::new(token.id, [4; 32])) && !token.hash().matches(&other_id));
        assert!(!format!("{token:?}").contains("0303"));
    }

    #[test]
    fn a_pass_reads_back_and_is_nothing_else() {
        let pass = ExecutorPass::new([5; 32]);
        assert_eq!(pass.expose().parse::<ExecutorPass>().unwrap().hash(), pass.hash());
        assert!(!format!("{pass:?}").contains("0505"));
        assert!(pass.expose().parse::<ExecutorToken>().is_err() && pass.expose().parse::<ExecutorCode>().is_err());
        assert!(ExecutorCode::new([5; 16]).expose().parse::<ExecutorPass>().is_err());
    }

    #[test]
    fn a_code_reads_back_and_other_texts_are_neither() {
        let code = ExecutorCode::new([9; 16]);
        assert_eq!(code.expose().parse::<ExecutorCode>().unwrap().hash(), code.hash());
        assert!(!format!("{code:?}").contains("0909"));
        for text in ["", "xt_", "xc_", "xc_09", "xt_00_00", "pk_é", code.expose()] {
            assert!(text.parse::<ExecutorToken>().is_err(), "{text}");
            assert!(text == code.expose() || text.parse::<ExecutorCode>().is_err(), "{text}");
        }
    }
}
