//! Putting the layers together: flag, then variable, then file, then default.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use perennial_api::Previews;

use super::file::{self, DatabaseConfig, FileConfig, NatsConfig, ProviderConfig};
use super::providers::prices;
use super::{ConfigError, Database, Environment, Flags, Nats, Origin, Provider, Setting, Settings};
use crate::paths;

const DEFAULT_LISTEN: &str = "127.0.0.1:7340";
const DEFAULT_SLOTS: u32 = 64;
const DEFAULT_TRACES_DAYS: u32 = 30;
const DEFAULT_LEASE_TTL_MS: u64 = 15_000;
const DEFAULT_RENEW_MS: u64 = 5_000;
const DEFAULT_SWEEP_MS: u64 = 2_000;
const DEFAULT_IDLE_TRANSACTION_S: u64 = 300;
const DEFAULT_NATS_PREFIX: &str = "perennial";
const ANTHROPIC_URL: &str = "https://api.anthropic.com";
const OPENAI_URL: &str = "https://api.openai.com/v1";

impl Settings {
    /// Resolves every setting; the first one that is wrong is the error.
    pub fn resolve(flags: &Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let (path, file) = file::load(flags, environment)?;
        Self::layered(flags, environment, path, file)
    }

    fn layered(
        flags: &Flags,
        environment: &Environment,
        path: Option<PathBuf>,
        file: FileConfig,
    ) -> Result<Self, ConfigError> {
        let layers = Layers { environment };
        let listen = layers.text(
            flags.listen.clone().map(|value| (value, "--listen")),
            "PERENNIAL_LISTEN",
            file.listen.map(|value| (value, "listen")),
        );
        let data_dir = layers.path(
            flags.data_dir.clone().map(|value| (value, "--data-dir")),
            "PERENNIAL_DATA_DIR",
            file.data_dir.map(|value| (value, "data_dir")),
        );
        let data_dir = match data_dir {
            Some(setting) => setting,
            None => by_default(paths::default_data_dir(environment).ok_or(ConfigError::NoDataDir)?),
        };
        Ok(Self {
            file: path,
            data_dir,
            listen: parsed(
                listen.unwrap_or_else(|| by_default(DEFAULT_LISTEN.to_owned())),
                "ADDRESS:PORT",
            )?,
            advertise: layers.url_of(
                flags.advertise.clone().map(|value| (value, "--advertise")),
                "PERENNIAL_ADVERTISE",
                file.advertise.map(|value| (value, "advertise")),
            )?,
            previews: layers.previews(flags, file.preview_url)?,
            metrics_listen: layers
                .text(
                    flags.metrics_listen.clone().map(|value| (value, "--metrics-listen")),
                    "PERENNIAL_METRICS_LISTEN",
                    file.metrics_listen.map(|value| (value, "metrics_listen")),
                )
                .map(|text| parsed(text, "ADDRESS:PORT"))
                .transpose()?,
            keda_listen: layers
                .text(
                    flags.keda_listen.clone().map(|value| (value, "--keda-listen")),
                    "PERENNIAL_KEDA_LISTEN",
                    file.keda_listen.map(|value| (value, "keda_listen")),
                )
                .map(|text| parsed(text, "ADDRESS:PORT"))
                .transpose()?,
            pool: layers.pool(flags, &file.pool)?,
            otlp: layers.otlp(flags, file.otlp_endpoint)?,
            allow_local: layers.switch(
                flags.allow_local.then_some((true, "--allow-local")),
                "PERENNIAL_ALLOW_LOCAL",
                file.allow_local.map(|value| (value, "allow_local")),
            )?,
            slots: layers.number(
                flags.slots.map(|value| (value, "--slots")),
                "PERENNIAL_SLOTS",
                file.slots.map(|value| (value, "slots")),
                DEFAULT_SLOTS,
            )?,
            traces_days: layers.number(
                None,
                "PERENNIAL_TRACES_DAYS",
                file.traces_days.map(|value| (value, "traces_days")),
                DEFAULT_TRACES_DAYS,
            )?,
            lease_ttl_ms: layers.number(
                flags.lease_ttl_ms.map(|value| (value, "--lease-ttl-ms")),
                "PERENNIAL_LEASE_TTL_MS",
                file.lease.ttl_ms.map(|value| (value, "lease.ttl_ms")),
                DEFAULT_LEASE_TTL_MS,
            )?,
            renew_ms: layers.number(
                flags.renew_ms.map(|value| (value, "--renew-ms")),
                "PERENNIAL_RENEW_MS",
                file.lease.renew_ms.map(|value| (value, "lease.renew_ms")),
                DEFAULT_RENEW_MS,
            )?,
            sweep_ms: layers.number(
                flags.sweep_ms.map(|value| (value, "--sweep-ms")),
                "PERENNIAL_SWEEP_MS",
                file.lease.sweep_ms.map(|value| (value, "lease.sweep_ms")),
                DEFAULT_SWEEP_MS,
            )?,
            database: layers.database(flags, file.database)?,
            nats: layers.nats(flags, file.nats)?,
            sandbox: layers.sandbox(flags, file.sandbox)?,
            default_model: optional(layers.text(
                None,
                "PERENNIAL_DEFAULT_MODEL",
                file.default_model.map(|value| (value, "default_model")),
            )),
            anthropic: layers.provider(&ANTHROPIC, file.anthropic)?,
            openai: layers.provider(&OPENAI, file.openai)?,
            providers: layers.providers(file.providers)?,
            prices: prices(file.prices)?,
            windows: layers.windows(file.context)?,
            harness: layers.harness(&file.harness)?,
            gateway_url: layers.gateway_url(flags, file.gateway_url)?,
            claude: layers.program(
                "claude",
                "PERENNIAL_CLAUDE_BIN",
                file.claude.map(|value| (value, "claude")),
            ),
            acp: layers.acp(file.acp)?,
            codex: layers.program("codex", "PERENNIAL_CODEX_BIN", file.codex.map(|value| (value, "codex"))),
            url: layers.text(
                flags.url.clone().map(|value| (value, "--url")),
                "PERENNIAL_URL",
                file.client.url.map(|value| (value, "client.url")),
            ),
            key: layers.secret(
                None,
                "PERENNIAL_KEY",
                "PERENNIAL_KEY_FILE",
                file.client.key_file.map(|path| (path, "client.key_file")),
            )?,
            webhook_hosts: layers.webhook_hosts(&file.webhooks),
            seal_key: layers.secret(None, "PERENNIAL_SEAL_KEY", "PERENNIAL_SEAL_KEY_FILE", None)?,
            log: optional(layers.text(None, "PERENNIAL_LOG", file.log.map(|value| (value, "log")))),
            log_json: layers.switch(
                None,
                "PERENNIAL_LOG_JSON",
                file.log_json.map(|value| (value, "log_json")),
            )?,
            color: environment.get("NO_COLOR").is_none(),
        })
    }
}

