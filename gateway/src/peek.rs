//! What the gateway reads of a request's body: a few members at its top. The body itself goes on byte for byte.
//!
//! What is read here must be what the provider reads: a member that is there twice, or in other letters (some parsers do not
//! mind case), is refused, so that no model is asked but the one that was checked. So is a member that tells a proxy behind us
//! where to go or which key to use.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, IgnoredAny, MapAccess, Visitor};

use crate::limits::{INPUT_TOKENS, MODEL_BYTES, OUTPUT_TOKENS};
use crate::refusal::Refusal;

/// The top of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Peek {
    pub(crate) model: String,
    /// As asked for, under any of its names.
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: bool,
    /// Answers asked for at once.
    pub(crate) answers: u64,
    /// Names models beside the one.
    pub(crate) others: bool,
}

const MAX_TOKENS: [&str; 3] = ["max_tokens", "max_output_tokens", "max_completion_tokens"];
const FOREIGN: [&str; 4] = ["api_base", "base_url", "api_key", "api_base_url"];
/// What some proxies ask instead of the model that is named.
const OTHERS: [&str; 2] = ["models", "fallbacks"];

impl Peek {
    /// Reads a body.
    pub(crate) fn into(body: &[u8]) -> Result<Self, Refusal> {
        let peek: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::invalid(format!("the body is not a request: {error}")))?;
        if peek.model.is_empty() || peek.model.len() > MODEL_BYTES || peek.model.chars().any(char::is_control) {
            return Err(Refusal::invalid("model: name one"));
        }
        Ok(peek)
    }

    /// Tokens the request may need: what it says, at four bytes a token, and what it may be answered.
    pub(crate) fn tokens(&self, body: usize) -> (u64, u64) {
        let read = (body as u64 / 4).min(INPUT_TOKENS);
        let written = self.max_tokens.unwrap_or(OUTPUT_TOKENS);
        (read, written.saturating_mul(self.answers.max(1)).min(10_000_000))
    }
}

impl<'de> Deserialize<'de> for Peek {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Top)
    }
}

struct Top;

impl<'de> Visitor<'de> for Top {
    type Value = Peek;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Peek, A::Error> {
        let mut peek = Peek::default();
        let mut seen: Vec<&'static str> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let Some(known) = known(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if known != name {
                return Err(de::Error::custom(format_args!("{name:?} is written {known:?}")));
            }
            if seen.contains(&known) {
                return Err(de::Error::custom(format_args!("{known:?} is there twice")));
            }
            if FOREIGN.contains(&known) {
                return Err(de::Error::custom(format_args!(
                    "{known:?} is not passed on: where requests go is configured at the gateway"
                )));
            }
            seen.push(known);
            match known {
                "model" => peek.model = map.next_value::<Cow<'_, str>>()?.into_owned(),
                "stream" => peek.stream = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                "models" | "fallbacks" => {
                    peek.others = true;
                    map.next_value::<IgnoredAny>()?;
                }
                "n" => peek.answers = map.next_value::<Option<u64>>()?.unwrap_or_default(),
                _ => {
                    let wanted: Option<u64> = map.next_value()?;
                    peek.max_tokens = peek.max_tokens.max(wanted);
                }
            }
        }
        Ok(peek)
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The name we know this one as, in whatever letters.
fn known(name: &str) -> Option<&'static str> {
    let ours = ["model", "stream", "n"].into_iter().chain(MAX_TOKENS);
    ours.chain(FOREIGN)
        .chain(OTHERS)
        .find(|ours| ours.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        Peek::into(body.as_bytes()).unwrap_err().message
    }

    #[test]
    fn the_top_is_read_and_the_rest_is_not() {
        let body =
            br#"{"messages":[{"model":"other","role":"user"}],"model":"m\u0031","max_tokens":100,"stream":true}"#;
        let peek = Peek::into(body).unwrap();
        assert_eq!(
            (peek.model.as_str(), peek.max_tokens, peek.stream),
            ("m1", Some(100), true)
        );
        assert_eq!(peek.tokens(body.len()), (body.len() as u64 / 4, 100));
        let peek = Peek::into(br#"{"model":"m","n":3,"max_completion_tokens":null}"#).unwrap();
        assert_eq!(peek.tokens(1 << 30), (INPUT_TOKENS, 3 * OUTPUT_TOKENS));
    }

    #[test]
    fn two_readings_are_refused() {
        assert!(refused(r#"{"model":"a","model":"b"}"#).contains("twice"));
        assert!(refused(r#"{"model":"a","mod\u0065l":"b"}"#).contains("twice"));
        assert!(refused(r#"{"model":"a","Model":"b"}"#).contains("written"));
        assert!(refused(r#"{"model":"a","base_url":"http://evil"}"#).contains("not passed on"));
        assert!(refused(r#"{"model":"a","API_BASE":"http://evil"}"#).contains("written"));
        assert!(refused("[]").contains("not a request"));
        assert!(refused(r#"{"model":7}"#).contains("not a request"));
        assert!(refused(r#"{"stream":true}"#).contains("name one"));
        assert!(refused(r#"{"model":"a"} {"model":"b"}"#).contains("not a request"));
        assert!(refused("").contains("not a request"));
    }
}
