//! Which sandboxes this process uses: a running call or an open stream keeps its sandbox running, wherever that is made.
//!
//! Whoever makes it reads the store, so a use is said there, for [`SANDBOX_USE`] at a time. It is said with the first use, again as
//! long as there is one, and taken back some time after the last: a session that calls all the time costs a write every ten seconds,
//! not one a call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perennial_engine::ports::{SANDBOX_USE, Sandbox, SandboxState};
use perennial_schema::{ExecutorId, Timestamp};
use tokio::sync::Notify;

use crate::limits::{USE_QUIET, USE_RENEW};

/// The uses of all sandboxes by this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: Mutex<BTreeMap<ExecutorId, Use>>,
    first: Notify,
}

#[derive(Debug)]
struct Use {
    running: usize,
    /// When the last one began or ended.
    last: Instant,
    said: Option<Said>,
}

/// What the store was told last.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// Before it was told, by this process's clock.
    at: Instant,
    /// By the store's.
    until: Timestamp,
    /// It was running then, or on its way: it is not paused before it is unused.
    steady: bool,
}

/// A use, until it is dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    uses: Uses,
    executor: ExecutorId,
}

/// What the store is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// These are used on.
    pub(crate) hold: Vec<ExecutorId>,
    /// These are not: what was said last, and for how long.
    pub(crate) release: Vec<(ExecutorId, Timestamp, Duration)>,
}

