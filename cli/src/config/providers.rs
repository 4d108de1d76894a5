//! `[providers.NAME]` and `[prices."MODEL"]`: model servers beside the two built-in ones, and what models cost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use perennial_gateway::{Price, Wire, is_name};
use secrecy::SecretString;
use serde::Deserialize;

use super::resolve::{Layers, setting, wrong};
use super::{ConfigError, CustomProvider, Origin, Setting};

/// `[providers.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderTable {
    wire: String,
    base_url: String,
    api_key_file: Option<PathBuf>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    models: Option<Vec<String>>,
}

/// `[prices."MODEL"]`, US dollars per million tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceTable {
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
}

/// The variable that holds a provider's key.
fn variable(name: &str) -> String {
    let name = name.to_ascii_uppercase().replace('-', "_");
    format!("PERENNIAL_PROVIDER_{name}_KEY")
}

/// Headers that say who we are: those are keys, and keys are not kept in this file.
const KEYS: [&str; 4] = ["authorization", "x-api-key", "api-key", "cookie"];

impl Layers<'_> {
    pub(super) fn providers(
        &self,
        tables: BTreeMap<String, ProviderTable>,
    ) -> Result<BTreeMap<String, CustomProvider>, ConfigError> {
        let read = |(name, table): (String, ProviderTable)| {
            let provider = self.custom(&name, table)?;
            Ok((name, provider))
        };
        tables.into_iter().map(read).collect()
    }

    fn custom(&self, name: &str, table: ProviderTable) -> Result<CustomProvider, ConfigError> {
        let key = |member: &str| Origin::Table(format!("providers.{name}.{member}"));
        if !is_name(name) || matches!(name, "anthropic" | "openai") {
            let expected = "a name of its own, of a-z, 0-9, - and _ (anthropic and openai have sections of their own)";
            return Err(wrong(&Origin::Table("providers".to_owned()), name, expected));
        }
        let wire: Wire = table
            .wire
            .parse()
            .map_err(|_| wrong(&key("wire"), &table.wire, "messages, responses or chat"))?;
        let url = &table.base_url;
        if !(url.starts_with("http://") || url.starts_with("https://")) || url.contains('@') || url.contains('?') {
            let expected = "a URL that begins with http:// or https://, without a password or a query";
            return Err(wrong(&key("base_url"), url, expected));
        }
        if let Some(header) = table.headers.keys().find(|name| {
            let name = name.to_ascii_lowercase();
            KEYS.contains(&name.as_str())
        }) {
            let expected = format!("no key in this file: set {} or api_key_file", variable(name));
            return Err(wrong(&key("headers"), header, &expected));
        }
        Ok(CustomProvider {
            wire,
            base_url: setting(table.base_url, key("base_url")),
            key: self.custom_key(name, table.api_key_file)?,
            headers: table.headers,
            models: table.models,
        })
    }

    fn custom_key(&self, name: &str, file: Option<PathBuf>) -> Result<Option<Setting<SecretString>>, ConfigError> {
        let (plain, in_file) = (variable(name), format!("{}_FILE", variable(name)));
        let found = self.secret(None, &plain, &in_file, None)?;
        match (found, file) {
            (Some(key), _) => Ok(Some(key)),
            (None, Some(path)) => {
                let from = Origin::Table(format!("providers.{name}.api_key_file"));
                Ok(Some(setting(super::resolve::read_secret(&path, &from)?, from)))
            }
            (None, None) => Ok(None),
        }
    }
}

/// A price table without nonsense in it. What is not said about the cache is what providers usually ask: a tenth of a read,
/// and a quarter more for a write.
pub(super) fn prices(tables: BTreeMap<String, PriceTable>) -> Result<BTreeMap<String, Price>, ConfigError> {
    let read = |(model, table): (String, PriceTable)| {
        let price = Price {
            input: table.input,
            output: table.output,
            cache_read: table.cache_read.unwrap_or(table.input * 0.1),
            cache_write: table.cache_write.unwrap_or(table.input * 1.25),
        };
        let all = [price.input, price.output, price.cache_read, price.cache_write];
        match all.iter().find(|price| !(0.0..=1_000_000.0).contains(*price)) {
            None => Ok((model, price)),
            Some(bad) => {
                let from = Origin::Table(format!("prices.{model:?}"));
                Err(wrong(&from, &bad.to_string(), "US dollars per million tokens"))
            }
        }
    };
    tables.into_iter().map(read).collect()
}
