//! Sandboxes without a disk: the same rules over a map behind a mutex.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{NewSandbox, Sandbox, SandboxState, Sandboxes, SessionKey, StoreError};
use perennial_schema::{ExecutorId, SessionId};

use crate::executors::Memory;

impl Memory {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, Sandbox>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, sandbox: &mut Sandbox, state: SandboxState) {
        sandbox.state = state;
        sandbox.revision += 1;
        sandbox.changed_at = self.clock.now();
    }
}

fn live(all: &mut BTreeMap<ExecutorId, Sandbox>, key: SessionKey) -> Option<&mut Sandbox> {
    all.values_mut()
        .find(|sandbox| sandbox.key == key && sandbox.state.is_live())
}

#[async_trait]
impl Sandboxes for Memory {
    async fn claim(&self, new: NewSandbox) -> Result<Sandbox, StoreError> {
        let mut all = self.all();
        if let Some(found) = live(&mut all, new.key) {
            return Ok(found.clone());
        }
        let made = Sandbox {
            executor: new.executor,
            key: new.key,
            instance: new.instance,
            spec: new.spec,
            state: SandboxState::Provisioning,
            revision: 0,
            changed_at: self.clock.now(),
        };
        all.insert(new.executor, made.clone());
        Ok(made)
    }

    async fn live(&self, key: SessionKey) -> Result<Option<Sandbox>, StoreError> {
        Ok(live(&mut self.all(), key).cloned())
    }

    async fn sandbox(&self, executor: ExecutorId) -> Result<Option<Sandbox>, StoreError> {
        Ok(self.all().get(&executor).cloned())
    }

    async fn of_instance(&self, instance: ExecutorId) -> Result<Vec<Sandbox>, StoreError> {
        let all = self.all();
        let mine = all.values().filter(|sandbox| sandbox.instance == instance);
        Ok(mine.cloned().collect())
    }

    async fn change(
        &self,
        executor: ExecutorId,
        revision: u64,
        state: &SandboxState,
    ) -> Result<Option<Sandbox>, StoreError> {
        let mut all = self.all();
        let found = all.get_mut(&executor).filter(|sandbox| sandbox.revision == revision);
        Ok(found.map(|sandbox| {
            self.changed(sandbox, state.clone());
            sandbox.clone()
        }))
    }

    async fn retire(&self, session: SessionId) -> Result<bool, StoreError> {
        let mut all = self.all();
        let found = all
            .values_mut()
            .find(|sandbox| sandbox.key.session == session && sandbox.state.is_live());
        Ok(found.map(|sandbox| self.changed(sandbox, SandboxState::Gone)).is_some())
    }

    async fn forget(&self, executor: ExecutorId) -> Result<(), StoreError> {
        let mut all = self.all();
        if all.get(&executor).is_some_and(|sandbox| !sandbox.state.is_live()) {
            all.remove(&executor);
        }
        Ok(())
    }
}
