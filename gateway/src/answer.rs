//! An answer on its way to the caller: piece by piece as the provider sends it, read along for its usage, never kept.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use crate::books::{End, Entry};
use crate::limits::REST;
use crate::scrub::Scrub;
use crate::upstream::chain;
use crate::usage::Tap;

/// A provider's answer, or another gateway's.
pub type Answer = http::Response<Body>;

/// Why an answer ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The provider fell silent.
    Silent(String),
    /// The provider broke off.
    Broken(String),
    /// What followed held the provider's key.
    Withheld,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(why) => write!(f, "the provider fell silent: {why}"),
            Self::Broken(why) => write!(f, "the provider broke off: {why}"),
            Self::Withheld => f.write_str("the provider's answer held its key and is withheld"),
        }
    }
}

impl std::error::Error for Cut {}

pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Cut>> + Send>>;

/// The pieces of an answer. Dropping it ends the provider's request, which is counted all the same.
pub struct Body {
    pieces: Option<Pieces>,
    scrub: Option<Scrub>,
    /// The provider's key, for compressed answers.
    secret: Option<String>,
    account: Option<Account>,
}

/// What is read along for.
struct Account {
    tap: Tap,
    /// None for what costs nothing.
    entry: Option<Entry>,
}

impl Body {
    /// The pieces of another client's answer, as they come.
    #[must_use]
    pub fn of(response: reqwest::Response) -> Self {
        Self::unread(Self::pieces(response))
    }

    /// An answer that another gateway reads along with.
    pub(crate) fn unread(pieces: Pieces) -> Self {
        Self {
            pieces: Some(pieces),
            scrub: None,
            secret: None,
            account: None,
        }
    }

    /// An answer that is read along with, and counted if it costs anything.
    pub(crate) fn read(pieces: Pieces, secret: Option<&str>, tap: Tap, entry: Option<Entry>) -> Self {
        let scrub = secret.filter(|_| !tap.is_compressed()).map(Scrub::new);
        Self {
            pieces: Some(pieces),
            scrub,
            secret: secret.map(str::to_owned),
            account: Some(Account { tap, entry }),
        }
    }

    /// The pieces of another client's answer.
    pub(crate) fn pieces(response: reqwest::Response) -> Pieces {
        let pieces = response.bytes_stream();
        Box::pin(pieces.map(|piece| piece.map_err(cut)))
    }

    fn piece(&mut self, piece: Bytes) -> Result<Bytes, Cut> {
        if let Some(account) = &mut self.account {
            if let Some(entry) = &mut account.entry {
                entry.heard();
            }
            if account.tap.feed(&piece, self.secret.as_deref()) {
                return Err(Cut::Withheld);
            }
        }
        Ok(match &mut self.scrub {
            Some(scrub) => scrub.pass(piece),
            None => piece,
        })
    }

    fn close(&mut self, end: End, fault: Option<String>) {
        self.pieces = None;
        if let Some(Account { mut tap, entry }) = self.account.take()
            && let Some(mut entry) = entry
        {
            let seen = tap.end(end == End::Heard);
            let end = match end {
                // The last word was heard, and that was enough.
                End::Left if seen.whole => End::Heard,
                // A stream that ends without its last word was cut, however politely.
                End::Heard if tap.streams() && !seen.whole => End::Cut,
                end => end,
            };
            entry.close(end, &seen, fault);
        }
    }
}

fn cut(error: reqwest::Error) -> Cut {
    let silent = error.is_timeout();
    let why = chain(&error.without_url());
    if silent { Cut::Silent(why) } else { Cut::Broken(why) }
}

impl Stream for Body {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(pieces) = &mut self.pieces else {
                return Poll::Ready(None);
            };
            match ready!(pieces.poll_next_unpin(context)) {
                Some(Ok(piece)) => match self.piece(piece) {
                    // All of it may be held: there is nothing to say yet.
                    Ok(piece) if piece.is_empty() => {}
                    Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                    Err(cut) => {
                        self.close(End::Cut, Some("withheld".to_owned()));
                        return Poll::Ready(Some(Err(cut)));
                    }
                },
                Some(Err(cut)) => {
                    let fault = if matches!(cut, Cut::Silent(_)) { "silent" } else { "cut" };
                    self.close(End::Cut, Some(fault.to_owned()));
                    return Poll::Ready(Some(Err(cut)));
                }
                None => {
                    self.close(End::Heard, None);
                    let rest = self.scrub.as_mut().and_then(Scrub::rest);
                    return Poll::Ready(rest.map(Ok));
                }
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(Account {
            tap,
            entry: Some(entry),
        }) = &self.account
        else {
            return;
        };
        // The caller heard the last word and stopped listening: the end of the answer is waited for, a little, so that the
        // connection can carry the next request.
        if tap.so_far().whole
            && let Some(mut pieces) = self.pieces.take()
        {
            let rest = async move { while let Some(Ok(_)) = pieces.next().await {} };
            entry.aside(async move {
                let _ = tokio::time::timeout(REST, rest).await;
            });
        }
        self.close(End::Left, None);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("ended", &self.pieces.is_none())
            .finish_non_exhaustive()
    }
}
