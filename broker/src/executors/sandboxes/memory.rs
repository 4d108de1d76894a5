//! Sandboxes without a disk: the same rules over a map behind a mutex.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::ports::{NewSandbox, SANDBOX_USE, Sandbox, SandboxState, Sandboxes, SessionKey, StoreError};
use perennial_schema::{ExecutorId, OwnerId, SessionId, Timestamp, WorkspaceId};

use crate::executors::Memory;
use crate::limits::ABANDONED_MILLIS;
use crate::sql::span;

/// A sandbox as it was when it was written, and the one process that uses it; none when several do.
type Row = (Sandbox, Option<OwnerId>);

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros() + i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros() - i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}

impl Memory {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, Row>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    fn now(&self, sandbox: &Sandbox) -> Sandbox {
        let now = self.clock.now();
        Sandbox {
            unchanged_for: span(sandbox.changed_at, now).unwrap_or_default(),
            unused_for: span(sandbox.used_until, now),
            ..sandbox.clone()
        }
    }

    fn changed(&self, sandbox: &mut Sandbox, change: impl FnOnce(&mut Sandbox)) -> Sandbox {
        change(sandbox);
        sandbox.revision += 1;
        sandbox.changed_at = self.clock.now();
        self.now(sandbox)
    }

    fn held(&self, row: &mut Row, by: OwnerId) -> Sandbox {
        let (sandbox, user) = row;
        *user = match *user {
            Some(known) if known == by => Some(by),
            _ if sandbox.used_until <= self.clock.now() => Some(by),
            _ => None,
        };
        sandbox.used_until = later(self.clock.now(), SANDBOX_USE);
        self.now(sandbox)
    }

    /// The one with this revision, if it is as it has to be.
    fn change_if(
        &self,
        (executor, revision): (ExecutorId, u64),
        allowed: impl FnOnce(&Sandbox) -> bool,
        state: SandboxState,
    ) -> Option<Sandbox> {
        let mut all = self.all();
        let (sandbox, _) = all.get_mut(&executor)?;
        let now = self.now(sandbox);
        (sandbox.revision == revision && allowed(&now)).then(|| self.changed(sandbox, |sandbox| sandbox.state = state))
    }

    fn chosen(&self, wanted: impl Fn(&Sandbox) -> bool) -> Vec<Sandbox> {
        let all = self.all();
        let all = all.values().map(|(sandbox, _)| self.now(sandbox));
        all.filter(|sandbox| wanted(sandbox)).collect()
    }

    /// Whether an instance has a live one.
    pub(in crate::executors) fn has_live(&self, instance: ExecutorId) -> bool {
        !self
            .chosen(|sandbox| sandbox.instance == Some(instance) && sandbox.state.is_live())
            .is_empty()
    }
}

/// Nobody makes it yet, and somebody waits for it.
fn is_orphaned(sandbox: &Sandbox) -> bool {
    sandbox.instance.is_none() && sandbox.state == SandboxState::Provisioning && sandbox.unused_for.is_none()
}

#[async_trait]
impl Sandboxes for Memory {
    async fn want(&self, new: NewSandbox) -> Result<Sandbox, StoreError> {
        let mut all = self.all();
        let known = all
            .values()
            .find(|(sandbox, _)| sandbox.key == new.key && sandbox.state.is_live());
        if let Some((known, _)) = known {
            return Ok(self.now(known));
        }
        let now = self.clock.now();
        let made = Sandbox {
            executor: new.executor,
            key: new.key,
            instance: None,
            container: new.container,
            state: SandboxState::Provisioning,
            revision: 0,
            changed_at: now,
            unchanged_for: Duration::ZERO,
            used_until: later(now, SANDBOX_USE),
            unused_for: None,
            troubles: 0,
            trouble: None,
        };
        all.insert(new.executor, (made.clone(), Some(new.by)));
        Ok(made)
    }

    async fn hold(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        by: OwnerId,
    ) -> Result<Option<Sandbox>, StoreError> {
        let mut all = self.all();
        let found = all
            .get_mut(&executor)
            .filter(|(sandbox, _)| sandbox.key.workspace == workspace);
        Ok(found.map(|row| self.held(row, by)))
    }

    async fn hold_all(
        &self,
        executors: &[ExecutorId],
        by: OwnerId,
    ) -> Result<Vec<(ExecutorId, Timestamp)>, StoreError> {
        let mut all = self.all();
        let held = executors
            .iter()
            .filter_map(|executor| Some((*executor, self.held(all.get_mut(executor)?, by).used_until)));
        Ok(held.collect())
    }

