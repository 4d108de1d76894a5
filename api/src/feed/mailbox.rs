//! One mailbox as a stream: each message again whenever it changes its state. No change is skipped; one may come twice, and of
//! several in quick succession only the last.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use perennial_engine::ports::{ChangeCursor, Message, StoreError, Subscription};
use perennial_mailbox::Office;
use perennial_schema::WorkspaceId;
use perennial_schema::mail::Address;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Counted, frame, jittered, retry_millis};
use crate::limits::{FEED_LOOK_AGAIN, Limits, MAIL_FEED_PAGE};

/// A client's place in the changes of a mailbox.
pub(crate) struct Watcher {
    office: Arc<Office>,
    workspace: WorkspaceId,
    mailbox: Address,
    hints: Option<Box<dyn Subscription>>,
    shutdown: CancellationToken,
    /// Newest change handed on.
    place: ChangeCursor,
    /// Whether it was told that what follows is news.
    live: bool,
    /// Frames ready to be written, of one page at most.
    ready: VecDeque<Bytes>,
    over: bool,
    beat: Instant,
    /// Until the next look, before jitter.
    wait: std::time::Duration,
    limits: Limits,
    _counted: Counted,
}

/// Before every change.
pub(crate) const BEGINNING: ChangeCursor = ChangeCursor { commit: 0, position: 0 };

impl Watcher {
    /// Takes a place behind `after`, or behind all there is now.
    ///
    /// # Errors
    /// When the store cannot say where that is.
    pub(crate) async fn new(
        office: Arc<Office>,
        (workspace, mailbox): (WorkspaceId, Address),
        after: Option<ChangeCursor>,
        limits: Limits,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        // Heard from here on, so that nothing falls between the look and the first hint.
        let hints = office.listen(workspace, &mailbox);
        let place = match after {
            Some(place) => place,
            None => office
                .mail()
                .latest_change(workspace, &mailbox)
                .await?
                .unwrap_or(BEGINNING),
        };
        Ok(Self {
            office,
            workspace,
            mailbox,
            hints: Some(hints),
            shutdown,
            place,
            live: false,
            ready: VecDeque::from([frame::hello(retry_millis(&limits))]),
            over: false,
            beat: Instant::now() + limits.heartbeat,
            wait: limits.poll,
            limits,
            _counted: Counted::new(),
        })
    }

    /// The next frame; none when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.beat = Instant::now() + self.limits.heartbeat;
                return Some(frame);
            }
            if self.over || self.shutdown.is_cancelled() {
                return None;
            }
            let is_read = self.read_on().await;
            if !self.ready.is_empty() {
                continue;
            }
            if is_read && !self.live {
                self.live = true;
                self.ready.push_back(frame::live_at(self.place));
                continue;
            }
            let look = Instant::now() + jittered(self.wait);
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                // What was announced may not be visible yet.
                () = hinted(&mut self.hints) => self.wait = FEED_LOOK_AGAIN.min(self.limits.poll),
                () = sleep_until(look.min(self.beat)) => {
                    self.wait = (self.wait * 2).min(self.limits.poll);
                    if Instant::now() >= self.beat {
                        self.ready.push_back(frame::heartbeat());
                    }
                }
            }
        }
    }

    /// Reads a page of changes. False when the store cannot answer now.
    async fn read_on(&mut self) -> bool {
        let read = page(
            Arc::clone(&self.office),
            self.workspace,
            self.mailbox.clone(),
            self.place,
        );
        let read = read.await.and_then(|rows| {
            let frames = rows.into_iter().map(|(cursor, message)| {
                let id = message.letter.id;
                let frame = frame::mail(cursor, message).map_err(|error| StoreError::Inconsistent {
                    table: "messages",
                    key: id.to_string(),
                    message: error.to_string(),
                });
                Ok((cursor, frame?))
            });
            frames.collect::<Result<Vec<_>, _>>()
        });
        match read {
            Ok(frames) => {
                for (cursor, frame) in frames {
                    self.place = cursor;
                    self.ready.push_back(frame);
                }
                true
            }
            Err(error @ StoreError::Inconsistent { .. }) => {
                tracing::error!(workspace.id = %self.workspace, mailbox = %self.mailbox, %error, "a mailbox's feed cannot go on");
                self.ready.push_back(frame::error(&error.to_string()));
                self.over = true;
                true
            }
            Err(error) => {
                tracing::warn!(workspace.id = %self.workspace, mailbox = %self.mailbox, %error, "a mailbox's feed waits for the store");
                false
            }
        }
    }
}

/// Waits for a hint; for ever once the bus is gone, for the next look comes anyway.
async fn hinted(hints: &mut Option<Box<dyn Subscription>>) {
    if let Some(heard) = hints
        && heard.next().await.is_some()
    {
        return;
    }
    *hints = None;
    std::future::pending::<()>().await;
}

/// A page of changes. In its own task: who asks may be dropped when its client hangs up.
async fn page(
    office: Arc<Office>,
    workspace: WorkspaceId,
    mailbox: Address,
    after: ChangeCursor,
) -> Result<Vec<(ChangeCursor, Message)>, StoreError> {
    let read = async move {
        let mail = office.mail();
        mail.changes(workspace, &mailbox, Some(after), MAIL_FEED_PAGE).await
    };
    tokio::spawn(read).await.unwrap_or_else(|failure| {
        Err(StoreError::Unavailable {
            store: "messages",
            message: format!("a read was lost: {failure}"),
        })
    })
}
