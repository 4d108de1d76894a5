//! What usage looks like on each wire.

use perennial_schema::model::Usage;
use serde::Deserialize;

use crate::wire::Wire;

/// One event of a stream, or a whole answer: as much as usage is in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Words {
    #[serde(rename = "type")]
    kind: Option<String>,
    usage: Option<Counts>,
    message: Option<Inner>,
    response: Option<Inner>,
    error: Option<Fault>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inner {
    usage: Option<Counts>,
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Fault {
    Told {
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        code: Option<serde_json::Value>,
    },
    Other(serde::de::IgnoredAny),
}

/// Every wire's names; each has some of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Words {
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Adds what these words say to what earlier ones said: counts of a stream are totals so far.
    pub(super) fn count(&self, wire: Wire, usage: &mut Option<Usage>) {
        let inner = self.message.as_ref().or(self.response.as_ref());
        let counts = self.usage.as_ref().or_else(|| inner?.usage.as_ref());
        let Some(counts) = counts else { return };
        let sum = usage.get_or_insert_default();
        let set = |count: &mut u64, total: Option<u64>| *count = total.unwrap_or(*count);
        match wire {
            Wire::Messages => {
                set(&mut sum.input_tokens, counts.input_tokens);
                set(&mut sum.output_tokens, counts.output_tokens);
                set(&mut sum.cache_creation_input_tokens, counts.cache_creation_input_tokens);
                set(&mut sum.cache_read_input_tokens, counts.cache_read_input_tokens);
            }
            Wire::Responses | Wire::Chat => {
                let details = counts
                    .input_tokens_details
                    .as_ref()
                    .or(counts.prompt_tokens_details.as_ref());
                let cached = details.and_then(|details| details.cached_tokens);
                let read = counts.input_tokens.or(counts.prompt_tokens);
                let read = read.map(|read| read.saturating_sub(cached.unwrap_or(0)));
                set(&mut sum.input_tokens, read);
                set(
                    &mut sum.output_tokens,
                    counts.output_tokens.or(counts.completion_tokens),
                );
                set(&mut sum.cache_read_input_tokens, cached);
            }
        }
    }

    /// Nothing follows these.
    pub(super) fn are_last(&self) -> bool {
        matches!(
            self.kind.as_deref(),
            Some("message_stop" | "response.completed" | "response.incomplete" | "response.failed")
        )
    }

    /// The type of error they tell of.
    pub(super) fn error(&self) -> Option<String> {
        let inner = || self.response.as_ref()?.error.as_ref();
        match self.error.as_ref().or_else(inner)? {
            Fault::Told { kind, code } => {
                let code = code.as_ref().and_then(|code| code.as_str().map(str::to_owned));
                Some(kind.clone().or(code).unwrap_or_else(|| "error".to_owned()))
            }
            Fault::Other(_) => Some("error".to_owned()),
        }
    }
}