/// The names of a provider's settings.
struct ProviderNames {
    key: &'static str,
    key_file: &'static str,
    key_file_in_file: &'static str,
    base_url: &'static str,
    base_url_in_file: &'static str,
    default_url: &'static str,
}

const ANTHROPIC: ProviderNames = ProviderNames {
    key: "ANTHROPIC_API_KEY",
    key_file: "ANTHROPIC_API_KEY_FILE",
    key_file_in_file: "anthropic.api_key_file",
    base_url: "ANTHROPIC_BASE_URL",
    base_url_in_file: "anthropic.base_url",
    default_url: ANTHROPIC_URL,
};

const OPENAI: ProviderNames = ProviderNames {
    key: "OPENAI_API_KEY",
    key_file: "OPENAI_API_KEY_FILE",
    key_file_in_file: "openai.api_key_file",
    base_url: "OPENAI_BASE_URL",
    base_url_in_file: "openai.base_url",
    default_url: OPENAI_URL,
};

/// A value and the flag or key that named it.
pub(super) type Named<T> = Option<(T, &'static str)>;

pub(super) struct Layers<'a> {
    pub(super) environment: &'a Environment,
}

impl Layers<'_> {
    pub(super) fn text(&self, flag: Named<String>, variable: &str, file: Named<String>) -> Option<Setting<String>> {
        let flag = flag.map(|(value, name)| setting(value, Origin::Flag(name)));
        let variable = || {
            let value = self.environment.get(variable)?.to_owned();
            Some(setting(value, Origin::Variable(variable.to_owned())))
        };
        flag.or_else(variable)
            .or_else(|| file.map(|(value, name)| setting(value, Origin::File(name))))
    }

    pub(super) fn path(&self, flag: Named<PathBuf>, variable: &str, file: Named<PathBuf>) -> Option<Setting<PathBuf>> {
        let flag = flag.map(|(value, name)| setting(value, Origin::Flag(name)));
        let variable = || {
            let value = PathBuf::from(self.environment.get(variable)?);
            Some(setting(value, Origin::Variable(variable.to_owned())))
        };
        flag.or_else(variable)
            .or_else(|| file.map(|(value, name)| setting(value, Origin::File(name))))
    }

    /// A program: the path that is named, a bare name looked up in `PATH`, or `usual` if it is there.
    fn program(&self, usual: &str, variable: &str, file: Named<PathBuf>) -> Setting<Option<PathBuf>> {
        match self.path(None, variable, file) {
            Some(named) if named.value.components().count() == 1 => {
                let found = self.look_up(&named.value);
                setting(Some(found.unwrap_or(named.value)), named.from)
            }
            Some(named) => setting(Some(named.value), named.from),
            None => by_default(self.look_up(Path::new(usual))),
        }
    }

    pub(super) fn look_up(&self, name: &Path) -> Option<PathBuf> {
        let path = self.environment.get("PATH")?;
        std::env::split_paths(path)
            .map(|folder| folder.join(name))
            .find(|candidate| candidate.is_absolute() && candidate.is_file())
    }

    pub(super) fn number<N: Number>(
        &self,
        flag: Named<N>,
        variable: &str,
        file: Named<N>,
        default: N,
    ) -> Result<Setting<N>, ConfigError> {
        let found = if let Some((value, name)) = flag {
            setting(value, Origin::Flag(name))
        } else if let Some(text) = self.environment.get(variable) {
            parsed(
                setting(text.to_owned(), Origin::Variable(variable.to_owned())),
                N::EXPECTED,
            )?
        } else if let Some((value, name)) = file {
            setting(value, Origin::File(name))
        } else {
            by_default(default)
        };
        if found.value == N::ZERO {
            return Err(wrong(&found.from, "0", N::EXPECTED));
        }
        Ok(found)
    }

    /// A number that need not be given.
    pub(super) fn maybe_number<N: Number>(
        &self,
        flag: Named<N>,
        variable: &str,
        file: Named<N>,
    ) -> Result<Option<Setting<N>>, ConfigError> {
        let there = flag.is_some() || file.is_some() || self.environment.get(variable).is_some();
        there.then(|| self.number(flag, variable, file, N::ZERO)).transpose()
    }

    fn switch(&self, flag: Named<bool>, variable: &str, file: Named<bool>) -> Result<Setting<bool>, ConfigError> {
        if let Some((value, name)) = flag {
            return Ok(setting(value, Origin::Flag(name)));
        }
        if let Some(text) = self.environment.get(variable) {
            let from = Origin::Variable(variable.to_owned());
            return match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Ok(setting(true, from)),
                "0" | "false" | "no" | "off" => Ok(setting(false, from)),
                _ => Err(wrong(&from, text, "true or false")),
            };
        }
        Ok(file.map_or_else(|| by_default(false), |(value, name)| setting(value, Origin::File(name))))
    }

    /// A secret: the variable itself, or a file that a variable or `perennial.toml` names.
    pub(super) fn secret(
        &self,
        flag: Named<String>,
        variable: &str,
        file_variable: &str,
        file: Named<PathBuf>,
    ) -> Result<Option<Setting<SecretString>>, ConfigError> {
        if let Some((value, name)) = flag {
            return Ok(Some(setting(SecretString::from(value), Origin::Flag(name))));
        }
        if let Some(value) = self.environment.get(variable) {
            let secret = SecretString::from(value.to_owned());
            return Ok(Some(setting(secret, Origin::Variable(variable.to_owned()))));
        }
        self.path(None, file_variable, file)
            .map(|path| Ok(setting(read_secret(&path.value, &path.from)?, path.from)))
            .transpose()
    }

    fn provider(&self, names: &ProviderNames, file: ProviderConfig) -> Result<Provider, ConfigError> {
        let base_url = self
            .text(
                None,
                names.base_url,
                file.base_url.map(|url| (url, names.base_url_in_file)),
            )
            .unwrap_or_else(|| by_default(names.default_url.to_owned()));
        if !base_url.value.starts_with("http://") && !base_url.value.starts_with("https://") {
            return Err(wrong(
                &base_url.from,
                &base_url.value,
                "a URL that begins with http:// or https://",
            ));
        }
        let key_file = file.api_key_file.map(|path| (path, names.key_file_in_file));
        Ok(Provider {
            base_url,
            key: self.secret(None, names.key, names.key_file, key_file)?,
        })
    }
}

