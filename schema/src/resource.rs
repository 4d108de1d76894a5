//! Resources of a session: repositories and files that its folder has before the first call.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{FileId, ResourceId, Timestamp, WorkspaceId};

/// A resource as the session's row keeps it. What begins to be private is left out of what is served ([`Resource::served`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Which.
    pub id: ResourceId,
    /// What.
    #[serde(flatten)]
    pub source: Source,
    /// Where it is, as clients see it.
    pub mount_path: String,
    /// Added at.
    pub created_at: Timestamp,
    /// Changed at.
    pub updated_at: Timestamp,
}

/// Where a resource comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// A repository, wherever it is; the adopted API's name for it.
    #[serde(alias = "git")]
    GithubRepository {
        /// `http` or `https`, without credentials.
        url: String,
        /// What to check out; the remote's choice without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkout: Option<Checkout>,
        /// The token that opens it, sealed. Private.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sealed_token: Option<String>,
    },
    /// An uploaded file, as it was when it was added.
    File {
        /// Which.
        file_id: FileId,
        /// Of its content, a blob of the workspace. Private.
        sha256: String,
    },
}

/// What to check out of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Checkout {
    /// A branch (or a tag).
    Branch {
        /// Its name.
        name: String,
    },
    /// A commit.
    Commit {
        /// Its hash, in hexadecimal digits.
        sha: String,
    },
}

/// What paths of resources that clients give begin with, where tools of other servers would see them.
const ROOTS: [&str; 3] = ["/workspace/", "/mnt/session/", "/sandbox/work/"];

impl Resource {
    /// As it is served: without what is private.
    #[must_use]
    pub fn served(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("sealed_token");
            fields.remove("sha256");
        }
        value
    }

    /// What its token is sealed for.
    #[must_use]
    pub fn seal(&self, workspace: WorkspaceId) -> String {
        format!("{workspace}/{}", self.id)
    }

    /// Where it is, relative to the workspace folder.
    ///
    /// # Errors
    /// Why that path is none of a resource.
    pub fn path(&self) -> Result<String, String> {
        inside(&self.mount_path)
    }
}

/// The path of a resource relative to the workspace folder.
///
/// # Errors
/// Why a path is none of a resource.
pub fn inside(mount_path: &str) -> Result<String, String> {
    let path = ROOTS
        .iter()
        .find_map(|root| mount_path.strip_prefix(root))
        .unwrap_or(mount_path);
    let path = path.trim_end_matches('/');
    if path.starts_with('/') {
        return Err(format!(
            "must be relative to the workspace folder, or begin with {}",
            ROOTS.join(" or ")
        ));
    }
    if path.is_empty() || path.len() > 1024 {
        return Err("must name something within the workspace folder".into());
    }
    if path.chars().any(char::is_control) {
        return Err("has control characters".into());
    }
    let plain = |part: &str| !matches!(part, "" | "." | ".." | ".git");
    if !path.split('/').all(plain) {
        return Err("must not have empty parts, \".\", \"..\" or \".git\"".into());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_the_folder() {
        for (given, path) in [
            ("repo", "repo"),
            ("/workspace/repo/", "repo"),
            ("/mnt/session/uploads/a b.csv", "uploads/a b.csv"),
            ("-x/--y", "-x/--y"),
        ] {
            assert_eq!(inside(given).as_deref(), Ok(path));
        }
        for given in [
            "",
            "/",
            "/etc/passwd",
            "/workspace/",
            "/workspace/../x",
            "..",
            "a/../../b",
            "a//b",
            "./a",
            "a/.git/hooks",
            "a\nb",
            "a\0",
        ] {
            assert!(inside(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn what_is_private_is_not_served() {
        let stored = serde_json::json!({"id": "sesrsc_00000000000000000000000000000001", "type": "github_repository",
            "url": "https://example.com/a.git", "sealed_token": "s", "mount_path": "a",
            "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z"});
        let resource: Resource = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&resource).unwrap(), stored);
        let served = resource.served();
        assert!(
            served.get("sealed_token").is_none() && served["type"] == "github_repository",
            "{served}"
        );
    }
}
