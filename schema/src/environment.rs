//! Environments: where a session's hands are (DESIGN §8).

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{EnvironmentId, ExecutorId, Timestamp};

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
pub enum EnvironmentConfig {
    /// Where this server provisions sandboxes (a local folder until a container backend is configured).
    Cloud {
        /// Egress.
        networking: Networking,
        /// Packages to install.
        packages: Packages,
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
