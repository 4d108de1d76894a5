//! How far a file is, on a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two looks at the counter.
const BEAT: Duration = Duration::from_millis(200);

/// A counter on stderr; silent where nobody watches.
#[derive(Debug)]
pub struct Progress {
    verb: &'static str,
    shown: Option<Mutex<Option<Instant>>>,
}

impl Progress {
    pub fn new(verb: &'static str) -> Self {
        let watched = std::io::stderr().is_terminal();
        Self {
            verb,
            shown: watched.then(Mutex::default),
        }
    }

    /// So many bytes so far, of so many if that is known.
    pub fn told(&self, done: u64, of: Option<u64>) {
        let Some(shown) = &self.shown else { return };
        let mut shown = shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if shown.is_some_and(|at| at.elapsed() < BEAT) {
            return;
        }
        *shown = Some(Instant::now());
        let of = of.map_or_else(String::new, |of| format!(" of {}", size(of)));
        write!(std::io::stderr().lock(), "\r\x1b[K{} {}{of}", self.verb, size(done)).ok();
    }

    /// Clears the line.
    pub fn done(&self) {
        if self.shown.is_some() {
            write!(std::io::stderr().lock(), "\r\x1b[K").ok();
        }
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..=9999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1024 * 1024)),
    }
}
