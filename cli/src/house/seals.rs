//! The key that tokens of resources are kept under: what the operator sets, or beside an embedded database a file of its own.

use std::sync::Arc;

use anyhow::{Context, Result};
use perennial_broker::seals::KeySeals;
use perennial_engine::ports::Seals;
use secrecy::ExposeSecret;

use super::files;
use crate::config::{ConfigError, Settings};

/// Fewest characters of a key: fewer can be guessed.
const LEAST: usize = 32;

/// Under the operator's key, which every process of a cluster needs.
pub fn given(settings: &Settings) -> Result<Option<Arc<dyn Seals>>> {
    let Some(key) = &settings.seal_key else { return Ok(None) };
    let text = key.value.expose_secret().trim();
    if text.len() < LEAST {
        return Err(ConfigError::Value {
            name: key.from.to_string(),
            value: "(secret)".into(),
            expected: format!("at least {LEAST} random characters"),
        }
        .into());
    }
    of(text).map(Some)
}

/// The same, or under the key of the data directory, which is made when there is none.
pub fn embedded(settings: &Settings) -> Result<Arc<dyn Seals>> {
    match given(settings)? {
        Some(seals) => Ok(seals),
        None => of(&files::seal_key(&settings.data_dir.value)?),
    }
}

fn of(text: &str) -> Result<Arc<dyn Seals>> {
    let seals = KeySeals::of(text).context("the key for secrets is not usable")?;
    Ok(Arc::new(seals))
}