impl Layers<'_> {
    fn database(&self, flags: &Flags, file: DatabaseConfig) -> Result<Option<Database>, ConfigError> {
        let url = self.secret(
            flags.database_url.clone().map(|url| (url, "--database-url")),
            "PERENNIAL_DATABASE_URL",
            "PERENNIAL_DATABASE_URL_FILE",
            file.url_file.map(|path| (path, "database.url_file")),
        )?;
        let direct_url = self.secret(
            flags
                .database_direct_url
                .clone()
                .map(|url| (url, "--database-direct-url")),
            "PERENNIAL_DATABASE_DIRECT_URL",
            "PERENNIAL_DATABASE_DIRECT_URL_FILE",
            file.direct_url_file.map(|path| (path, "database.direct_url_file")),
        )?;
        let schema = self.text(
            flags
                .database_schema
                .clone()
                .map(|schema| (schema, "--database-schema")),
            "PERENNIAL_DATABASE_SCHEMA",
            file.schema.map(|schema| (schema, "database.schema")),
        );
        let idle_transaction_s = self.number(
            None,
            "PERENNIAL_IDLE_TRANSACTION_S",
            file.idle_transaction_s
                .map(|value| (value, "database.idle_transaction_s")),
            DEFAULT_IDLE_TRANSACTION_S,
        )?;
        for url in [Some(&url), Some(&direct_url)].into_iter().flatten().flatten() {
            scheme(url, &["postgres://", "postgresql://"])?;
        }
        Ok(url.map(|url| Database {
            url,
            direct_url,
            schema: optional(schema),
            idle_transaction_s,
        }))
    }

    fn nats(&self, flags: &Flags, file: NatsConfig) -> Result<Option<Nats>, ConfigError> {
        let url = self.secret(
            flags.nats_url.clone().map(|url| (url, "--nats-url")),
            "PERENNIAL_NATS_URL",
            "PERENNIAL_NATS_URL_FILE",
            file.url_file.map(|path| (path, "nats.url_file")),
        )?;
        let prefix = self.text(
            flags.nats_prefix.clone().map(|prefix| (prefix, "--nats-prefix")),
            "PERENNIAL_NATS_PREFIX",
            file.prefix.map(|prefix| (prefix, "nats.prefix")),
        );
        if let Some(url) = &url {
            scheme(url, &["nats://", "tls://"])?;
        }
        Ok(url.map(|url| Nats {
            url,
            prefix: prefix.unwrap_or_else(|| by_default(DEFAULT_NATS_PREFIX.to_owned())),
        }))
    }
}

