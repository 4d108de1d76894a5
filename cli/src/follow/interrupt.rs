//! Ctrl-C: the first press is an event, the second one ends the process whatever it is doing.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::error::Error;
use crate::exit::Exit;

/// What the first Ctrl-C means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCtrlC {
    /// Interrupt the turn and see it end.
    Interrupt,
    /// Leave; the session goes on.
    Detach,
}

/// Listens for SIGINT, from before there is anything to interrupt.
#[derive(Debug)]
pub struct CtrlC {
    pressed: Arc<Notify>,
    listener: tokio::task::JoinHandle<()>,
}

impl CtrlC {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut signals = signal(SignalKind::interrupt()).map_err(Error::io("cannot listen for Ctrl-C"))?;
        let pressed = Arc::new(Notify::new());
        let notify = Arc::clone(&pressed);
        let listener = tokio::spawn(async move {
            signals.recv().await;
            notify.notify_one();
            signals.recv().await;
            std::process::exit(Exit::Interrupted.code().into());
        });
        Ok(Self { pressed, listener })
    }

    /// The first press.
    pub async fn pressed(&mut self) {
        self.pressed.notified().await;
    }
}

impl Drop for CtrlC {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
