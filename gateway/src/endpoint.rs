//! What may be asked: a closed list of methods and paths, compared as they are written. Nothing is decoded or normalised
//! first, so there is nothing to get around it with.

use http::Method;

use crate::limits::PATH_BYTES;
use crate::refusal::{Kind, Refusal};
use crate::wire::{Dialect, Wire};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A model's answer on a wire: counted.
    Model(Wire),
    /// How many tokens a Messages request would have: costs nothing.
    CountTokens,
    /// Which models there are, or one of them: costs nothing.
    Models,
}

impl Endpoint {
    /// The endpoint of a path below a provider's root.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, Refusal> {
        let (endpoint, allowed) = match path {
            "/v1/messages" => (Self::Model(Wire::Messages), Method::POST),
            "/v1/messages/count_tokens" => (Self::CountTokens, Method::POST),
            "/v1/responses" => (Self::Model(Wire::Responses), Method::POST),
            "/v1/chat/completions" => (Self::Model(Wire::Chat), Method::POST),
            "/v1/models" => (Self::Models, Method::GET),
            _ if path.strip_prefix("/v1/models/").is_some_and(is_model_path) => (Self::Models, Method::GET),
            _ => {
                return Err(Refusal::new(
                    Kind::NoEndpoint,
                    "the gateway passes on POST /v1/messages, /v1/messages/count_tokens, /v1/responses and \
                     /v1/chat/completions, and GET /v1/models; nothing else",
                ));
            }
        };
        if *method == allowed {
            Ok(endpoint)
        } else {
            Err(Refusal::new(
                Kind::NoMethod,
                format!("this endpoint takes {allowed} only"),
            ))
        }
    }

    /// Whether a provider of a wire has it.
    pub(crate) const fn is_served_by(self, wire: Wire) -> bool {
        match self {
            Self::Model(asked) => wire.serves(asked),
            Self::CountTokens => matches!(wire, Wire::Messages),
            Self::Models => true,
        }
    }
}

/// Model names have slashes at some providers.
fn is_model_path(rest: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
    rest.len() <= PATH_BYTES
        && rest
            .split('/')
            .all(|part| !part.is_empty() && part.bytes().any(|byte| byte != b'.') && part.bytes().all(plain))
}

/// Whose errors the caller of a path understands; a list of models says it by a header of Anthropic's only.
#[must_use]
pub fn dialect(path: &str, anthropic_header: bool) -> Dialect {
    if path.contains("/messages") || (anthropic_header && !path.contains("/responses") && !path.contains("/chat")) {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_closed() {
        let found = |method: Method, path| Endpoint::find(&method, path).map_err(|refusal| refusal.kind);
        assert_eq!(found(Method::POST, "/v1/messages"), Ok(Endpoint::Model(Wire::Messages)));
        assert_eq!(found(Method::GET, "/v1/models/claude-x"), Ok(Endpoint::Models));
        assert_eq!(
            found(Method::GET, "/v1/models/openai/gpt-oss:20b"),
            Ok(Endpoint::Models)
        );
        assert_eq!(found(Method::GET, "/v1/messages"), Err(Kind::NoMethod));
        assert_eq!(found(Method::DELETE, "/v1/models/x"), Err(Kind::NoMethod));
        for path in [
            "/v1/files",
            "/v1/messages/batches",
            "/v1/batches",
            "/v1/messages/",
            "/v1//messages",
            "/v1/models/",
            "/v1/models/..",
            "/v1/models/../files",
            "/v1/models/%2e%2e/files",
            "/v1/models/a//b",
            "/v1/./messages",
            "/v1/messages/../files",
            "/V1/messages",
            "/v1/responses/resp_1",
            "/v1/organizations",
            "",
        ] {
            assert_eq!(found(Method::POST, path), Err(Kind::NoEndpoint), "{path}");
            assert_eq!(found(Method::GET, path), Err(Kind::NoEndpoint), "{path}");
        }
    }
}
