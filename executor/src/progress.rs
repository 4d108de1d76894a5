//! What a running command prints, told as it comes to whoever asked for it: a piece at a time and not too often. What comes faster
//! is counted and left out; the outcome has it all the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perennial_schema::frame::FromExecutor;
use perennial_schema::{EventId, SessionId, text};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::capture::without_torn_end;
use crate::limits::{PROGRESS_BEAT, PROGRESS_BYTES};
use crate::serve::Link;

/// Where a command's output goes beside its capture. Dropped, it is over.
#[derive(Debug)]
pub(crate) struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    omitted: u64,
    over: bool,
}

impl Progress {
    /// Tells a link of a call's output from now on.
    pub(crate) fn to(link: Link, session: SessionId, call_id: EventId, tasks: &TaskTracker) -> Self {
        let shared = Arc::<Shared>::default();
        let telling = Arc::clone(&shared);
        tasks.spawn(async move {
            while let Some(text) = telling.next().await {
                if link.is_gone() {
                    break;
                }
                link.send(FromExecutor::Progress { session, call_id, text }).await;
                sleep(PROGRESS_BEAT).await;
            }
        });
        Self(shared)
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut waiting = self.0.waiting();
        let room = PROGRESS_BYTES.saturating_sub(waiting.bytes.len()).min(bytes.len());
        // Once something is left out, so is what follows: a piece has one hole, at its end.
        let room = if waiting.omitted > 0 { 0 } else { room };
        let (kept, rest) = bytes.split_at(room);
        waiting.bytes.extend_from_slice(kept);
        waiting.omitted += rest.len() as u64;
        drop(waiting);
        self.0.news.notify_one();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.waiting().over = true;
        self.0.news.notify_one();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece, as soon as there is something; `None` when it is over.
    async fn next(&self) -> Option<String> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(text) = waiting.take() {
                    return Some(text);
                }
                if waiting.over {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }
}

impl Waiting {
    fn take(&mut self) -> Option<String> {
        let whole = match self.over || self.omitted > 0 {
            true => self.bytes.len(),
            // The rest of a character is on its way.
            false => without_torn_end(&self.bytes).len(),
        };
        let bytes: Vec<u8> = self.bytes.drain(..whole).collect();
        let omitted = std::mem::take(&mut self.omitted);
        let mut text = text::sanitize(&bytes).to_string();
        if omitted > 0 {
            text.push_str(&format!("\n[… {omitted} bytes omitted …]\n"));
        }
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_too_fast_is_counted_and_characters_stay_whole() {
        let progress = Progress(Arc::default());
        let shared = Arc::clone(&progress.0);
        progress.push("aé".as_bytes().split_at(2).0);
        assert_eq!(shared.next().await.as_deref(), Some("a"));
        progress.push("aé".as_bytes().split_at(2).1);
        assert_eq!(shared.next().await.as_deref(), Some("é"));
        progress.push(&[b'x'; PROGRESS_BYTES + 5]);
        progress.push(b"yy");
        let piece = shared.next().await.unwrap();
        assert!(piece.ends_with("x\n[… 7 bytes omitted …]\n"), "{piece}");
        progress.push(&[0xc3]);
        drop(progress);
        assert_eq!(shared.next().await.as_deref(), Some("\u{fffd}"));
        assert_eq!(shared.next().await, None);
    }
}
