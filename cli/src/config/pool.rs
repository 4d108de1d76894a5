//! `[pool]`: how many sessions of a workspace are worked on at once, and the worker processes a server keeps.

use serde::Deserialize;

use super::resolve::{Layers, Named, by_default, wrong};
use super::{ConfigError, Flags, Setting};

/// How long more workers than are wanted are kept: the next turn may come soon.
const DEFAULT_IDLE_MS: u64 = 60_000;
/// Worker processes of one server: beyond that they want hosts of their own.
const MOST: u32 = 64;

/// `[pool]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolSection {
    workspace_slots: Option<u32>,
    min: Option<u32>,
    max: Option<u32>,
    idle_ms: Option<u64>,
}

/// The pool of workers.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Sessions of a workspace that are worked on at once, by all workers together; none means as many as there are slots.
    pub workspace_slots: Option<Setting<u32>>,
    /// Worker processes that this server keeps; none means that others start them.
    pub kept: Option<Kept>,
}

/// Worker processes that a server keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// At least so many, also when there is nothing to do.
    pub min: u32,
    /// At most so many, however much there is to do.
    pub max: Setting<u32>,
    /// How long one that is not wanted is kept, in milliseconds.
    pub idle_ms: u64,
}

impl Layers<'_> {
    pub(super) fn pool(&self, flags: &Flags, file: &PoolSection) -> Result<PoolSettings, ConfigError> {
        let workspace_slots = self.maybe_number(
            flags.workspace_slots.map(|value| (value, "--workspace-slots")),
            "PERENNIAL_WORKSPACE_SLOTS",
            file.workspace_slots.map(|value| (value, "pool.workspace_slots")),
        )?;
        let max = self.maybe_number(
            flags.max_workers.map(|value| (value, "--max")),
            "PERENNIAL_MAX_WORKERS",
            file.max.map(|value| (value, "pool.max")),
        )?;
        let min = self.maybe_none(
            flags.min_workers.map(|value| (value, "--min")),
            "PERENNIAL_MIN_WORKERS",
            file.min.map(|value| (value, "pool.min")),
        )?;
        let idle = self.number(
            None,
            "PERENNIAL_POOL_IDLE_MS",
            file.idle_ms.map(|value| (value, "pool.idle_ms")),
            DEFAULT_IDLE_MS,
        )?;
        Ok(PoolSettings {
            workspace_slots,
            kept: kept(min, max, idle.value)?,
        })
    }

    /// A number that may be none.
    fn maybe_none(
        &self,
        flag: Named<u32>,
        variable: &str,
        file: Named<u32>,
    ) -> Result<Option<Setting<u32>>, ConfigError> {
        let text = |(value, name): (u32, _)| (value.to_string(), name);
        let Some(found) = self.text(flag.map(text), variable, file.map(text)) else {
            return Ok(None);
        };
        let value = found.value.parse();
        let value = value.map_err(|_| wrong(&found.from, &found.value, "a whole number from 0"))?;
        Ok(Some(Setting {
            value,
            from: found.from,
        }))
    }
}

fn kept(min: Option<Setting<u32>>, max: Option<Setting<u32>>, idle_ms: u64) -> Result<Option<Kept>, ConfigError> {
    let Some(max) = max else {
        return match min {
            Some(min) => Err(wrong(
                &min.from,
                &min.value.to_string(),
                "--max beside it: how many workers there may be",
            )),
            None => Ok(None),
        };
    };
    if max.value > MOST {
        return Err(wrong(
            &max.from,
            &max.value.to_string(),
            "at most 64 workers of one server",
        ));
    }
    let min = min.unwrap_or_else(|| by_default(0));
    if min.value > max.value {
        let expected = format!("at most --max, which is {}", max.value);
        return Err(wrong(&min.from, &min.value.to_string(), &expected));
    }
    Ok(Some(Kept {
        min: min.value,
        max,
        idle_ms,
    }))
}
