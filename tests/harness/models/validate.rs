//! What vendors refuse, and what we never send though they would take it.

use perennial_rehearsal::validate;
pub use perennial_rehearsal::validate::{Checked, Issued, chat};
use serde_json::Value;

/// Checks a Messages request.
///
/// # Errors
/// What is wrong, in words.
pub fn anthropic(body: &Value, issued: &Issued) -> Checked {
    validate::messages(body, issued)
}

/// Checks a Responses request of ours: the vendor is to store nothing.
///
/// # Errors
/// What is wrong, in words.
pub fn openai(body: &Value, issued: &Issued) -> Checked {
    if body["store"] != false {
        return Err("store: nothing is to be stored".into());
    }
    validate::responses(body, issued)
}
