//! Opaque page cursors. A cursor binds the list it belongs to (route, tenant, order) and says where to go on; anything else
//! is a 400, never a silently wrong page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;
use crate::limits::CURSOR_BYTES;
use crate::query::Query;

/// What a cursor must have been made for: list, tenant and order, e.g. `sessions wrkspc_… desc`.
pub(crate) struct Binding(String);

impl Binding {
    pub(crate) fn new(list: &str, owner: impl std::fmt::Display, ascending: bool) -> Self {
        Self(format!("{list} {owner} {}", if ascending { "asc" } else { "desc" }))
    }

    /// Writes a cursor for a position.
    pub(crate) fn write(&self, position: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {position}", self.tag(position)))
    }

    /// Reads `page`.
    ///
    /// # Errors
    /// 400 for a garbled cursor or one of another list or order.
    pub(crate) fn read(&self, query: &Query) -> Result<Option<String>, ApiError> {
        let Some(text) = query.one("page") else { return Ok(None) };
        let refuse = || {
            ApiError::field(
                "page",
                "not a cursor of this list in this order; use next_page of the previous answer with the same parameters, or leave it out",
            )
        };
        if text.len() > CURSOR_BYTES {
            return Err(refuse());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse())?;
        let plain = String::from_utf8(bytes).map_err(|_| refuse())?;
        let (tag, position) = plain.split_once(' ').ok_or_else(refuse)?;
        if tag != self.tag(position) {
            return Err(refuse());
        }
        Ok(Some(position.to_owned()))
    }

    /// A checksum over binding and position: tells a foreign or damaged cursor, it is no secret.
    fn tag(&self, position: &str) -> String {
        let hash = Sha256::digest(format!("{}\n{position}", self.0));
        crate::body::hex(hash.get(..6).unwrap_or_default())
    }
}

/// Splits a position of the form `micros id`.
///
/// # Errors
/// 400 when it has another form (a cursor of another build).
pub(crate) fn time_and_id<T: std::str::FromStr>(position: &str) -> Result<(perennial_schema::Timestamp, T), ApiError> {
    let refuse = || ApiError::field("page", "not a cursor of this list");
    let (micros, id) = position.split_once(' ').ok_or_else(refuse)?;
    let micros = micros.parse().map_err(|_| refuse())?;
    let id = id.parse().map_err(|_| refuse())?;
    Ok((perennial_schema::Timestamp::from_micros(micros), id))
}

/// Cuts a listing that was read with one item too many, and says whether there was one.
pub(crate) fn cut<T>(items: &mut Vec<T>, limit: u32) -> bool {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    more
}
