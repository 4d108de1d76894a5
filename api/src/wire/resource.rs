//! Resources of a session as clients write and read them: repositories, by whatever address, under the adopted API's name for them.

use perennial_engine::ports::{SealError, SessionKey};
use perennial_schema::event::Raw;
use perennial_schema::resource::{Checkout, Resource, Source, inside};
use perennial_schema::{ResourceId, Secret};
use serde::Deserialize;
use serde_json::Value;

use crate::api::App;
use crate::body::part;
use crate::error::ApiError;

/// Resources of one session.
const RESOURCES: usize = 100;
const URL_BYTES: usize = 2048;
const TOKEN_BYTES: usize = 4096;
const REVISION_BYTES: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileInput {
    #[serde(rename = "type")]
    _kind: String,
    file_id: String,
    mount_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryInput {
    #[serde(rename = "type")]
    _kind: String,
    url: String,
    authorization_token: Option<String>,
    mount_path: Option<String>,
    checkout: Option<Checkout>,
}

/// What a session's row keeps of the resources in a request. Tokens are sealed.
///
/// # Errors
/// 400 naming the field.
pub(crate) async fn read(app: &App, key: SessionKey, given: &[Value]) -> Result<Vec<Raw>, ApiError> {
    if given.len() > RESOURCES {
        return Err(ApiError::field("resources", format!("at most {RESOURCES}")));
    }
    let mut stored: Vec<Resource> = Vec::new();
    for (index, value) in given.iter().enumerate() {
        let path = format!("resources[{index}]");
        let resource = match value.get("type").and_then(Value::as_str) {
            Some("github_repository" | "git") => repository(app, key, value, &path)?,
            Some("file") => file(app, key, value, &path).await?,
            Some("memory_store") => return Err(ApiError::not_yet(format!("{path}.type"))),
            _ => {
                return Err(ApiError::field(
                    format!("{path}.type"),
                    "expected github_repository or file",
                ));
            }
        };
        let place =
            inside(&resource.mount_path).map_err(|error| ApiError::field(format!("{path}.mount_path"), error))?;
        let taken = |other: &Resource| other.path().is_ok_and(|other| overlap(&other, &place));
        if stored.iter().any(taken) {
            return Err(ApiError::field(
                format!("{path}.mount_path"),
                "another resource is there",
            ));
        }
        stored.push(resource);
    }
    let raw = stored
        .iter()
        .map(|resource| serde_json::to_value(resource).map(|value| Raw::of(&value)));
    raw.collect::<Result<_, _>>().map_err(|_| ApiError::bug())
}

/// As sessions show them.
pub(crate) fn served(stored: &[Raw]) -> Vec<Value> {
    let read = stored.iter().filter_map(|raw| raw.parse::<Resource>().ok());
    read.map(|resource| resource.served()).collect()
}

/// Whether one is the other or lies in it.
fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(one, other) || within(other, one)
}

fn repository(app: &App, key: SessionKey, value: &Value, path: &str) -> Result<Resource, ApiError> {
    let input: RepositoryInput = part(value, path)?;
    let name = name_of(&input.url).map_err(|error| ApiError::field(format!("{path}.url"), error))?;
    if let Some(checkout) = &input.checkout {
        revision(checkout).map_err(|error| ApiError::field(format!("{path}.checkout"), error))?;
    }
    let at = app.ports.clock.now();
    let mut resource = Resource {
        id: ResourceId::from_uuid(app.ports.ids.uuid()),
        mount_path: input.mount_path.unwrap_or_else(|| format!("/workspace/{name}")),
        created_at: at,
        updated_at: at,
        source: Source::GithubRepository {
            url: input.url,
            checkout: input.checkout,
            sealed_token: None,
        },
    };
    let about = resource.seal(key.workspace);
    if let (Source::GithubRepository { sealed_token, .. }, Some(token)) =
        (&mut resource.source, input.authorization_token)
    {
        let field = format!("{path}.authorization_token");
        if token.is_empty() || token.len() > TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiError::field(field, "is no token"));
        }
        let sealed = app.ports.seals.seal(&about, &Secret::new(token));
        *sealed_token = Some(sealed.map_err(|error| match error {
            SealError::NoKey => {
                ApiError::field(field, "this server has no key to keep it with: set PERENNIAL_SEAL_KEY")
            }
            SealError::Unreadable => ApiError::bug(),
        })?);
    }
    Ok(resource)
}

