//! `[harness]`: how many processes of driven harnesses a worker has, and how much memory.

use std::time::Duration;

use perennial_worker::harness::Limits;
use serde::Deserialize;

use super::ConfigError;
use super::resolve::Layers;

/// Bytes of a megabyte, as settings count them.
const MIB: u64 = 1024 * 1024;

/// `[harness]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HarnessSection {
    processes: Option<u32>,
    process_mb: Option<u32>,
    resting: Option<u32>,
    resting_mb: Option<u32>,
    rest_ms: Option<u64>,
}

impl Layers<'_> {
    pub(super) fn harness(&self, section: &HarnessSection) -> Result<Limits, ConfigError> {
        let known = Limits::default();
        let count = |known: usize| u32::try_from(known).unwrap_or(u32::MAX);
        let megabytes = |known: u64| u32::try_from(known / MIB).unwrap_or(u32::MAX);
        let number = |variable: &str, value: Option<u32>, name: &'static str, default: u32| {
            let file = value.map(|value| (value, name));
            self.number(None, variable, file, default).map(|setting| setting.value)
        };
        let processes = number(
            "PERENNIAL_HARNESS_PROCESSES",
            section.processes,
            "harness.processes",
            count(known.processes),
        )?;
        let process_mb = number(
            "PERENNIAL_HARNESS_PROCESS_MB",
            section.process_mb,
            "harness.process_mb",
            megabytes(known.process_bytes),
        )?;
        let resting = number(
            "PERENNIAL_HARNESS_RESTING",
            section.resting,
            "harness.resting",
            count(known.resting),
        )?;
        let resting_mb = number(
            "PERENNIAL_HARNESS_RESTING_MB",
            section.resting_mb,
            "harness.resting_mb",
            megabytes(known.resting_bytes),
        )?;
        let rest = self.number(
            None,
            "PERENNIAL_HARNESS_REST_MS",
            section.rest_ms.map(|value| (value, "harness.rest_ms")),
            u64::try_from(known.rest.as_millis()).unwrap_or(u64::MAX),
        )?;
        Ok(Limits {
            processes: processes as usize,
            resting: resting as usize,
            resting_bytes: u64::from(resting_mb) * MIB,
            rest: Duration::from_millis(rest.value),
            process_bytes: u64::from(process_mb) * MIB,
        })
    }
}
