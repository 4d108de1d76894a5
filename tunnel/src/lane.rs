//! Further streams of a tunnel: who wants one asks the line for it, as many at a time as [`limits::LANES`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

use crate::limits;

/// One flow-controlled stream, both ways. Dropping it resets it; what is reset reads as ended at the other end.
#[derive(Debug)]
pub struct Lane {
    bytes: Way,
    /// Its place among those that were opened here.
    seat: Option<OwnedSemaphorePermit>,
}

/// What carries its bytes.
#[derive(Debug)]
enum Way {
    Tunnel(Compat<yamux::Stream>),
    Here(Box<dyn Pipe>),
}

/// A stream of bytes within a machine.
trait Pipe: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Sync + Unpin {}

impl<P: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Sync + Unpin> Pipe for P {}

/// Why there is no further stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLane {
    /// As many as may be are open.
    #[error("too many streams are open")]
    Full,
    /// The line is gone.
    #[error("the line is gone")]
    Gone,
}

/// Asks a line for streams. Clones share it.
#[derive(Clone, Debug)]
pub struct Opener {
    asks: mpsc::Sender<Ask>,
    seats: Arc<Semaphore>,
    most: usize,
}

/// What a line hears of its [`Opener`].
#[derive(Debug)]
pub struct Openings(mpsc::Receiver<Ask>);

/// Somebody waits for a stream. Dropping it says that there will be none.
#[derive(Debug)]
pub struct Ask {
    seat: OwnedSemaphorePermit,
    reply: oneshot::Sender<Lane>,
}

/// Both halves: one is kept, the other goes into [`crate::Ends`].
#[must_use]
pub fn opener() -> (Opener, Openings) {
    opener_of(limits::LANES)
}

/// The same where no tunnel bounds how many streams there are at a time.
#[must_use]
pub fn opener_of(most: usize) -> (Opener, Openings) {
    let (asks, asked) = mpsc::channel(limits::LANES);
    let seats = Arc::new(Semaphore::new(most));
    (Opener { asks, seats, most }, Openings(asked))
}

impl Opener {
    /// A stream. The other end hears of it with the first byte.
    ///
    /// # Errors
    /// See [`NoLane`].
    pub async fn open(&self) -> Result<Lane, NoLane> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| NoLane::Full)?;
        let (reply, opened) = oneshot::channel();
        self.asks.send(Ask { seat, reply }).await.map_err(|_| NoLane::Gone)?;
        opened.await.map_err(|_| NoLane::Gone)
    }

    /// Whether nothing that was opened is in use.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.seats.available_permits() == self.most
    }
}

impl Openings {
    /// The next that is wanted, for who opens streams in another way than a tunnel does; none when nobody can want one any more.
    pub async fn next(&mut self) -> Option<Ask> {
        self.0.recv().await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ask>> {
        self.0.poll_recv(cx)
    }
}

impl Ask {
    /// Hands it over. Who asked may have gone.
    pub fn answer(self, mut lane: Lane) {
        lane.seat = Some(self.seat);
        let _ = self.reply.send(lane);
    }
}

impl Lane {
    pub(crate) fn of(stream: yamux::Stream) -> Self {
        Self {
            bytes: Way::Tunnel(stream.compat()),
            seat: None,
        }
    }

    /// One that leads to somebody on this machine.
    pub fn over(pipe: impl AsyncRead + AsyncWrite + std::fmt::Debug + Send + Sync + Unpin + 'static) -> Self {
        Self {
            bytes: Way::Here(Box::new(pipe)),
            seat: None,
        }
    }
}

impl AsyncRead for Lane {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Way::Tunnel(stream) => Pin::new(stream).poll_read(cx, buffer),
            Way::Here(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Lane {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.bytes {
            Way::Tunnel(stream) => Pin::new(stream).poll_write(cx, bytes),
            Way::Here(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Way::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
            Way::Here(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Way::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
            Way::Here(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