async fn file(app: &App, key: SessionKey, value: &Value, path: &str) -> Result<Resource, ApiError> {
    let input: FileInput = part(value, path)?;
    let unknown = || ApiError::field(format!("{path}.file_id"), "there is no such file in this workspace");
    let id = input.file_id.parse().map_err(|_| unknown())?;
    let file = app.ports.accounts.file(key.workspace, id).await?.ok_or_else(unknown)?;
    let at = app.ports.clock.now();
    Ok(Resource {
        id: ResourceId::from_uuid(app.ports.ids.uuid()),
        mount_path: input
            .mount_path
            .unwrap_or_else(|| format!("/mnt/session/uploads/{}", file.filename)),
        created_at: at,
        updated_at: at,
        source: Source::File {
            file_id: id,
            sha256: file.sha256,
        },
    })
}

/// What a repository of this address is called.
fn name_of(url: &str) -> Result<&str, &'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or("expected an address that begins with https://")?;
    if url.len() > URL_BYTES || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is too long, or has characters that no address has");
    }
    let (host, path) = rest.split_once('/').ok_or("has no path")?;
    if host.contains(['@', '\\']) {
        return Err("must not have credentials in it: they belong into authorization_token");
    }
    if host.is_empty() || path.contains(['?', '#']) {
        return Err("is no address of a repository");
    }
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(name);
    if name.is_empty() || name.starts_with('.') || name.contains('%') {
        return Err("has no name at its end");
    }
    Ok(name)
}

/// What git takes for a name of a branch, and nothing it could take for something else.
fn revision(checkout: &Checkout) -> Result<(), &'static str> {
    match checkout {
        Checkout::Commit { sha } => {
            let digits = (7..=64).contains(&sha.len()) && sha.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then_some(()).ok_or("sha: expected 7 to 64 hexadecimal digits")
        }
        Checkout::Branch { name } => {
            let wrong = name.is_empty()
                || name.len() > REVISION_BYTES
                || name.starts_with(['-', '/', '.'])
                || name.ends_with(['/', '.'])
                || name.contains("..")
                || name.contains("@{")
                || name.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c));
            (!wrong).then_some(()).ok_or("name: is no name of a branch")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_names_and_no_credentials() {
        assert_eq!(name_of("https://github.com/a/b.git"), Ok("b"));
        assert_eq!(name_of("http://127.0.0.1:1/b/"), Ok("b"));
        for url in [
            "git@github.com:a/b",
            "ssh://h/a",
            "file:///etc",
            "ext::sh",
            "-u",
            "https://h",
            "https://u:p@h/a",
            "https://h/a?x=1",
            "https://h/..",
            "https://h/a\nb",
            "https:///a",
            "https://h\\@g/a",
        ] {
            assert!(name_of(url).is_err(), "{url}");
        }
    }

    #[test]
    fn revisions_are_names_and_never_options() {
        let branch = |name: &str| revision(&Checkout::Branch { name: name.into() });
        let commit = |sha: &str| revision(&Checkout::Commit { sha: sha.into() });
        assert!(branch("feature/x-1").is_ok() && commit("0123abc").is_ok());
        for name in [
            "",
            "--upload-pack=sh",
            "-b",
            "a..b",
            "a b",
            "a\nb",
            "HEAD@{1}",
            "a:b",
            "/a",
            "a\\b",
            "$(sh)\0",
        ] {
            assert!(branch(name).is_err(), "{name:?}");
        }
        for sha in ["", "abc", "HEAD", "--all", "0123456789abcdefg"] {
            assert!(commit(sha).is_err(), "{sha:?}");
        }
    }

    #[test]
    fn no_resource_lies_in_another() {
        assert!(overlap("a", "a") && overlap("a/b", "a") && overlap("a", "a/b"));
        assert!(!overlap("a", "ab") && !overlap("a/b", "a/c"));
    }
}
