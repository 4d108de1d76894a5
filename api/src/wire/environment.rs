//! Environments as clients write them.

use indexmap::IndexMap;
use perennial_schema::environment::{
    Container, Cpus, Environment, EnvironmentConfig, Networking, Packages, Preparation,
};
use perennial_schema::limits::{DESCRIPTION_CHARS, NAME_CHARS};
use perennial_schema::{Attachment, EnvironmentId, ExecutorId, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::length;
use super::metadata::{self, Pairs, Patch};
use crate::body::{nullable, part};
use crate::error::ApiError;
use crate::query::kind_of;

/// Longest reference to an image.
const IMAGE_CHARS: usize = 255;
/// Packages of one environment.
const PACKAGES: usize = 200;
const PACKAGE_BYTES: usize = 256;
/// Hosts that one environment allows.
const HOSTS: usize = 200;
/// Variables of one environment, and bytes of their names and values in all.
const VARIABLES: usize = 100;
const VARIABLES_BYTES: usize = 64 * 1024;
const VARIABLE_NAME_BYTES: usize = 128;
/// Longest setup script.
const SETUP_CHARS: usize = 64 * 1024;
/// Least memory or disk of a sandbox.
const LEAST_BYTES: u64 = 64 << 20;
/// What databases still count.
const MOST_BYTES: u64 = i64::MAX.cast_unsigned();

const KINDS: &str = "cloud, self_hosted or local";

/// `POST /v1/environments`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    name: String,
    config: Option<Value>,
    description: Option<String>,
    metadata: Option<Pairs>,
    scope: Option<Value>,
}

/// `POST /v1/environments/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    name: Option<String>,
    config: Option<Value>,
    #[serde(default, deserialize_with = "nullable")]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    metadata: Option<Option<Patch>>,
    scope: Option<Value>,
}

impl Create {
    /// The executors that its configuration names.
    pub(crate) fn executors(&self) -> &[Value] {
        executors(self.config.as_ref())
    }

    /// The environment this body describes, with the executors it names as they were found.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn into_environment(
        self,
        id: EnvironmentId,
        at: Timestamp,
        executors: Vec<Attachment>,
    ) -> Result<Environment, ApiError> {
        scope(self.scope.as_ref())?;
        let metadata = self.metadata.unwrap_or_default();
        metadata::check(&metadata)?;
        let environment = Environment {
            id,
            kind: "environment".into(),
            name: self.name,
            description: self.description.unwrap_or_default(),
            config: config(self.config.as_ref(), executors)?,
            metadata,
            created_at: at,
            updated_at: at,
            archived_at: None,
        };
        check(&environment)?;
        Ok(environment)
    }
}

impl Update {
    /// The executors that its configuration names.
    pub(crate) fn executors(&self) -> &[Value] {
        executors(self.config.as_ref())
    }

    /// The environment after this update, with the executors it names as they were found.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn apply(
        self,
        mut environment: Environment,
        at: Timestamp,
        executors: Vec<Attachment>,
    ) -> Result<Environment, ApiError> {
        scope(self.scope.as_ref())?;
        environment.name = self.name.unwrap_or(environment.name);
        if let Some(description) = self.description {
            environment.description = description.unwrap_or_default();
        }
        if let Some(given) = self.config.filter(|given| !given.is_null()) {
            let next = config(Some(&given), executors)?;
            if kind(&next) != kind(&environment.config) {
                return Err(ApiError::field(
                    "config.type",
                    format!("an environment stays {}; make another one", kind(&environment.config)),
                )
                .code("invalid_config_type_change"));
            }
            environment.config = next;
        }
        environment.metadata = metadata::merge(environment.metadata, self.metadata)?;
        environment.updated_at = at;
        check(&environment)?;
        Ok(environment)
    }
}

fn check(environment: &Environment) -> Result<(), ApiError> {
    length("name", &environment.name, 1, NAME_CHARS)?;
    length("description", &environment.description, 0, DESCRIPTION_CHARS)
}

const fn kind(config: &EnvironmentConfig) -> &'static str {
    match config {
        EnvironmentConfig::Cloud { .. } => "cloud",
        EnvironmentConfig::SelfHosted => "self_hosted",
        EnvironmentConfig::Local { .. } => "local",
    }
}