    async fn release(
        &self,
        executor: ExecutorId,
        by: OwnerId,
        held: Timestamp,
        unused_for: Duration,
    ) -> Result<(), StoreError> {
        if let Some((sandbox, user)) = self.all().get_mut(&executor)
            && (*user, sandbox.used_until) == (Some(by), held)
        {
            sandbox.used_until = earlier(self.clock.now(), unused_for);
        }
        Ok(())
    }

    async fn live(&self, key: SessionKey) -> Result<Option<Sandbox>, StoreError> {
        let found = self.chosen(|sandbox| sandbox.key == key && sandbox.state.is_live());
        Ok(found.into_iter().next())
    }

    async fn houses(&self, session: SessionId) -> Result<bool, StoreError> {
        let found = self.chosen(|sandbox| sandbox.key.session == session && sandbox.state.is_live());
        Ok(!found.is_empty())
    }

    async fn sandbox(&self, executor: ExecutorId) -> Result<Option<Sandbox>, StoreError> {
        Ok(self.all().get(&executor).map(|(sandbox, _)| self.now(sandbox)))
    }

    async fn of_instance(&self, instance: ExecutorId) -> Result<Vec<Sandbox>, StoreError> {
        Ok(self.chosen(|sandbox| sandbox.instance == Some(instance)))
    }

    async fn adopt(&self, instance: ExecutorId, limit: u32) -> Result<Vec<Sandbox>, StoreError> {
        let mut all = self.all();
        let orphans = all.values_mut().map(|(sandbox, _)| sandbox);
        let orphans = orphans.filter(|sandbox| is_orphaned(&self.now(sandbox)));
        let adopted = orphans
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|sandbox| self.changed(sandbox, |sandbox| sandbox.instance = Some(instance)));
        Ok(adopted.collect())
    }

    async fn stirs(&self, instance: ExecutorId) -> Result<bool, StoreError> {
        let stirs = |sandbox: &Sandbox| match (&sandbox.state, sandbox.instance) {
            (SandboxState::Provisioning | SandboxState::Gone, Some(mine)) => mine == instance,
            (SandboxState::Paused, Some(mine)) => mine == instance && sandbox.unused_for.is_none(),
            _ => is_orphaned(sandbox),
        };
        Ok(!self.chosen(stirs).is_empty())
    }

    async fn change(
        &self,
        executor: ExecutorId,
        revision: u64,
        state: &SandboxState,
    ) -> Result<Option<Sandbox>, StoreError> {
        Ok(self.change_if((executor, revision), |_| true, state.clone()))
    }

    async fn pause(&self, executor: ExecutorId, revision: u64, idle: Duration) -> Result<Option<Sandbox>, StoreError> {
        let unused = |sandbox: &Sandbox| {
            sandbox.state == SandboxState::Ready && sandbox.unused_for.is_some_and(|unused| unused >= idle)
        };
        Ok(self.change_if((executor, revision), unused, SandboxState::Paused))
    }

    async fn trouble(&self, executor: ExecutorId, what: &str) -> Result<(), StoreError> {
        if let Some((sandbox, _)) = self.all().get_mut(&executor) {
            sandbox.troubles += 1;
            sandbox.trouble = Some(what.to_owned());
        }
        Ok(())
    }

    async fn give_up(&self, executor: ExecutorId, revision: u64, reason: &str) -> Result<Option<Sandbox>, StoreError> {
        let lost = |sandbox: &Sandbox| sandbox.instance.is_some() && self.is_lost(sandbox.instance);
        let reason = reason.to_owned();
        Ok(self.change_if((executor, revision), lost, SandboxState::Failed { reason }))
    }

    async fn retire(&self, session: SessionId) -> Result<Option<ExecutorId>, StoreError> {
        let mut all = self.all();
        let found = all.values_mut().map(|(sandbox, _)| sandbox);
        let mut found = found.filter(|sandbox| sandbox.key.session == session && sandbox.state.is_live());
        let retired = found.next();
        Ok(retired.map(|sandbox| {
            self.changed(sandbox, |sandbox| sandbox.state = SandboxState::Gone)
                .executor
        }))
    }

    async fn abandoned(&self) -> Result<Vec<Sandbox>, StoreError> {
        let long = Duration::from_millis(ABANDONED_MILLIS);
        Ok(self.chosen(|sandbox| {
            !sandbox.state.is_live() && sandbox.unchanged_for >= long && self.is_lost(sandbox.instance)
        }))
    }

    async fn forget(&self, executor: ExecutorId) -> Result<(), StoreError> {
        let mut all = self.all();
        if all.get(&executor).is_some_and(|(sandbox, _)| !sandbox.state.is_live()) {
            all.remove(&executor);
        }
        Ok(())
    }
}
