//! How much of a conversation a model takes, in tokens, and from where on it is compacted.

use std::collections::BTreeMap;

/// A model nobody has said anything about.
const DEFAULT: u64 = 200_000;
/// Part of the window that is used before the context is compacted, in percent.
const COMPACT_PERCENT: u64 = 80;

/// Windows known by the beginning of a model's name; the longest beginning counts. What is not known and smaller than the
/// default is found out when the provider refuses a context as too long: it is compacted then.
const KNOWN: &[(&str, u64)] = &[
    ("claude-", 200_000),
    ("codex-", 272_000),
    ("deepseek", 128_000),
    ("gemini-", 1_000_000),
    ("gpt-3.5", 16_000),
    ("gpt-4", 8_000),
    ("gpt-4-turbo", 128_000),
    ("gpt-4.1", 1_000_000),
    ("gpt-4o", 128_000),
    ("gpt-5", 272_000),
    ("gpt-oss", 128_000),
    ("llama-3", 128_000),
    ("llama3", 128_000),
    ("mistral", 128_000),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4", 200_000),
    ("qwen", 128_000),
];

/// Settings on windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of models that neither `models` nor this build knows.
    pub default: u64,
    /// By model id, or by its beginning; stronger than what this build knows.
    pub models: BTreeMap<String, u64>,
    /// Part of the window that is used before the context is compacted, in percent.
    pub compact_percent: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            default: DEFAULT,
            models: BTreeMap::new(),
            compact_percent: COMPACT_PERCENT,
        }
    }
}

impl Windows {
    /// The window of a model. A routing prefix (`openai/…`) counts in settings, and is passed over for what is known.
    #[must_use]
    pub fn of(&self, id: &str) -> u64 {
        let set = self.models.iter().filter(|(name, _)| id.starts_with(name.as_str()));
        let bare = id.rsplit('/').next().unwrap_or(id);
        let known = KNOWN.iter().filter(|(name, _)| bare.starts_with(name));
        set.max_by_key(|(name, _)| name.len())
            .map(|(_, tokens)| *tokens)
            .or_else(|| known.max_by_key(|(name, _)| name.len()).map(|(_, tokens)| *tokens))
            .unwrap_or(self.default)
    }

    /// Tokens beyond which a model's context is compacted.
    #[must_use]
    pub fn compact_at(&self, id: &str) -> u64 {
        self.of(id) / 100 * self.compact_percent.min(100)
    }

    /// Most tokens of one answer: a quarter of the window at most, so that small ones have room for a question.
    #[must_use]
    pub fn answer(&self, id: &str, most: u32) -> u32 {
        u32::try_from(self.of(id) / 4)
            .unwrap_or(u32::MAX)
            .clamp(256, most.max(256))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_counts_and_settings_count_more() {
        let mut windows = Windows::default();
        let of = |windows: &Windows, id: &str| windows.of(id);
        assert_eq!(of(&windows, "gpt-4o-mini"), 128_000);
        assert_eq!(of(&windows, "openai/gpt-4"), 8_000);
        assert_eq!(of(&windows, "openrouter/meta/llama-3.3"), 128_000);
        assert_eq!(of(&windows, "my-model"), 200_000);
        windows.models = [("my-".to_owned(), 9_000), ("my-model".to_owned(), 32_000)].into();
        windows.compact_percent = 50;
        assert_eq!(of(&windows, "my-model-2"), 32_000);
        assert_eq!(
            (windows.compact_at("my-model"), windows.compact_at("my-x")),
            (16_000, 4_500)
        );
        assert_eq!(
            (windows.answer("my-x", 16_384), windows.answer("claude-x", 16_384)),
            (2_250, 16_384)
        );
    }
}
