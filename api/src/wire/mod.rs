//! What clients send and what they are shown, where that is more than the vocabulary's own types.

pub(crate) mod agent;
pub(crate) mod attachment;
pub(crate) mod budget;
pub(crate) mod diff;
pub(crate) mod environment;
pub(crate) mod environment_key;
pub(crate) mod event;
pub(crate) mod executor;
pub(crate) mod mail;
pub(crate) mod mcp;
pub(crate) mod metadata;
pub(crate) mod meter;
pub(crate) mod resource;
pub(crate) mod servers;
pub(crate) mod session;
pub(crate) mod tools;
pub(crate) mod webhook;
pub(crate) mod work;
pub(crate) mod worker;

use serde::Serialize;

use crate::error::ApiError;

/// A page of a list.
#[derive(Serialize)]
pub(crate) struct Page<T> {
    pub data: Vec<T>,
    pub next_page: Option<String>,
}

/// What a delete answers.
#[derive(Serialize)]
pub(crate) struct Deleted {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Checks a text's length in characters.
pub(crate) fn length(path: &str, text: &str, least: usize, most: usize) -> Result<(), ApiError> {
    let count = text.chars().count();
    if count < least {
        return Err(ApiError::field(path, "must not be empty"));
    }
    if count > most {
        return Err(ApiError::field(
            path,
            format!("{count} characters, at most {most} are allowed"),
        ));
    }
    Ok(())
}

/// Checks a list's length.
pub(crate) fn count(path: &str, given: usize, most: usize) -> Result<(), ApiError> {
    if given > most {
        return Err(ApiError::field(
            path,
            format!("{given} entries, at most {most} are allowed"),
        ));
    }
    Ok(())
}
