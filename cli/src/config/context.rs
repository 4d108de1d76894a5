//! `[context]`: how much of a conversation models take, and from where on it is compacted.

use std::collections::BTreeMap;

use perennial_worker::model::Windows;
use serde::Deserialize;

use super::resolve::{Layers, wrong};
use super::{ConfigError, Origin};

/// `[context]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ContextSection {
    compact_percent: Option<u32>,
    window: Option<u32>,
    windows: BTreeMap<String, u64>,
}

impl Layers<'_> {
    pub(super) fn windows(&self, section: ContextSection) -> Result<Windows, ConfigError> {
        let known = Windows::default();
        let percent = self.number(
            None,
            "PERENNIAL_COMPACT_PERCENT",
            section.compact_percent.map(|value| (value, "context.compact_percent")),
            u32::try_from(known.compact_percent).unwrap_or(100),
        )?;
        if percent.value > 100 {
            let given = percent.value.to_string();
            return Err(wrong(&percent.from, &given, "a share of the window, 1 to 100 percent"));
        }
        let window = self.number(
            None,
            "PERENNIAL_CONTEXT_WINDOW",
            section.window.map(|value| (value, "context.window")),
            u32::try_from(known.default).unwrap_or(u32::MAX),
        )?;
        if let Some((model, _)) = section.windows.iter().find(|(_, tokens)| **tokens == 0) {
            let from = Origin::Table(format!("context.windows.{model:?}"));
            return Err(wrong(&from, "0", "a number of tokens"));
        }
        Ok(Windows {
            default: window.value.into(),
            models: section.windows,
            compact_percent: percent.value.into(),
        })
    }
}
