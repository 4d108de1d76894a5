//! Configuration: flags over `PERENNIAL_*` variables over `perennial.toml` over defaults, and where each value came from.
//!
//! Resolution is pure: the process's environment comes in as an [`Environment`], files are read through it by path only.
//! Secrets come from a variable or from a file a setting names, never from `perennial.toml` itself.

mod acp;
mod context;
mod environment;
mod file;
mod harness;
mod otlp;
mod pool;
mod providers;
mod resolve;
mod sandbox;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use perennial_api::Previews;
use perennial_gateway::{Price, Wire};
use perennial_worker::harness::Limits;
use perennial_worker::model::Windows;
use secrecy::SecretString;

pub use environment::{Environment, environment};
pub use otlp::{Otlp, TRACES_PATH};
pub use pool::{Kept, PoolSettings};
pub use sandbox::SandboxSettings;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value of the wrong kind.
    #[error("{name}: {value:?} is not valid, expected {expected}")]
    Value {
        /// Flag, variable or key.
        name: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// `perennial.toml` does not parse; the parser's message names line and key.
    #[error("{}: {message}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Line, key and remedy.
        message: String,
    },
    /// A file a setting names cannot be read.
    #[error("{name}: cannot read {}", .path.display())]
    Unreadable {
        /// Flag, variable or key that names the file.
        name: String,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither HOME nor XDG_DATA_HOME is set.
    #[error("no data directory: HOME is not set; use --data-dir or PERENNIAL_DATA_DIR")]
    NoDataDir,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag(&'static str),
    /// A variable.
    Variable(String),
    /// A key of `perennial.toml`.
    File(&'static str),
    /// A key of a table of `perennial.toml` that the operator named.
    Table(String),
    /// Nobody said otherwise.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.write_str(name),
            Self::Variable(name) => f.write_str(name),
            Self::File(key) => write!(f, "perennial.toml: {key}"),
            Self::Table(key) => write!(f, "perennial.toml: {key}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who said so.
    pub from: Origin,
}

/// A model provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Where its API is, without the path of an endpoint.
    pub base_url: Setting<String>,
    /// Its key.
    pub key: Option<Setting<SecretString>>,
}

/// An agent of `[acp.NAME]`.
#[derive(Clone, PartialEq, Eq)]
pub struct AcpAgent {
    /// NAME.
    pub name: String,
    /// The program, looked up in `PATH` if it was only a name.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables it gets, those that are passed on included.
    pub environment: Vec<(String, String)>,
    /// What its model speaks.
    pub wire: Wire,
    /// What of this host it may read.
    pub shows: Vec<PathBuf>,
}

impl fmt::Debug for AcpAgent {
    /// Without the values of its variables: some are keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcpAgent")
            .field("name", &self.name)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// A model server that an operator added.
#[derive(Clone, Debug)]
pub struct CustomProvider {
    /// What it speaks.
    pub wire: Wire,
    /// Where its API is.
    pub base_url: Setting<String>,
    /// Its key; none for a server that asks for none.
    pub key: Option<Setting<SecretString>>,
    /// Sent with each request.
    pub headers: BTreeMap<String, String>,
    /// Only these models.
    pub models: Option<Vec<String>>,
}

/// A cluster's database; none means the embedded one of the data directory.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where it is, password included.
    pub url: Setting<SecretString>,
    /// The same server without a pooler in between, for what is bound to a connection; by default the same address.
    pub direct_url: Option<Setting<SecretString>>,
    /// The schema its tables are in.
    pub schema: Setting<Option<String>>,
    /// How long a transaction of somebody else may be idle there, in seconds.
    pub idle_transaction_s: Setting<u64>,
}

/// A cluster's bus; none means that the database is polled.
#[derive(Clone, Debug)]
pub struct Nats {
    /// Where it is, credentials included.
    pub url: Setting<SecretString>,
    /// What all subjects begin with.
    pub prefix: Setting<String>,
}

/// Everything that can be set, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `perennial.toml` that was read, if there is one.
    pub file: Option<PathBuf>,
    /// Where the server keeps everything.
    pub data_dir: Setting<PathBuf>,
    /// Where the server listens.
    pub listen: Setting<SocketAddr>,
    /// Where other processes of a cluster reach this one; none finds out by itself.
    pub advertise: Option<Setting<String>>,
    /// Where ports of machines are shown in browsers.
    pub previews: Previews,
    /// Where a worker's metrics are served; none serves them nowhere.
    pub metrics_listen: Option<Setting<SocketAddr>>,
    /// Where KEDA asks how much there is to do; none answers it nowhere.
    pub keda_listen: Option<Setting<SocketAddr>>,
    /// How workers are kept, and shared.
    pub pool: PoolSettings,
    /// Where traces go; none exports none.
    pub otlp: Option<Otlp>,
    /// Tools that change the host run without asking even where nothing contains them.
    pub allow_local: Setting<bool>,
    /// Sessions worked on at a time.
    pub slots: Setting<u32>,
    /// How many days each request to a model is remembered by itself.
    pub traces_days: Setting<u32>,
    /// Lease time to live, in milliseconds.
    pub lease_ttl_ms: Setting<u64>,
    /// Time between renewals, in milliseconds.
    pub renew_ms: Setting<u64>,
    /// Time between sweeps, in milliseconds.
    pub sweep_ms: Setting<u64>,
    /// The database of a cluster.
    pub database: Option<Database>,
    /// The bus of a cluster.
    pub nats: Option<Nats>,
    /// Where sandboxes are made; none means that cloud environments are folders of this host.
    pub sandbox: Option<SandboxSettings>,
    /// Model of agents that name none; none lets the server choose by the keys it has.
    pub default_model: Setting<Option<String>>,
    /// Anthropic Messages.
    pub anthropic: Provider,
    /// OpenAI-compatible Responses.
    pub openai: Provider,
    /// Model servers beside those two, by name.
    pub providers: BTreeMap<String, CustomProvider>,
    /// What models cost.
    pub prices: BTreeMap<String, Price>,
    /// How much of a conversation models take.
    pub windows: Windows,
    /// Another process's model gateway, to be used instead of one's own; ends in `/llm`.
    pub gateway_url: Option<Setting<String>>,
    /// Processes of driven harnesses.
    pub harness: Limits,
    /// The Claude Code binary, a path or a name to look up in `PATH`.
    pub claude: Setting<Option<PathBuf>>,
    /// The Codex binary, a path or a name to look up in `PATH`.
    pub codex: Setting<Option<PathBuf>>,
    /// Agents that speak the Agent Client Protocol.
    pub acp: Vec<AcpAgent>,
    /// The server clients use; none means the one of the data directory.
    pub url: Option<Setting<String>>,
    /// Hosts that webhooks may be sent to though they are in a private network.
    pub webhook_hosts: Setting<Vec<String>>,
    /// What tokens of resources are kept under; none means the file of the data directory, where there is an embedded database.
    pub seal_key: Option<Setting<SecretString>>,
    /// The key clients use; none means the one of the data directory.
    pub key: Option<Setting<SecretString>>,
    /// Tracing filter.
    pub log: Setting<Option<String>>,
    /// Logs as JSON lines.
    pub log_json: Setting<bool>,
    /// Colours are allowed (`NO_COLOR` is not set).
    pub color: bool,
}

/// The scripted model that needs no key.
const REHEARSAL: &str = "rehearsal-1";
/// The model of a server that has an Anthropic key and was told no other.
const ANTHROPIC_DEFAULT: &str = "claude-sonnet-5-5";

impl Settings {
    /// The model the server takes when none is named. Names behind an OpenAI-compatible URL cannot be guessed, so a key for
    /// one alone chooses nothing.
    pub fn model(&self) -> &str {
        match &self.default_model.value {
            Some(model) => model,
            None if self.anthropic.key.is_some() => ANTHROPIC_DEFAULT,
            None => REHEARSAL,
        }
    }
}

/// What the command line says, every verb's flags together.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--url`.
    pub url: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--advertise`.
    pub advertise: Option<String>,
    /// `--metrics-listen`.
    pub metrics_listen: Option<String>,
    /// `--otlp-endpoint`.
    pub otlp_endpoint: Option<String>,
    /// `--preview-url`.
    pub preview_url: Option<String>,
    /// `--keda-listen`.
    pub keda_listen: Option<String>,
    /// `--workspace-slots`.
    pub workspace_slots: Option<u32>,
    /// `--min`.
    pub min_workers: Option<u32>,
    /// `--max`.
    pub max_workers: Option<u32>,
    /// `--allow-local`.
    pub allow_local: bool,
    /// `--slots`.
    pub slots: Option<u32>,
    /// `--lease-ttl-ms`.
    pub lease_ttl_ms: Option<u64>,
    /// `--renew-ms`.
    pub renew_ms: Option<u64>,
    /// `--sweep-ms`.
    pub sweep_ms: Option<u64>,
    /// `--database-url`.
    pub database_url: Option<String>,
    /// `--database-direct-url`.
    pub database_direct_url: Option<String>,
    /// `--database-schema`.
    pub database_schema: Option<String>,
    /// `--nats-url`.
    pub nats_url: Option<String>,
    /// `--nats-prefix`.
    pub nats_prefix: Option<String>,
    /// `--docker`.
    pub docker: Option<String>,
    /// `--sandbox-image`.
    pub sandbox_image: Option<String>,
    /// `--gateway-url`.
    pub gateway_url: Option<String>,
}
