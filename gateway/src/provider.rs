//! Providers: where models are, what is spoken there, and with which key. All of it is configuration; no request says any of it.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::caller::lists;
use crate::refusal::{Kind, Refusal};
use crate::wire::Wire;

/// The provider of `claude-…` and `anthropic/…`.
pub const ANTHROPIC: &str = "anthropic";
/// The provider of every model that names no other.
pub const OPENAI: &str = "openai";
/// Base URL of Anthropic's API.
pub const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";
/// Base URL of OpenAI's API.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// How a provider knows us.
#[derive(Clone, Debug)]
pub enum Credential {
    /// By this key.
    Key(SecretString),
    /// It does not ask: a server of one's own.
    Keyless,
    /// By a key that is not there.
    Missing {
        /// What to set.
        setting: String,
    },
}

/// A provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What it speaks.
    pub wire: Wire,
    /// Where it is, as its wire's official clients want it: for Messages with or without `/v1`, for the others with it.
    pub base_url: String,
    /// How it knows us.
    pub credential: Credential,
    /// Sent with each request, instead of the caller's.
    pub headers: Vec<(String, SecretString)>,
    /// Only these models; none means all it has.
    pub models: Option<Vec<String>>,
}

impl Provider {
    /// A provider with a key and nothing special.
    #[must_use]
    pub fn new(wire: Wire, base_url: impl Into<String>, credential: Credential) -> Self {
        Self {
            wire,
            base_url: base_url.into(),
            credential,
            headers: Vec::new(),
            models: None,
        }
    }

    /// Its key, when it has one that is worth looking for in answers.
    pub(crate) fn secret(&self) -> Option<&str> {
        match &self.credential {
            Credential::Key(key) => {
                Some(key.expose_secret().trim()).filter(|key| key.len() >= crate::limits::SCRUBBED_KEY_BYTES)
            }
            Credential::Keyless | Credential::Missing { .. } => None,
        }
    }

    /// The whole address of a path that begins with `/v1`.
    pub(crate) fn url(&self, name: &str, path: &str, query: Option<&str>) -> Result<Url, Refusal> {
        let base = self.base_url.trim_end_matches('/');
        let text = match self.wire {
            Wire::Messages => format!("{}{path}", base.strip_suffix("/v1").unwrap_or(base)),
            Wire::Responses | Wire::Chat => format!("{base}{}", path.strip_prefix("/v1").unwrap_or(path)),
        };
        let url = Url::parse(&text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let mut url = url.ok_or_else(|| {
            Refusal::new(Kind::Setup, format!("the provider {name:?} has no usable base URL."))
                .detail(format!("It cannot be asked at {text:?}; check its base URL"))
        })?;
        url.set_query(query);
        Ok(url)
    }

    /// Adds what the provider must know us by.
    pub(crate) fn sign(&self, name: &str, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let bad = |what: &str| {
            let message = format!("the {what} for {name} has characters none can have; set it again");
            Refusal::new(Kind::Setup, message)
        };
        for (header, value) in &self.headers {
            let header = HeaderName::try_from(header.as_str()).map_err(|_| bad("header"))?;
            headers.insert(header, sensitive(value.expose_secret()).ok_or_else(|| bad("header"))?);
        }
        let key = match &self.credential {
            Credential::Key(key) => key.expose_secret().trim(),
            Credential::Keyless => "",
            Credential::Missing { setting } => return Err(missing(name, setting)),
        };
        if key.is_empty() {
            return Ok(());
        }
        let (header, text) = match self.wire {
            Wire::Messages => (HeaderName::from_static("x-api-key"), key.to_owned()),
            Wire::Responses | Wire::Chat => (http::header::AUTHORIZATION, format!("Bearer {key}")),
        };
        headers.insert(header, sensitive(&text).ok_or_else(|| bad("API key"))?);
        Ok(())
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(crate) fn missing(name: &str, setting: &str) -> Refusal {
    Refusal::new(
        Kind::Setup,
        format!("no key is set for the provider {name:?}: set {setting} where the server runs and start it again"),
    )
}

/// Which provider serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Its name.
    pub provider: &'a str,
    /// The model as it knows it.
    pub model: &'a str,
}

/// Providers by name.
#[derive(Clone, Debug, Default)]
pub struct Providers(BTreeMap<String, Provider>);

impl Providers {
    /// These, and no others.
    #[must_use]
    pub const fn new(named: BTreeMap<String, Provider>) -> Self {
        Self(named)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.0.get(name)
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Provider)> {
        self.0.iter().map(|(name, provider)| (name.as_str(), provider))
    }

    /// Whose model an id names: `PROVIDER/MODEL`, `claude-…` for Anthropic, and everything else for the OpenAI-compatible one.
    #[must_use]
    pub fn route<'a>(&'a self, id: &'a str) -> Route<'a> {
        let to = |provider, model| Route { provider, model };
        if id == crate::REHEARSAL_MODEL {
            return to(crate::REHEARSAL, id);
        }
        match id.split_once('/') {
            Some((name, model)) if self.0.contains_key(name) || name == ANTHROPIC || name == OPENAI => to(name, model),
            _ if id.starts_with("claude-") => to(ANTHROPIC, id),
            _ => to(OPENAI, id),
        }
    }

    /// A provider that may be asked for a model.
    pub(crate) fn find(&self, name: &str) -> Result<&Provider, Refusal> {
        self.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let shown: String = name.chars().take(64).collect();
            let message = format!("no provider {shown:?} here; there are: {}", names.join(", "));
            Refusal::new(Kind::NoProvider, message)
        })
    }
}