impl Uses {
    fn known(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, Use>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a use.
    pub(crate) fn enter(&self, executor: ExecutorId) -> InUse {
        let mut known = self.known();
        let used = known.entry(executor).or_insert_with(|| Use {
            running: 0,
            last: Instant::now(),
            said: None,
        });
        used.running += 1;
        used.last = Instant::now();
        drop(known);
        self.0.first.notify_one();
        InUse {
            uses: self.clone(),
            executor,
        }
    }

    /// The store was told, after this moment, and this is what it answered.
    pub(crate) fn said(&self, at: Instant, sandbox: &Sandbox) {
        if let Some(used) = self.known().get_mut(&sandbox.executor) {
            used.said = Some(Said {
                at,
                until: sandbox.used_until,
                steady: is_steady(sandbox),
            });
        }
    }

    /// How a sandbox is, as the store said after it was told of a use.
    pub(crate) fn seen(&self, sandbox: &Sandbox) {
        if let Some(said) = self
            .known()
            .get_mut(&sandbox.executor)
            .and_then(|used| used.said.as_mut())
        {
            said.steady = is_steady(sandbox);
        }
    }

    /// Whether the store knows that it is used, for a while yet.
    pub(crate) fn is_said(&self, executor: ExecutorId) -> bool {
        self.fresh(executor).is_some()
    }

    /// Whether it cannot be paused for a while yet.
    pub(crate) fn is_steady(&self, executor: ExecutorId) -> bool {
        self.fresh(executor).is_some_and(|said| said.steady)
    }

    fn fresh(&self, executor: ExecutorId) -> Option<Said> {
        let said = self.known().get(&executor).and_then(|used| used.said);
        said.filter(|said| said.at.elapsed() < SANDBOX_USE - USE_RENEW)
    }

    /// What the store is to be told now. What is to be taken back counts as taken back: a use that begins now is said anew.
    pub(crate) fn due(&self, quiet: Duration) -> Due {
        let mut due = Due::default();
        self.known().retain(|executor, used| {
            if used.running > 0 {
                if used.said.is_some_and(|said| said.at.elapsed() >= USE_RENEW) {
                    due.hold.push(*executor);
                }
                return true;
            }
            let unused = used.last.elapsed();
            if unused < quiet {
                return true;
            }
            due.release
                .extend(used.said.map(|said| (*executor, said.until, unused)));
            false
        });
        due
    }

    /// The store was told of many at once, after this moment.
    pub(crate) fn renewed(&self, at: Instant, held: &[(ExecutorId, Timestamp)]) {
        let mut known = self.known();
        for (executor, until) in held {
            if let Some(said) = known.get_mut(executor).and_then(|used| used.said.as_mut()) {
                (said.at, said.until) = (at, *until);
            }
        }
    }

    /// Waits until there is something to keep an eye on.
    pub(crate) async fn any(&self) {
        while self.known().is_empty() {
            self.0.first.notified().await;
        }
    }

    /// It is no sandbox, or none any more.
    pub(crate) fn forget(&self, executor: ExecutorId) {
        let mut known = self.known();
        if known.get(&executor).is_some_and(|used| used.running == 0) {
            known.remove(&executor);
        }
    }
}

/// How long after its last use one is not used, for a process that goes on.
pub(crate) const QUIET: Duration = USE_QUIET;

const fn is_steady(sandbox: &Sandbox) -> bool {
    matches!(sandbox.state, SandboxState::Provisioning | SandboxState::Ready)
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(used) = self.uses.known().get_mut(&self.executor) {
            used.running = used.running.saturating_sub(1);
            used.last = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use perennial_engine::ports::SessionKey;
    use perennial_schema::{SessionId, WorkspaceId};
    use uuid::Uuid;

    use super::*;

    fn sandbox(state: SandboxState) -> Sandbox {
        let uuid = Uuid::from_u128(1);
        Sandbox {
            executor: ExecutorId::from_uuid(uuid),
            key: SessionKey {
                workspace: WorkspaceId::from_uuid(uuid),
                session: SessionId::from_uuid(uuid),
            },
            instance: None,
            container: Default::default(),
            state,
            revision: 0,
            changed_at: Timestamp::from_micros(0),
            unchanged_for: Duration::ZERO,
            used_until: Timestamp::from_micros(7),
            unused_for: None,
            troubles: 0,
            trouble: None,
        }
    }

    #[test]
    fn one_that_is_paused_is_not_steady_before_it_is_seen_to_run() {
        let (uses, paused) = (Uses::default(), sandbox(SandboxState::Paused));
        let executor = paused.executor;
        let _in_use = uses.enter(executor);
        assert!(!uses.is_said(executor) && !uses.is_steady(executor));
        uses.said(Instant::now(), &paused);
        assert!(uses.is_said(executor) && !uses.is_steady(executor));
        uses.seen(&sandbox(SandboxState::Ready));
        assert!(uses.is_steady(executor));
        // What was said is not good for ever.
        let long_ago = Instant::now()
            .checked_sub(SANDBOX_USE)
            .expect("the machine runs for longer");
        uses.said(long_ago, &sandbox(SandboxState::Ready));
        assert!(!uses.is_said(executor) && !uses.is_steady(executor));
    }

    #[test]
    fn a_use_is_said_again_while_it_lasts_and_taken_back_once() {
        let (uses, ready) = (Uses::default(), sandbox(SandboxState::Ready));
        let executor = ready.executor;
        let (first, second) = (uses.enter(executor), uses.enter(executor));
        uses.said(Instant::now(), &ready);
        drop(first);
        assert_eq!(uses.due(Duration::ZERO), Due::default(), "it was said a moment ago");
        let before = Instant::now()
            .checked_sub(USE_RENEW)
            .expect("the machine runs for longer");
        uses.said(before, &ready);
        assert_eq!(uses.due(Duration::ZERO).hold, [executor]);
        uses.renewed(Instant::now(), &[(executor, Timestamp::from_micros(9))]);
        assert_eq!(uses.due(Duration::ZERO), Due::default());
        drop(second);
        assert_eq!(
            uses.due(Duration::from_secs(60)),
            Due::default(),
            "perhaps there is another one soon"
        );
        let due = uses.due(Duration::ZERO);
        assert!(
            matches!(due.release[..], [(of, until, _)] if of == executor && until.micros() == 9),
            "{due:?}"
        );
        assert_eq!(uses.due(Duration::ZERO), Due::default());
        // The next one is said anew.
        let _next = uses.enter(executor);
        assert!(!uses.is_said(executor));
    }
}
