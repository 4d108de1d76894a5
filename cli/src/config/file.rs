//! `perennial.toml`: its shape. Unknown keys are errors that name the key and its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::acp::AcpTable;
use super::context::ContextSection;
use super::harness::HarnessSection;
use super::pool::PoolSection;
use super::providers::{PriceTable, ProviderTable};
use super::sandbox::SandboxSection;
use super::webhooks::WebhooksSection;
use super::{ConfigError, Environment, Flags};
use crate::paths;

/// The file's keys; all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) listen: Option<String>,
    pub(super) advertise: Option<String>,
    pub(super) preview_url: Option<String>,
    pub(super) metrics_listen: Option<String>,
    pub(super) keda_listen: Option<String>,
    pub(super) otlp_endpoint: Option<String>,
    pub(super) allow_local: Option<bool>,
    pub(super) slots: Option<u32>,
    pub(super) traces_days: Option<u32>,
    pub(super) default_model: Option<String>,
    pub(super) claude: Option<PathBuf>,
    pub(super) codex: Option<PathBuf>,
    pub(super) log: Option<String>,
    pub(super) log_json: Option<bool>,
    #[serde(default)]
    pub(super) pool: PoolSection,
    #[serde(default)]
    pub(super) lease: Lease,
    #[serde(default)]
    pub(super) database: DatabaseConfig,
    #[serde(default)]
    pub(super) nats: NatsConfig,
    #[serde(default)]
    pub(super) sandbox: SandboxSection,
    #[serde(default)]
    pub(super) anthropic: ProviderConfig,
    #[serde(default)]
    pub(super) openai: ProviderConfig,
    #[serde(default)]
    pub(super) client: ClientConfig,
    pub(super) gateway_url: Option<String>,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, ProviderTable>,
    #[serde(default)]
    pub(super) context: ContextSection,
    #[serde(default)]
    pub(super) harness: HarnessSection,
    #[serde(default)]
    pub(super) prices: BTreeMap<String, PriceTable>,
    #[serde(default)]
    pub(super) webhooks: WebhooksSection,
    #[serde(default)]
    pub(super) acp: BTreeMap<String, AcpTable>,
}

/// `[lease]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub(super) ttl_ms: Option<u64>,
    pub(super) renew_ms: Option<u64>,
    pub(super) sweep_ms: Option<u64>,
}

/// `[database]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatabaseConfig {
    pub(super) url_file: Option<PathBuf>,
    pub(super) direct_url_file: Option<PathBuf>,
    pub(super) schema: Option<String>,
    pub(super) idle_transaction_s: Option<u64>,
}

/// `[nats]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NatsConfig {
    pub(super) url_file: Option<PathBuf>,
    pub(super) prefix: Option<String>,
}

/// `[anthropic]`, `[openai]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderConfig {
    pub(super) base_url: Option<String>,
    pub(super) api_key_file: Option<PathBuf>,
}

/// `[client]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientConfig {
    pub(super) url: Option<String>,
    pub(super) key_file: Option<PathBuf>,
}

/// Reads the file the flags or the environment name, which must exist, or else the default one if it does.
pub(super) fn load(flags: &Flags, environment: &Environment) -> Result<(Option<PathBuf>, FileConfig), ConfigError> {
    let named = match &flags.config {
        Some(path) => Some(("--config", path.clone())),
        None => environment
            .get("PERENNIAL_CONFIG")
            .map(|path| ("PERENNIAL_CONFIG", PathBuf::from(path))),
    };
    let default = || paths::default_config_file(environment).filter(|path| path.exists());
    let Some((name, path)) = named.or_else(|| Some(("perennial.toml", default()?))) else {
        return Ok((None, FileConfig::default()));
    };
    let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable {
        name: name.to_owned(),
        path: path.clone(),
        source,
    })?;
    let config = parse(&path, &text)?;
    Ok((Some(path), config))
}

pub(super) fn parse(path: &Path, text: &str) -> Result<FileConfig, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let mut message = error.to_string().trim_end().to_owned();
        if message.contains("unknown field `api_key`") || message.contains("unknown field `key`") {
            message.push_str(
                "\nsecrets are not kept in this file: name a file with api_key_file or key_file, or set the variable",
            );
        }
        ConfigError::File {
            path: path.to_owned(),
            message,
        }
    })
}