impl Layers<'_> {
    /// Another gateway's address, with or without the `/llm` at its end.
    /// Where something is, over HTTP.
    pub(super) fn url_of(
        &self,
        flag: Named<String>,
        variable: &str,
        file: Named<String>,
    ) -> Result<Option<Setting<String>>, ConfigError> {
        match self.text(flag, variable, file) {
            Some(url) if !(url.value.starts_with("http://") || url.value.starts_with("https://")) => Err(wrong(
                &url.from,
                &url.value,
                "a URL that begins with http:// or https://",
            )),
            url => Ok(url),
        }
    }

    fn previews(&self, flags: &Flags, file: Option<String>) -> Result<Previews, ConfigError> {
        let url = self.text(
            flags.preview_url.clone().map(|url| (url, "--preview-url")),
            "PERENNIAL_PREVIEW_URL",
            file.map(|url| (url, "preview_url")),
        );
        let Some(url) = url else { return Ok(Previews::default()) };
        Previews::below(&url.value).map_err(|_| wrong(&url.from, &url.value, "https://DOMAIN or http://DOMAIN:PORT"))
    }

    fn gateway_url(&self, flags: &Flags, file: Option<String>) -> Result<Option<Setting<String>>, ConfigError> {
        let found = self.url_of(
            flags.gateway_url.clone().map(|url| (url, "--gateway-url")),
            "PERENNIAL_GATEWAY_URL",
            file.map(|url| (url, "gateway_url")),
        )?;
        let Some(mut url) = found else { return Ok(None) };
        let base = url.value.trim_end_matches('/');
        let base = base.strip_suffix("/llm").unwrap_or(base);
        url.value = format!("{base}/llm");
        Ok(Some(url))
    }
}

