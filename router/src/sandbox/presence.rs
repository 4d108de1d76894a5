//! Says that this process makes sandboxes, and what troubles it, as long as it does.

use std::sync::{Arc, Mutex, PoisonError};

use perennial_engine::ports::{NewSandboxHost, SandboxHosts};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::limits;

/// What is said of this process.
pub(super) struct Presence {
    store: Arc<dyn SandboxHosts>,
    said: Mutex<NewSandboxHost>,
    news: Notify,
    /// Whether nobody else looks after the instance, once that is known.
    alone: watch::Sender<Option<bool>>,
}

impl Presence {
    pub(super) fn new(store: Arc<dyn SandboxHosts>, host: NewSandboxHost) -> Self {
        Self {
            store,
            said: Mutex::new(host),
            news: Notify::new(),
            alone: watch::Sender::new(None),
        }
    }

    /// What it is now that it is known, or what troubles it.
    pub(super) fn describe(&self, change: impl FnOnce(&mut NewSandboxHost)) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.clone();
        change(&mut said);
        if *said != before {
            self.news.notify_one();
        }
    }

    /// Waits until the instance is this process's to look after.
    pub(super) async fn alone(&self) {
        // Its sender lives as long as this.
        let _ = self.alone.subscribe().wait_for(|alone| *alone == Some(true)).await;
    }

    /// Says it once.
    pub(super) async fn say(&self) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.store.present(&said).await {
            Ok(alone) => {
                let before = self.alone.send_replace(Some(alone));
                if !alone && before != Some(false) {
                    tracing::error!(
                        instance.id = %said.instance,
                        "another server looks after the sandboxes of this data directory, which is a copy: this one makes none \
                         until that one is gone"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "that this server makes sandboxes cannot be noted now"),
        }
    }

    /// Says it again and again.
    pub(super) async fn beat(&self) {
        let lost_after = self.said.lock().unwrap_or_else(PoisonError::into_inner).lost_after;
        let pause = limits::HOST_BEAT.min(lost_after / 4);
        loop {
            self.say().await;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.news.notified() => {}
            }
        }
    }
}