impl Provider {
    pub(crate) fn has(&self, name: &str, model: &str) -> Result<(), Refusal> {
        if self.models.as_ref().is_none_or(|names| lists(names, name, model)) {
            return Ok(());
        }
        let message = format!("the provider {name:?} is not to be asked for the model {model:?}");
        Err(Refusal::new(Kind::Forbidden, message))
    }
}

/// Whether a provider may be called so: its name is a part of paths.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    !matches!(name, "" | "v1") && name != crate::REHEARSAL && name.len() <= 64 && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers() -> Providers {
        let provider = |wire, url: &str| Provider::new(wire, url, Credential::Keyless);
        let named = [
            ("anthropic", provider(Wire::Messages, ANTHROPIC_BASE_URL)),
            ("openai", provider(Wire::Responses, OPENAI_BASE_URL)),
            ("ollama", provider(Wire::Chat, "http://localhost:11434/v1/")),
        ];
        Providers::new(
            named
                .into_iter()
                .map(|(name, provider)| (name.to_owned(), provider))
                .collect(),
        )
    }

    #[test]
    fn ids_find_their_provider() {
        let providers = providers();
        for (id, provider, model) in [
            ("rehearsal-1", "rehearsal", "rehearsal-1"),
            ("claude-x", "anthropic", "claude-x"),
            ("anthropic/other", "anthropic", "other"),
            ("openai/claude-x", "openai", "claude-x"),
            ("openai/openai/gpt-oss", "openai", "openai/gpt-oss"),
            ("meta/llama", "openai", "meta/llama"),
            ("ollama/qwen3:8b", "ollama", "qwen3:8b"),
            ("rehearsal-2", "openai", "rehearsal-2"),
        ] {
            assert_eq!(providers.route(id), Route { provider, model }, "{id}");
        }
    }

    #[test]
    fn addresses_are_the_base_and_the_path() {
        let providers = providers();
        let url = |name: &str, path, query| {
            let provider = providers.get(name).unwrap();
            provider.url(name, path, query).unwrap().to_string()
        };
        assert_eq!(
            url("anthropic", "/v1/messages", Some("beta=true")),
            "https://api.anthropic.com/v1/messages?beta=true"
        );
        assert_eq!(
            url("openai", "/v1/responses", None),
            "https://api.openai.com/v1/responses"
        );
        assert_eq!(
            url("ollama", "/v1/chat/completions", None),
            "http://localhost:11434/v1/chat/completions"
        );
        for base in ["not a url", "file:///etc/passwd", "ftp://x"] {
            let refused = Provider::new(Wire::Chat, base, Credential::Keyless).url("x", "/v1/models", None);
            assert_eq!(refused.unwrap_err().kind, Kind::Setup, "{base}");
        }
    }

    #[test]
    fn names_are_parts_of_paths() {
        for name in ["ollama", "my-vllm_2"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "v1", "rehearsal", "A", "a/b", "a.b", "é"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
