//! The process's environment as a value, and the variables we know.

use std::collections::BTreeMap;

/// Every `PERENNIAL_*` variable that means something, for `doctor` to find misspelt ones. An unknown one is no error:
/// orchestrators set some by themselves (`PERENNIAL_SERVICE_HOST` for a service of that name).
const KNOWN_VARIABLES: &[&str] = &[
    "PERENNIAL_ADVERTISE",
    "PERENNIAL_ALLOW_LOCAL",
    "PERENNIAL_BIN",
    "PERENNIAL_CLAUDE_BIN",
    "PERENNIAL_CODEX_BIN",
    "PERENNIAL_COMPACT_PERCENT",
    "PERENNIAL_CONTEXT_WINDOW",
    "PERENNIAL_CONFIG",
    "PERENNIAL_DATABASE_DIRECT_URL",
    "PERENNIAL_DATABASE_DIRECT_URL_FILE",
    "PERENNIAL_DATABASE_SCHEMA",
    "PERENNIAL_DATABASE_URL",
    "PERENNIAL_DATABASE_URL_FILE",
    "PERENNIAL_DATA_DIR",
    "PERENNIAL_DEFAULT_MODEL",
    "PERENNIAL_DOCKER",
    "PERENNIAL_GATEWAY_URL",
    "PERENNIAL_HARNESS_PROCESSES",
    "PERENNIAL_HARNESS_PROCESS_MB",
    "PERENNIAL_HARNESS_RESTING",
    "PERENNIAL_HARNESS_RESTING_MB",
    "PERENNIAL_HARNESS_REST_MS",
    "PERENNIAL_IDLE_TRANSACTION_S",
    "PERENNIAL_KEDA_LISTEN",
    "PERENNIAL_KEY",
    "PERENNIAL_KEY_FILE",
    "PERENNIAL_KILL_AT",
    "PERENNIAL_LEASE_TTL_MS",
    "PERENNIAL_LISTEN",
    "PERENNIAL_LOG",
    "PERENNIAL_LOG_JSON",
    "PERENNIAL_MAX_WORKERS",
    "PERENNIAL_METRICS_LISTEN",
    "PERENNIAL_MIN_WORKERS",
    "PERENNIAL_NATS_PREFIX",
    "PERENNIAL_NATS_URL",
    "PERENNIAL_NATS_URL_FILE",
    "PERENNIAL_OTLP_ENDPOINT",
    "PERENNIAL_OLDER_THAN",
    "PERENNIAL_POOL_IDLE_MS",
    "PERENNIAL_PREVIEW_URL",
    "PERENNIAL_RENEW_MS",
    "PERENNIAL_REQUIRE_ALL",
    "PERENNIAL_SABOTAGE",
    "PERENNIAL_SANDBOX_EXECUTOR",
    "PERENNIAL_SANDBOX_IMAGE",
    "PERENNIAL_SANDBOX_LOST_AFTER",
    "PERENNIAL_SEAL_KEY",
    "PERENNIAL_SEAL_KEY_FILE",
    "PERENNIAL_SLOTS",
    "PERENNIAL_STALL_AT",
    "PERENNIAL_SWEEP_MS",
    "PERENNIAL_TRACES_DAYS",
    "PERENNIAL_URL",
    "PERENNIAL_WEBHOOKS_ALLOW_HOSTS",
    "PERENNIAL_WORKSPACE_SLOTS",
];

/// Variables by name. An empty value counts as not set.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `PERENNIAL_*` variables that mean nothing to this build.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let ours = self.0.keys().filter(|name| name.starts_with("PERENNIAL_"));
        let provider = |name: &str| name.starts_with("PERENNIAL_PROVIDER_");
        ours.map(String::as_str)
            .filter(move |name| !KNOWN_VARIABLES.contains(name) && !provider(name))
    }

    /// An environment of these variables.
    #[cfg(test)]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(variables.iter().map(own).collect())
    }
}

/// This process's environment; variables that are not UTF-8 are left out.
pub fn environment() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment(std::env::vars_os().filter_map(text).collect())
}
