//! The one clock: the database's, unless a test owns time.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use perennial_engine::ports::Clock;

use super::script::Script;

/// Where `now` comes from.
#[derive(Clone, Default)]
pub(crate) struct Time(pub(super) Option<Arc<dyn Clock>>);

impl Time {
    /// A test's time; none means the database's own clock.
    pub(crate) fn given(&self) -> Option<DateTime<Utc>> {
        self.0.as_ref().map(|clock| clock.now().datetime())
    }

    /// Begins a statement with `clock (now, given)`. `clock_timestamp()`, because `now()` is when the transaction began.
    pub(crate) fn script(&self) -> Script {
        let mut script = Script::new(
            "WITH RECURSIVE clock AS MATERIALIZED (
                SELECT coalesce(t, clock_timestamp()) AS now, t IS NOT NULL AS given FROM (SELECT ",
        );
        script.bind(self.given()).sql("::timestamptz AS t) AS t)");
        script
    }
}

/// Whether the owner `o` is believed alive, beside `clock c`. After a start of the server nobody is dead for one time to
/// live: nobody could renew while it was down.
pub(super) const ALIVE: &str =
    "(o.expires_at > c.now OR (NOT c.given AND c.now <= pg_postmaster_start_time() + o.ttl))";
