//! Environments: where a session's hands are (DESIGN §8).

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{Attachment, EnvironmentId, ExecutorId, Timestamp};

/// An environment as the API serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Which.
    pub id: EnvironmentId,
    /// Always `environment`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Unique among the workspace's unarchived environments.
    pub name: String,
    /// For people.
    pub description: String,
    /// Where.
    pub config: EnvironmentConfig,
    /// Free pairs.
    pub metadata: IndexMap<String, String>,
    /// Made at.
    pub created_at: Timestamp,
    /// Changed at.
    pub updated_at: Timestamp,
    /// Archived environments take no new sessions.
    pub archived_at: Option<Timestamp>,
}

/// Where hands are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "one a session; a box would be in every pattern"
)]
pub enum EnvironmentConfig {
    /// Where this server provisions sandboxes (a local folder until a container backend is configured).
    Cloud {
        /// Egress.
        networking: Networking,
        /// Packages to install.
        packages: Packages,
        /// Our extension: what a sandbox of it is made of.
        #[serde(flatten)]
        container: Container,
        /// Our extension: executors that its sessions have beside their sandbox.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        executors: Vec<Attachment>,
        /// Our extension: what is there before the first call.
        #[serde(flatten)]
        preparation: Preparation,
    },
    /// Somebody's worker queue.
    SelfHosted,
    /// Our extension: a folder on this host, or on a machine that dialled in.
    Local {
        /// The executor that dialled in, if it is one of those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        executor_id: Option<ExecutorId>,
        /// Absolute path there; none means one folder per session under the data directory, or the folder that the executor
        /// offers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<String>,
        /// What is there before the first call.
        #[serde(flatten)]
        preparation: Preparation,
    },
}

impl EnvironmentConfig {
    /// The machine that dialled in, where its tools run on one.
    #[must_use]
    pub const fn executor(&self) -> Option<ExecutorId> {
        match self {
            Self::Local { executor_id, .. } => *executor_id,
            Self::Cloud { .. } | Self::SelfHosted => None,
        }
    }

    /// The executors that its sessions have beside their sandbox.
    #[must_use]
    pub fn executors(&self) -> &[Attachment] {
        match self {
            Self::Cloud { executors, .. } => executors,
            Self::SelfHosted | Self::Local { .. } => &[],
        }
    }

    /// What is there before the first call, where tools of ours run.
    #[must_use]
    pub const fn preparation(&self) -> Option<&Preparation> {
        match self {
            Self::Cloud { preparation, .. } | Self::Local { preparation, .. } => Some(preparation),
            Self::SelfHosted => None,
        }
    }
}

impl EnvironmentConfig {
    /// Without the values that are probably secrets: for what leaves this server.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        if let Self::Cloud { preparation, .. } | Self::Local { preparation, .. } = &mut self {
            preparation.variables.retain(|name, _| !names_secret(name));
        }
        self
    }
}

/// What the first call of a session finds already done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Variables of every command, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub variables: IndexMap<String, String>,
    /// A bash script that runs once in the workspace folder, after repositories and files are there. The first command that
    /// fails ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
}

/// Whether a variable of this name probably holds a secret: its value is then kept out of what is recorded.
#[must_use]
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "CREDENTIAL",
        "PRIVATE",
        "AUTH",
    ];
    words.iter().any(|word| name.contains(word))
        || name
            .split('_')
            .any(|part| matches!(part, "KEY" | "PAT" | "PWD") || part.ends_with("APIKEY"))
}

/// What a sandbox is made of; what is not said is the server's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// A container image, as its engine names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Processors it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpus>,
    /// Bytes of memory it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of disk its files may use; where the engine cannot bound them, a sandbox is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Seconds without a call after which it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
}

/// Processors, in thousandths; a number with decimals in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus(u32);

impl Cpus {
    /// So many thousandths.
    #[must_use]
    pub const fn thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// In thousandths.
    #[must_use]
    pub const fn in_thousandths(self) -> u32 {
        self.0
    }
}

impl Serialize for Cpus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            return serializer.serialize_u32(self.0 / 1000);
        }
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = f64::deserialize(deserializer)?;
        let thousandths = (given * 1000.0).round();
        if !(1.0..=1_000_000.0).contains(&thousandths) {
            return Err(serde::de::Error::custom(
                "expected a number of processors between 0.001 and 1000",
            ));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds")]
        Ok(Self(thousandths as u32))
    }
}

/// Egress of a cloud environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Networking {
    /// Everything.
    Unrestricted,
    /// Only these.
    Limited {
        /// Host names.
        #[serde(default)]
        allowed_hosts: Vec<String>,
        /// Registries of the package managers too.
        #[serde(default)]
        allow_package_managers: bool,
        /// Hosts of the agent's MCP servers too.
        #[serde(default)]
        allow_mcp_servers: bool,
    },
}

/// Packages of a cloud environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Packages {
    /// Always `packages`.
    #[serde(rename = "type")]
    pub kind: PackagesTag,
    /// PyPI.
    pub pip: Vec<String>,
    /// npm.
    pub npm: Vec<String>,
    /// Debian.
    pub apt: Vec<String>,
    /// crates.io.
    pub cargo: Vec<String>,
    /// RubyGems.
    pub gem: Vec<String>,
    /// Go.
    pub go: Vec<String>,
}

/// The literal `packages`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackagesTag {
    /// `packages`.
    #[default]
    Packages,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_leaves_has_no_secrets() {
        let config = json!({"type": "local", "variables": {"MODE": "a", "API_TOKEN": "b"}});
        let read: EnvironmentConfig = serde_json::from_value(config).unwrap();
        let left = serde_json::to_value(read.without_secrets()).unwrap();
        assert_eq!(left, json!({"type": "local", "variables": {"MODE": "a"}}));
    }

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "OPENAI_API_KEY",
            "pgpassword",
            "NPM_AUTH",
            "GH_PAT",
        ] {
            assert!(names_secret(name), "{name}");
        }
        for name in ["RUST_LOG", "KEYBOARD", "PATH", "MONKEY", "CI"] {
            assert!(!names_secret(name), "{name}");
        }
    }

    #[test]
    fn a_cloud_environment_says_what_its_sandboxes_are_made_of_and_nothing_else() {
        let bare = json!({"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {"type": "packages",
            "pip": [], "npm": [], "apt": [], "cargo": [], "gem": [], "go": []}});
        let read: EnvironmentConfig = serde_json::from_value(bare.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), bare);
        let mut full = bare;
        for (key, value) in [
            ("image", json!("python:3.13-slim")),
            ("cpu", json!(1.5)),
            ("memory", json!(536_870_912)),
            ("disk", json!(1_073_741_824)),
            ("idle_timeout", json!(600)),
        ] {
            full[key] = value;
        }
        let read: EnvironmentConfig = serde_json::from_value(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), full);
        for wrong in [json!(0), json!(-1), json!(1e9), json!("2")] {
            full["cpu"] = wrong;
            assert!(serde_json::from_value::<EnvironmentConfig>(full.clone()).is_err());
        }
        full["cpu"] = json!(2);
        let read: EnvironmentConfig = serde_json::from_value(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), full);
    }
}
