//! Who asks: what a key lets its holder do, and who pays.

use perennial_engine::ports::{GatewayKey, Payer};

use crate::refusal::{Kind, Refusal};

/// A caller that was let in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who pays.
    pub payer: Payer,
    /// Only these models.
    pub models: Option<Vec<String>>,
    /// Only these providers.
    pub providers: Option<Vec<String>>,
}

impl Caller {
    /// A caller that may ask for everything: the native loop, or a key of the workspace's API.
    #[must_use]
    pub const fn of(payer: Payer) -> Self {
        Self {
            payer,
            models: None,
            providers: None,
        }
    }

    /// The holder of a virtual key.
    #[must_use]
    pub fn with_key(key: GatewayKey) -> Self {
        Self {
            payer: Payer {
                workspace: key.workspace,
                session: key.session,
                agent: key.agent,
                key: Some(key.id),
                aside: false,
            },
            models: key.models,
            providers: key.providers,
        }
    }

    pub(crate) fn may_use(&self, provider: &str) -> Result<(), Refusal> {
        let listed = |names: &Vec<String>| names.iter().any(|name| name == provider);
        if self.providers.as_ref().is_none_or(listed) {
            return Ok(());
        }
        let message = format!("this key may not use the provider {provider:?}");
        Err(Refusal::new(Kind::Forbidden, message))
    }

    pub(crate) fn may_ask(&self, provider: &str, model: &str) -> Result<(), Refusal> {
        if self.models.as_ref().is_none_or(|names| lists(names, provider, model)) {
            return Ok(());
        }
        let message = format!("this key may not ask the model {model:?}");
        Err(Refusal::new(Kind::Forbidden, message))
    }
}

/// Whether a list of models has this one: as `MODEL` or `PROVIDER/MODEL`; a name that ends in `*` stands for all that begin so.
pub(crate) fn lists(names: &[String], provider: &str, model: &str) -> bool {
    let full = format!("{provider}/{model}");
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(start) => model.starts_with(start) || full.starts_with(start),
        None => name == model || *name == full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_models_in_three_ways() {
        let names = ["claude-a".to_owned(), "openai/gpt-b".to_owned(), "meta/*".to_owned()];
        for (provider, model, there) in [
            ("anthropic", "claude-a", true),
            ("anthropic", "claude-ab", false),
            ("openai", "gpt-b", true),
            ("other", "gpt-b", false),
            ("openrouter", "meta/llama", true),
            ("anthropic", "", false),
        ] {
            assert_eq!(lists(&names, provider, model), there, "{provider} {model}");
        }
        assert!(!lists(&[], "a", "b"));
    }
}
