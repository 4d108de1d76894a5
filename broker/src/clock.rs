//! The machine's clock as a port. Stores take any [`Clock`], so that tests own time.

use std::time::SystemTime;

use perennial_engine::ports::Clock;
use perennial_schema::Timestamp;

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = since_epoch.map_or(0, |elapsed| elapsed.as_micros());
        Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}