/// An address that may hold a password is not repeated in the error.
fn scheme(url: &Setting<SecretString>, allowed: &[&str]) -> Result<(), ConfigError> {
    let right = allowed
        .iter()
        .any(|scheme| url.value.expose_secret().starts_with(scheme));
    if right {
        return Ok(());
    }
    Err(wrong(
        &url.from,
        "(hidden)",
        &format!("an address that begins with {}", allowed.join(" or ")),
    ))
}

/// Numbers a setting may hold.
pub(super) trait Number: FromStr + Copy + PartialEq {
    const ZERO: Self;
    const EXPECTED: &'static str;
}

impl Number for u32 {
    const ZERO: Self = 0;
    const EXPECTED: &'static str = "a whole number from 1";
}

impl Number for u64 {
    const ZERO: Self = 0;
    const EXPECTED: &'static str = "a number of milliseconds from 1";
}

pub(super) fn read_secret(path: &Path, from: &Origin) -> Result<SecretString, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        name: from.to_string(),
        path: path.to_owned(),
        source,
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(wrong(
            from,
            &path.display().to_string(),
            "a file that holds a secret; this one is empty",
        ));
    }
    Ok(SecretString::from(text.to_owned()))
}

pub(super) fn setting<T>(value: T, from: Origin) -> Setting<T> {
    Setting { value, from }
}

pub(super) fn by_default<T>(value: T) -> Setting<T> {
    setting(value, Origin::Default)
}

fn optional<T>(setting: Option<Setting<T>>) -> Setting<Option<T>> {
    match setting {
        Some(Setting { value, from }) => Setting {
            value: Some(value),
            from,
        },
        None => by_default(None),
    }
}

fn parsed<T: FromStr>(text: Setting<String>, expected: &str) -> Result<Setting<T>, ConfigError> {
    let value = text
        .value
        .parse()
        .map_err(|_| wrong(&text.from, &text.value, expected))?;
    Ok(setting(value, text.from))
}