/// Every key of the workspace sees every environment of it.
fn scope(given: Option<&Value>) -> Result<(), ApiError> {
    match given {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(scope)) if scope == "organization" => Ok(()),
        Some(_) => Err(ApiError::field(
            "scope",
            "only \"organization\" is supported by this server: environments are seen by all keys of a workspace",
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudInput {
    #[serde(rename = "type")]
    _kind: String,
    networking: Option<Value>,
    packages: Option<PackagesInput>,
    image: Option<String>,
    cpu: Option<Value>,
    memory: Option<Value>,
    disk: Option<Value>,
    idle_timeout: Option<u32>,
    /// Found by who asks.
    #[serde(rename = "executors")]
    _executors: Option<Vec<Value>>,
    variables: Option<IndexMap<String, String>>,
    setup: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BareInput {
    #[serde(rename = "type")]
    _kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalInput {
    #[serde(rename = "type")]
    _kind: String,
    executor_id: Option<ExecutorId>,
    dir: Option<String>,
    variables: Option<IndexMap<String, String>>,
    setup: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitedInput {
    #[serde(rename = "type")]
    _kind: String,
    allowed_hosts: Option<Vec<String>>,
    allow_package_managers: Option<bool>,
    allow_mcp_servers: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackagesInput {
    #[serde(rename = "type")]
    _kind: Option<perennial_schema::environment::PackagesTag>,
    pip: Option<Vec<String>>,
    npm: Option<Vec<String>>,
    apt: Option<Vec<String>>,
    cargo: Option<Vec<String>>,
    gem: Option<Vec<String>>,
    go: Option<Vec<String>>,
}

/// What is no list is refused where the rest of the configuration is read.
fn executors(config: Option<&Value>) -> &[Value] {
    let given = config.and_then(|config| config.get("executors"));
    given.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `config`, `cloud` when absent, filled out the way responses show it.
fn config(given: Option<&Value>, executors: Vec<Attachment>) -> Result<EnvironmentConfig, ApiError> {
    let cloud = serde_json::json!({"type": "cloud"});
    let given = given.filter(|given| !given.is_null()).unwrap_or(&cloud);
    match given.get("type").and_then(Value::as_str) {
        Some("cloud") => {
            let input: CloudInput = part(given, "config")?;
            Ok(EnvironmentConfig::Cloud {
                networking: networking(input.networking.as_ref())?,
                container: container(&input)?,
                preparation: preparation(input.variables, input.setup)?,
                packages: packages(input.packages.unwrap_or_default())?,
                executors,
            })
        }
        Some("self_hosted") => part::<BareInput>(given, "config").map(|_| EnvironmentConfig::SelfHosted),
        Some("local") => {
            let input: LocalInput = part(given, "config")?;
            if input.dir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
                return Err(ApiError::field("config.dir", "must be an absolute path"));
            }
            Ok(EnvironmentConfig::Local {
                executor_id: input.executor_id,
                dir: input.dir,
                preparation: preparation(input.variables, input.setup)?,
            })
        }
        Some(other) => {
            let other: String = other.chars().take(60).collect();
            Err(ApiError::field(
                "config.type",
                format!("{other:?} is not known; expected {KINDS}"),
            ))
        }
        None if given.is_object() => Err(ApiError::field("config.type", format!("missing; expected {KINDS}"))),
        None => Err(ApiError::field(
            "config",
            format!("expected an object, not {}", kind_of(given)),
        )),
    }
}

/// What is there before the first call.
fn preparation(variables: Option<IndexMap<String, String>>, setup: Option<String>) -> Result<Preparation, ApiError> {
    const PATH: &str = "config.variables";
    let variables = variables.unwrap_or_default();
    if variables.len() > VARIABLES {
        return Err(ApiError::field(PATH, format!("at most {VARIABLES}")));
    }
    let mut bytes = 0;
    for (name, value) in &variables {
        let plain = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        let named = !name.is_empty() && name.len() <= VARIABLE_NAME_BYTES && name.bytes().all(plain);
        if !named || name.starts_with(|first: char| first.is_ascii_digit()) {
            let shown: String = name.chars().take(60).collect();
            return Err(ApiError::field(PATH, format!("{shown:?} is no name of a variable")));
        }
        if name.starts_with("PERENNIAL_") || matches!(name.as_str(), "BASH_ENV" | "ENV" | "SHELLOPTS" | "BASHOPTS") {
            return Err(ApiError::field(PATH, format!("{name} is not for you to set")));
        }
        bytes += name.len() + value.len();
    }
    if bytes > VARIABLES_BYTES {
        return Err(ApiError::field(PATH, format!("at most {VARIABLES_BYTES} bytes in all")));
    }
    let setup = setup.filter(|script| !script.trim().is_empty());
    if let Some(script) = &setup {
        length("config.setup", script, 1, SETUP_CHARS)?;
    }
    Ok(Preparation { variables, setup })
}

/// What a sandbox is made of, in bytes and seconds.
fn container(input: &CloudInput) -> Result<Container, ApiError> {
    if let Some(image) = &input.image {
        length("config.image", image, 1, IMAGE_CHARS)?;
        if !image
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte))
        {
            return Err(ApiError::field("config.image", "is no reference to an image"));
        }
    }
    if input.idle_timeout == Some(0) {
        return Err(ApiError::field("config.idle_timeout", "must be at least 1 second"));
    }
    let cpu = input.cpu.as_ref().filter(|given| !given.is_null());
    let cpu = cpu.map(|given| serde_json::from_value::<Cpus>(given.clone()));
    Ok(Container {
        image: input.image.clone(),
        cpu: cpu.transpose().map_err(|error| ApiError::field("config.cpu", error))?,
        memory: bytes("config.memory", input.memory.as_ref())?,
        disk: bytes("config.disk", input.disk.as_ref())?,
        idle_timeout: input.idle_timeout,
    })
}

/// A number of bytes, or a text like `512m` or `2g` in powers of 1024.
fn bytes(path: &str, given: Option<&Value>) -> Result<Option<u64>, ApiError> {
    let Some(given) = given.filter(|given| !given.is_null()) else {
        return Ok(None);
    };
    let amount = match given {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let (digits, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()));
            let shift = match unit.to_ascii_lowercase().as_str() {
                "" => Some(0),
                "k" => Some(10),
                "m" => Some(20),
                "g" => Some(30),
                "t" => Some(40),
                _ => None,
            };
            shift.and_then(|shift| digits.parse::<u64>().ok()?.checked_mul(1 << shift))
        }
        _ => None,
    };
    let amount = amount.filter(|amount| (LEAST_BYTES..=MOST_BYTES).contains(amount));
    amount.map(Some).ok_or_else(|| {
        ApiError::field(
            path,
            "expected bytes, or a text like \"512m\" or \"2g\", of 64m at least",
        )
    })
}

fn networking(given: Option<&Value>) -> Result<Networking, ApiError> {
    const PATH: &str = "config.networking";
    let Some(given) = given.filter(|given| !given.is_null()) else {
        // Nobody said what may be reached: nothing is.
        return Ok(Networking::Limited {
            allowed_hosts: Vec::new(),
            allow_package_managers: false,
            allow_mcp_servers: false,
        });
    };
    match given.get("type").and_then(Value::as_str) {
        Some("unrestricted") => part::<BareInput>(given, PATH).map(|_| Networking::Unrestricted),
        Some("limited") => {
            let input: LimitedInput = part(given, PATH)?;
            Ok(Networking::Limited {
                allowed_hosts: hosts(input.allowed_hosts.unwrap_or_default())?,
                allow_package_managers: input.allow_package_managers.unwrap_or_default(),
                allow_mcp_servers: input.allow_mcp_servers.unwrap_or_default(),
            })
        }
        _ => Err(ApiError::field(
            format!("{PATH}.type"),
            "expected unrestricted or limited",
        )),
    }
}

/// Names, or `*.` and a name.
fn hosts(given: Vec<String>) -> Result<Vec<String>, ApiError> {
    const PATH: &str = "config.networking.allowed_hosts";
    if given.len() > HOSTS {
        return Err(ApiError::field(PATH, format!("at most {HOSTS}")));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    for host in &given {
        let name = host.strip_prefix("*.").unwrap_or(host);
        if name.is_empty() || name.len() > 253 || name.starts_with(['.', '-']) || !name.bytes().all(plain) {
            let shown: String = host.chars().take(60).collect();
            return Err(ApiError::field(
                PATH,
                format!("{shown:?} is no name of a host: expected one like \"example.com\" or \"*.example.com\""),
            ));
        }
    }
    Ok(given)
}

/// Names, and none that a package manager takes for an option.
fn are_packages(input: &PackagesInput) -> bool {
    let managers = [&input.pip, &input.npm, &input.apt, &input.cargo, &input.gem, &input.go];
    let mut names = managers.into_iter().flatten().flatten().enumerate();
    names.all(|(at, name)| {
        let plain = !name.is_empty() && !name.starts_with('-') && !name.contains(|c: char| c.is_control());
        plain && at < PACKAGES && name.len() <= PACKAGE_BYTES
    })
}

fn packages(input: PackagesInput) -> Result<Packages, ApiError> {
    if !are_packages(&input) {
        return Err(ApiError::field(
            "config.packages",
            format!("expected at most {PACKAGES} names of packages"),
        ));
    }
    Ok(Packages {
        pip: input.pip.unwrap_or_default(),
        npm: input.npm.unwrap_or_default(),
        apt: input.apt.unwrap_or_default(),
        cargo: input.cargo.unwrap_or_default(),
        gem: input.gem.unwrap_or_default(),
        go: input.go.unwrap_or_default(),
        ..Packages::default()
    })
}
