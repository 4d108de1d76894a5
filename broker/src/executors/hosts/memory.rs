//! Hosts of sandboxes without a disk: the same rules over a map behind a mutex.

use async_trait::async_trait;
use perennial_engine::ports::{
    NewSandboxHost, SANDBOX_HOST_KEPT, SANDBOX_HOST_ONLINE, SandboxHost, SandboxHosts, StoreError,
};
use perennial_schema::{ExecutorId, Timestamp};

use crate::executors::Memory;
use crate::sql::span;

impl Memory {
    fn as_seen(&self, (host, seen_at): &(NewSandboxHost, Timestamp)) -> SandboxHost {
        SandboxHost {
            host: host.clone(),
            unseen_for: span(*seen_at, self.clock.now()).unwrap_or_default(),
        }
    }

    /// Whether an instance is given up, as it is when nobody knows it.
    pub(in crate::executors) fn is_lost(&self, instance: Option<ExecutorId>) -> bool {
        let hosts = self.hosts();
        let host = instance.and_then(|instance| hosts.get(&instance));
        host.is_none_or(|host| self.as_seen(host).lost())
    }
}

#[async_trait]
impl SandboxHosts for Memory {
    async fn present(&self, host: &NewSandboxHost) -> Result<bool, StoreError> {
        let mut hosts = self.hosts();
        if let Some(known) = hosts.get(&host.instance) {
            let same = known.0.node == host.node || known.0.home == host.home;
            if !same && self.as_seen(known).unseen_for < SANDBOX_HOST_ONLINE {
                return Ok(false);
            }
        }
        hosts.insert(host.instance, (host.clone(), self.clock.now()));
        Ok(true)
    }

    async fn resign(&self, instance: ExecutorId) -> Result<(), StoreError> {
        if !self.has_live(instance) {
            self.hosts().remove(&instance);
        }
        Ok(())
    }

    async fn sandbox_hosts(&self) -> Result<Vec<SandboxHost>, StoreError> {
        let hosts: Vec<_> = self.hosts().values().map(|host| self.as_seen(host)).collect();
        let kept = |host: &SandboxHost| host.unseen_for < SANDBOX_HOST_KEPT || self.has_live(host.host.instance);
        let mut hosts: Vec<_> = hosts.into_iter().filter(kept).collect();
        hosts.sort_by_key(|host| (host.unseen_for, host.host.instance));
        Ok(hosts)
    }
}