pub(super) fn wrong(from: &Origin, value: &str, expected: &str) -> ConfigError {
    ConfigError::Value {
        name: from.to_string(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: &Flags, variables: &[(&str, &str)], toml: &str) -> Result<Settings, ConfigError> {
        let environment = Environment::of(&[&[("HOME", "/home/a")], variables].concat());
        let file = file::parse(Path::new("perennial.toml"), toml)?;
        Settings::layered(flags, &environment, None, file)
    }

    fn refusal(flags: &Flags, variables: &[(&str, &str)], toml: &str) -> String {
        resolve(flags, variables, toml)
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn defaults() {
        let settings = resolve(&Flags::default(), &[], "").expect("valid");
        assert_eq!(
            settings.data_dir,
            by_default(PathBuf::from("/home/a/.local/share/perennial"))
        );
        assert_eq!(settings.listen.value.to_string(), DEFAULT_LISTEN);
        assert!(!settings.allow_local.value && settings.anthropic.key.is_none() && settings.url.is_none());
        assert_eq!(settings.lease_ttl_ms.value, 15_000);
    }

    #[test]
    fn flags_win_over_variables_win_over_the_file() {
        let toml = "listen = '127.0.0.1:1'\nslots = 1\n[lease]\nttl_ms = 1\n";
        let variables = [("PERENNIAL_LISTEN", "127.0.0.1:2"), ("PERENNIAL_SLOTS", "2")];
        let flags = Flags {
            listen: Some("127.0.0.1:3".to_owned()),
            ..Flags::default()
        };
        let settings = resolve(&flags, &variables, toml).expect("valid");
        assert_eq!(settings.listen.value.port(), 3);
        assert_eq!(settings.listen.from, Origin::Flag("--listen"));
        assert_eq!(
            settings.slots,
            setting(2, Origin::Variable("PERENNIAL_SLOTS".to_owned()))
        );
        assert_eq!(settings.lease_ttl_ms, setting(1, Origin::File("lease.ttl_ms")));
    }

    #[test]
    fn an_empty_variable_is_no_value() {
        let settings = resolve(&Flags::default(), &[("PERENNIAL_SLOTS", "")], "slots = 7").expect("valid");
        assert_eq!(settings.slots, setting(7, Origin::File("slots")));
    }

    #[test]
    fn unknown_keys_are_named() {
        let text = refusal(&Flags::default(), &[], "[lease]\nttl = 3\n");
        assert!(
            text.contains("unknown field `ttl`") && text.contains("line 2"),
            "{text}"
        );
    }

    #[test]
    fn secrets_do_not_live_in_the_file() {
        let text = refusal(&Flags::default(), &[], "[anthropic]\napi_key = 'sk'\n");
        assert!(text.contains("api_key_file"), "{text}");
        let settings = resolve(&Flags::default(), &[("ANTHROPIC_API_KEY", "sk-1")], "").expect("valid");
        let key = settings.anthropic.key.expect("set");
        assert_eq!(key.value.expose_secret(), "sk-1");
        assert!(!format!("{key:?}").contains("sk-1"));
    }

    #[test]
    fn secrets_are_read_from_the_file_a_variable_names() {
        let file = std::env::temp_dir().join(format!("perennial-key-{}", std::process::id()));
        std::fs::write(&file, "sk-2\n").expect("write");
        let path = file.to_str().expect("utf-8").to_owned();
        let settings = resolve(&Flags::default(), &[("OPENAI_API_KEY_FILE", &path)], "");
        std::fs::remove_file(&file).expect("remove");
        let key = settings.expect("valid").openai.key.expect("set");
        assert_eq!(key.value.expose_secret(), "sk-2");
        let missing = refusal(&Flags::default(), &[("OPENAI_API_KEY_FILE", &path)], "");
        assert!(
            missing.contains("OPENAI_API_KEY_FILE") && missing.contains(&path),
            "{missing}"
        );
    }

    #[test]
    fn a_cluster_is_a_database_and_perhaps_a_bus() {
        let none = resolve(&Flags::default(), &[], "").expect("valid");
        assert!(none.database.is_none() && none.nats.is_none());
        let variables = [
            ("PERENNIAL_DATABASE_URL", "postgres://u:secret@db/p"),
            ("PERENNIAL_NATS_URL", "nats://bus"),
        ];
        let both = resolve(&Flags::default(), &variables, "[database]\nschema = 's'").expect("valid");
        let database = both.database.expect("set");
        assert_eq!(database.url.value.expose_secret(), "postgres://u:secret@db/p");
        assert_eq!(database.schema.value.as_deref(), Some("s"));
        assert_eq!(both.nats.expect("set").prefix.value, "perennial");
        let text = refusal(
            &Flags::default(),
            &[("PERENNIAL_DATABASE_URL", "mysql://u:secret@db")],
            "",
        );
        assert!(
            text.contains("PERENNIAL_DATABASE_URL") && text.contains("postgres://") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn programs_are_looked_up() {
        let claude = |variables: &[(&str, &str)]| resolve(&Flags::default(), variables, "").expect("valid").claude;
        assert_eq!(claude(&[("PATH", "/nowhere")]), by_default(None));
        let named = claude(&[("PATH", "/nowhere:/bin"), ("PERENNIAL_CLAUDE_BIN", "sh")]);
        assert_eq!(named.value, Some(PathBuf::from("/bin/sh")));
        let missing = claude(&[("PATH", "/nowhere"), ("PERENNIAL_CLAUDE_BIN", "/opt/claude")]);
        assert_eq!(missing.value, Some(PathBuf::from("/opt/claude")));
    }

    #[test]
    fn agents_of_the_generic_lane_are_tables() {
        let toml = "[acp.open-code]\ncommand = ['sh', 'acp']\nenv = { KEY = '{key}' }\npass = ['TERM_X', 'NONE']\n\
                    wire = 'messages'\nshows = ['/opt']\n";
        let variables = [("PATH", "/nowhere:/bin"), ("TERM_X", "x")];
        let all = resolve(&Flags::default(), &variables, toml).expect("valid");
        let agent = &all.acp[0];
        assert_eq!(
            (agent.name.as_str(), &agent.program),
            ("open-code", &PathBuf::from("/bin/sh"))
        );
        assert_eq!(agent.arguments, ["acp"]);
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(agent.environment, [own("TERM_X", "x"), own("KEY", "{key}")]);
        assert!(!format!("{agent:?}").contains("{key}"));
        for (toml, says) in [
            ("[acp.x]\ncommand = []", "acp.x.command"),
            ("[acp.'a b']\ncommand = ['x']", "1 to 64 letters"),
            ("[acp.x]\ncommand = ['x']\nwire = 'soap'", "acp.x.wire"),
            ("[acp.x]\ncommand = ['x']\nshows = ['y']", "acp.x.shows"),
            ("[acp.x]\ncommand = ['x']\nport = 1", "port"),
            ("[acp.x]\ncommand = ['x']\npass = ['OPENAI_API_KEY']", "{key} in env"),
        ] {
            let error = resolve(&Flags::default(), &[], toml).expect_err(toml).to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn model_servers_and_prices_are_tables() {
        let toml = "gateway_url = 'http://gate:1/'\n[providers.my-vllm]\nwire = 'chat'\nbase_url = 'http://gpu:8000/v1'\n\
                    headers = { x-team = 'a' }\nmodels = ['qwen*']\n[prices.\"claude-x\"]\ninput = 3\noutput = 15.0\n";
        let key = [("PERENNIAL_PROVIDER_MY_VLLM_KEY", "sk-1")];
        let all = resolve(&Flags::default(), &key, toml).expect("valid");
        assert_eq!(all.gateway_url.expect("set").value, "http://gate:1/llm");
        let vllm = &all.providers["my-vllm"];
        assert_eq!(
            (vllm.wire, vllm.base_url.value.as_str()),
            (perennial_gateway::Wire::Chat, "http://gpu:8000/v1")
        );
        assert_eq!(vllm.key.as_ref().expect("set").value.expose_secret(), "sk-1");
        let price = all.prices["claude-x"];
        assert_eq!((price.input, price.output, price.cache_write), (3.0, 15.0, 3.75));
        for (toml, says) in [
            (
                "[providers.x]\nwire = 'soap'\nbase_url = 'http://x'",
                "providers.x.wire",
            ),
            (
                "[providers.x]\nwire = 'chat'\nbase_url = 'http://u:p@x'",
                "providers.x.base_url",
            ),
            (
                "[providers.openai]\nwire = 'chat'\nbase_url = 'http://x'",
                "sections of their own",
            ),
            (
                "[providers.x]\nwire = 'chat'\nbase_url = 'http://x'\nheaders = { Authorization = 'b' }",
                "providers.x.headers",
            ),
            (
                "[providers.x]\nwire = 'chat'\nbase_url = 'http://x'\napi_key = 'k'",
                "api_key_file",
            ),
            ("[prices.x]\ninput = -1\noutput = 1", "prices"),
            ("[context]\ncompact_percent = 101", "context.compact_percent"),
            ("[context]\nwindow = 0", "context.window"),
            ("[harness]\nprocesses = 0", "harness.processes"),
            ("[harness]\nwarm = 1", "warm"),
            ("[context.windows]\n\"my-model\" = 0", "my-model"),
            ("[context]\nmodels = 1", "models"),
            ("gateway_url = 'gate:1'", "gateway_url"),
            ("advertise = '10.0.0.1:7340'", "advertise"),
            ("preview_url = 'https://box.example/previews'", "preview_url"),
            ("metrics_listen = 'localhost'", "metrics_listen"),
        ] {
            let text = refusal(&Flags::default(), &[], toml);
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn wrong_values_name_their_source() {
        let check = |variables: &[(&str, &str)], toml: &str, name: &str| {
            let text = refusal(&Flags::default(), variables, toml);
            assert!(text.contains(name), "{text}");
        };
        check(&[("PERENNIAL_LISTEN", "localhost")], "", "PERENNIAL_LISTEN");
        check(&[("PERENNIAL_SLOTS", "many")], "", "PERENNIAL_SLOTS");
        check(&[("PERENNIAL_ALLOW_LOCAL", "maybe")], "", "PERENNIAL_ALLOW_LOCAL");
        check(&[], "slots = 0", "slots");
        check(&[], "[openai]\nbase_url = 'api.openai.com'", "openai.base_url");
    }
}
