//! Terminals: shells that people type into. Each has a name and outlives whoever looks at it; who comes back finds the same shell,
//! and the end of what it showed. What a slow onlooker has not read yet is the screen's, and bounded with it.

mod run;
mod screen;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use perennial_schema::stream::TerminalSize;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use self::screen::{Next, Screen};
use crate::limits::{SCROLLBACK_BYTES, TERMINAL_KEYS, TERMINALS};
use crate::serve::House;

/// The terminals of an executor.
#[derive(Debug, Default)]
pub(crate) struct Terminals(Mutex<HashMap<String, Arc<Terminal>>>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Terminal {
    screen: Mutex<Screen>,
    /// Ticks when there is more on it.
    changed: watch::Sender<()>,
    /// How often somebody came to look.
    looks: AtomicU64,
    keys: mpsc::Sender<Key>,
}

/// What is done to a terminal.
#[derive(Debug)]
pub(crate) enum Key {
    Typed(Bytes),
    Resized(TerminalSize),
}

/// Somebody who looks at a terminal.
#[derive(Debug)]
pub(crate) struct Onlooker {
    terminal: Arc<Terminal>,
    seen: u64,
    changed: watch::Receiver<()>,
}

/// What an onlooker sees.
#[derive(Debug)]
pub(crate) enum Seen {
    Bytes { skipped: u64, bytes: Bytes },
    Ended(i32),
}

impl Terminals {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Terminal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terminal of that name, with a shell on it.
    pub(crate) async fn attach(&self, house: &Arc<House>, name: &str, size: TerminalSize) -> Result<Onlooker, String> {
        if let Some(onlooker) = self.look(name) {
            onlooker.terminal.key(Key::Resized(size)).await;
            return Ok(onlooker);
        }
        if self.known().len() >= TERMINALS {
            return Err(format!("{TERMINALS} terminals are open already"));
        }
        let (keys, typed) = mpsc::channel(TERMINAL_KEYS);
        let terminal = Arc::new(Terminal {
            screen: Mutex::new(Screen::new(SCROLLBACK_BYTES)),
            changed: watch::Sender::new(()),
            looks: AtomicU64::new(0),
            keys,
        });
        let shell = run::Shell::start(house, size).await?;
        // Of two who come at once, one is first; the other's shell goes.
        let onlooker = {
            let mut known = self.known();
            if let Some(first) = known.get(name) {
                return Ok(first.onlooker());
            }
            known.insert(name.to_owned(), Arc::clone(&terminal));
            terminal.onlooker()
        };
        let (tending, house, name) = (Arc::clone(&terminal), Arc::clone(house), name.to_owned());
        house.tasks.clone().spawn(async move {
            let code = shell.run(&house, &tending, typed).await;
            house.terminals.known().remove(&name);
            tending.end(code);
        });
        Ok(onlooker)
    }

    fn look(&self, name: &str) -> Option<Onlooker> {
        self.known().get(name).map(Terminal::onlooker)
    }
}

impl Terminal {
    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn onlooker(self: &Arc<Self>) -> Onlooker {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Onlooker {
            seen: self.screen().begin(),
            changed: self.changed.subscribe(),
            terminal: Arc::clone(self),
        }
    }

    fn show(&self, bytes: &[u8]) {
        self.screen().show(bytes);
        self.changed.send_replace(());
    }

    fn end(&self, code: i32) {
        self.screen().end(code);
        self.changed.send_replace(());
    }

    /// False when its shell has ended. Waits while the shell reads nothing.
    pub(crate) async fn key(&self, key: Key) -> bool {
        self.keys.send(key).await.is_ok()
    }

    /// Returns when nobody has looked for so long.
    async fn unseen_for(&self, time: Duration) {
        loop {
            // Onlookers are who hears of changes.
            self.changed.closed().await;
            let looks = self.looks.load(Ordering::Relaxed);
            sleep(time).await;
            if self.changed.is_closed() && self.looks.load(Ordering::Relaxed) == looks {
                return;
            }
        }
    }
}

impl Onlooker {
    pub(crate) fn terminal(&self) -> Arc<Terminal> {
        Arc::clone(&self.terminal)
    }

    /// What is next, as soon as there is something.
    pub(crate) async fn next(&mut self, most: usize) -> Seen {
        loop {
            self.changed.borrow_and_update();
            let next = self.terminal.screen().next(self.seen, most);
            match next {
                Next::Bytes { skipped, bytes } => {
                    self.seen += skipped + bytes.len() as u64;
                    return Seen::Bytes { skipped, bytes };
                }
                Next::Ended(code) => return Seen::Ended(code),
                // The sender lives as long as the terminal, which is held here.
                Next::Nothing => {
                    let _ = self.changed.changed().await;
                }
            }
        }
    }
}
