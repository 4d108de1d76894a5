//! Which server: `PERENNIAL_URL` and `PERENNIAL_KEY`, else the one that runs on the data directory.

use std::fs;
use std::io::ErrorKind;

use secrecy::SecretString;
use serde::Deserialize;

use crate::config::Settings;
use crate::error::Error;
use crate::paths;

/// A server and the right to use it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Base URL, without a slash at its end.
    pub base: String,
    /// API key.
    pub key: SecretString,
    /// What to try when it does not answer.
    hint: String,
}

/// `server.json` of a data directory.
#[derive(Debug, Deserialize)]
struct ServerFile {
    url: String,
    pid: u32,
}

impl Server {
    /// Looks it up; reads files only.
    pub fn find(settings: &Settings) -> Result<Self, Error> {
        match &settings.url {
            Some(url) => {
                let key = settings
                    .key
                    .as_ref()
                    .ok_or_else(|| Error::NoKey { url: url.value.clone() })?;
                Ok(Self {
                    base: url.value.trim_end_matches('/').to_owned(),
                    key: key.value.clone(),
                    hint: format!(" (its address comes from {})", url.from),
                })
            }
            None => Self::of_data_dir(settings),
        }
    }

    /// A server that is asked for what needs no key.
    pub(super) fn without_key(base: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            key: SecretString::default(),
            hint: String::new(),
        }
    }

    fn of_data_dir(settings: &Settings) -> Result<Self, Error> {
        let data_dir = &settings.data_dir.value;
        let path = paths::server_file(data_dir);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::NoServer {
                    data_dir: data_dir.clone(),
                });
            }
            other => other.map_err(Error::io(format!("cannot read {}", path.display())))?,
        };
        let file: ServerFile = serde_json::from_str(&text)
            .map_err(|error| Error::Failed(format!("{} is damaged: {error}", path.display())))?;
        let key = match &settings.key {
            Some(key) => key.value.clone(),
            None => {
                let path = paths::key_file(data_dir);
                let key = fs::read_to_string(&path).map_err(Error::io(format!("cannot read {}", path.display())))?;
                SecretString::from(key.trim().to_owned())
            }
        };
        Ok(Self {
            base: file.url.trim_end_matches('/').to_owned(),
            key,
            hint: format!(
                "; process {} on {} seems to be gone: start it again with `perennial up`",
                file.pid,
                data_dir.display()
            ),
        })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        let Ok(url) = reqwest::Url::parse(&self.base) else {
            return false;
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// The error of a request that got no answer.
    pub(super) fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable {
            url: self.base.clone(),
            hint: if source.is_connect() {
                self.hint.clone()
            } else {
                String::new()
            },
            source: source.without_url(),
        }
    }
}
