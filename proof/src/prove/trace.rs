//! What processes said of themselves, read from their logs: which recovery paths were taken, and who held which session when.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Loss;

/// Lines that are counted; the product writes them where the path is taken.
const STALE_AT_LOG: &str = "a stale write was refused by the log";
const STALE_AT_EXECUTOR: &str = "a stale call was refused by the executor";
const RESOLVED: &str = "an ambiguous commit was resolved";
const FREED: &str = "a worker died: what it held is free";
const YIELDED: &str = "yielding a session";
const CLAIMED: &str = "claimed a session";

/// The filter under which processes say all of that.
pub(super) const FILTER: &str = "info,perennial_worker=debug";

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Writes of an old lease that the log refused.
    pub stale_at_log: u64,
    /// Calls of an old lease that executors refused.
    pub stale_at_executor: u64,
    /// Commits whose outcome was unknown and was found out by their append id.
    pub resolved: u64,
    /// Dead workers whose sessions a neighbour freed before their lease ran out.
    pub freed: u64,
    /// Sessions that an older worker gave back, for a newer one to drive.
    pub yielded: u64,
    /// Claims of each session, in order of time: when, and by whose log file.
    claims: BTreeMap<String, Vec<(DateTime<Utc>, PathBuf)>>,
}

impl Trace {
    /// Reads the logs of processes.
    pub(super) fn read<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut trace = Self::default();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            for line in text.lines() {
                trace.line(line, file);
            }
        }
        for claims in trace.claims.values_mut() {
            claims.sort();
        }
        trace
    }

    fn line(&mut self, line: &str, file: &Path) {
        let counted = [
            (STALE_AT_LOG, &mut self.stale_at_log),
            (STALE_AT_EXECUTOR, &mut self.stale_at_executor),
            (RESOLVED, &mut self.resolved),
            (FREED, &mut self.freed),
            (YIELDED, &mut self.yielded),
        ];
        for (said, count) in counted {
            *count += u64::from(line.contains(said));
        }
        if line.contains(CLAIMED)
            && let Some(at) = line.split_whitespace().next().and_then(time)
            && let Some(session) = field(line, "session.id=")
        {
            let claims = self.claims.entry(session.to_owned()).or_default();
            claims.push((at, file.to_owned()));
        }
    }

    /// Whether the process that was lost held the session then.
    #[must_use]
    pub fn held(&self, loss: &Loss, session: &str) -> bool {
        let Some(log) = &loss.log else { return true };
        let claims = self.claims.get(session).map(Vec::as_slice).unwrap_or_default();
        let last = claims.iter().rfind(|(at, _)| *at <= loss.at);
        last.is_some_and(|(_, by)| by == log)
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(name)?;
    rest.split([' ', '}', ',', ':']).next()
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.with_timezone(&Utc))
}

/// From a loss to the next record of a session that was at work then.
#[must_use]
pub fn takeover(log: &[Value], lost: DateTime<Utc>) -> Option<Duration> {
    let (mut working, mut next) = (false, None);
    for event in log {
        let at = event["created_at"].as_str().and_then(time)?;
        let kind = event["type"].as_str().unwrap_or_default();
        if at > lost {
            // What clients say is not our doing.
            if !kind.starts_with("user.") {
                next = Some(at);
                break;
            }
        } else if kind == "session.status_running" {
            working = true;
        } else if kind == "session.status_idle" {
            working = false;
        }
    }
    let waited = next.filter(|_| working)?.signed_duration_since(lost);
    waited.to_std().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        time(&format!("2026-01-01T00:00:{second:02}Z")).unwrap()
    }

    #[test]
    fn a_takeover_ends_with_the_first_record_of_another() {
        let event = |kind: &str, second: u32| json!({"type": kind, "created_at": at(second).to_rfc3339()});
        let log = [
            event("session.status_running", 1),
            event("tool.dispatched", 2),
            event("user.message", 4),
            event("agent.tool_result", 5),
            event("session.status_idle", 6),
        ];
        assert_eq!(takeover(&log, at(3)), Some(Duration::from_secs(2)));
        assert_eq!(takeover(&log, at(7)), None);
        assert_eq!(takeover(&log, at(0)), None);
    }

    #[test]
    fn logs_say_who_held_what_and_what_was_refused() {
        let folder = std::env::temp_dir().join(format!("perennial-trace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (one, two) = (folder.join("one.log"), folder.join("two.log"));
        let claim = |second: u32| {
            format!(
                "{}  DEBUG worker.session.drive{{session.id=sesn_1 lease.epoch=3}}: perennial_worker::session: claimed a session\n",
                at(second).to_rfc3339()
            )
        };
        std::fs::write(&one, claim(1)).unwrap();
        let refused = "… WARN perennial_worker: a stale write was refused by the log\n";
        std::fs::write(&two, format!("{}{refused}", claim(3))).unwrap();
        let trace = Trace::read([one.as_path(), two.as_path()]);
        assert_eq!((trace.stale_at_log, trace.stale_at_executor), (1, 0));
        let loss = |second, log: &Path| Loss {
            at: at(second),
            log: Some(log.to_owned()),
        };
        assert!(trace.held(&loss(2, &one), "sesn_1") && !trace.held(&loss(2, &two), "sesn_1"));
        assert!(trace.held(&loss(4, &two), "sesn_1") && !trace.held(&loss(4, &one), "sesn_1"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
