//! Further streams to machines that dialled in, wherever they did, and to the executor of this host: what for is said first, and the
//! machine's own terms decide. One file per purpose.
//!
//! A stream to a machine whose tunnel another process holds goes over the trunk to that process, which hands its bytes on
//! without looking at them. An open stream uses its sandbox like a running call does.

mod files;
mod folder;
mod forward;
mod search;
mod server;
mod terminal;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use perennial_schema::stream::{Answer, MAX_OPENING_BYTES, Opening, Purpose, Unopened};
use perennial_schema::{ExecutorId, WorkspaceId};
use perennial_tunnel::{Lane, NoLane, frames};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::timeout;

pub use self::files::NotStored;
use crate::exchange::Exchange;
use crate::limits;
use crate::link::Link;
use crate::sandbox::{InUse, Patience};
use crate::tunnel::Tunnels;

/// A stream that is open. Dropping it lets go of it.
#[derive(Debug)]
pub struct Stream {
    lane: Lane,
    in_use: Option<InUse>,
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStream {
    /// The machine is not reached.
    #[error("{0}")]
    Unreached(String),
    /// It was reached, and the line broke.
    #[error("the executor went away")]
    Lost,
    /// It said no.
    #[error("{message}")]
    Refused {
        /// Why, for a program.
        reason: Unopened,
        /// Why, for a person.
        message: String,
    },
}

impl NoStream {
    fn refused(reason: Unopened, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Refused { reason, message }
    }
}

impl From<NoLane> for NoStream {
    fn from(none: NoLane) -> Self {
        match none {
            NoLane::Full => Self::refused(Unopened::Busy, "too many streams to this executor are open"),
            NoLane::Gone => Self::Lost,
        }
    }
}

impl Tunnels {
    /// Opens a stream to a machine that dialled in, and hears how many bytes follow if it is a file.
    async fn open(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        purpose: Purpose,
    ) -> Result<(Option<u64>, Stream), NoStream> {
        let of = |link: &Link| match link.guest {
            Some(_) => Ok(purpose),
            // An executor of this host is nobody's machine.
            None => Err(NoStream::Unreached(self.exchange.unreached(executor))),
        };
        self.exchange.open_stream(workspace, executor, of).await
    }
}

impl Exchange {
    /// The same of any executor that may work for a workspace. What for may depend on who it turns out to be.
    async fn open_stream(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        purpose: impl FnOnce(&Link) -> Result<Purpose, NoStream>,
    ) -> Result<(Option<u64>, Stream), NoStream> {
        let (link, in_use) = match self.awake((executor, workspace), Patience::ToCall).await {
            Some((link, in_use)) => (link.map_err(NoStream::Unreached)?, Some(in_use)),
            None => {
                let line = self.line_of(executor, workspace).await;
                let unreached = || NoStream::Unreached(self.unreached(executor));
                (line.ok_or_else(unreached)?, None)
            }
        };
        let opening = Opening::of(purpose(&link)?);
        let mut lane = link.lane().await?;
        let asking = async {
            frames::write(&mut lane, &opening).await?;
            frames::read_within::<Answer>(&mut lane, MAX_OPENING_BYTES).await
        };
        let said = tokio::select! {
            said = timeout(limits::OPENING_WAIT, asking) => said,
            () = link.ended() => return Err(NoStream::Lost),
        };
        let stream = |lane| Stream { lane, in_use };
        match said {
            Ok(Ok(Some(Answer::Open { bytes }))) => Ok((bytes, stream(lane))),
            Ok(Ok(Some(Answer::Refused { reason, message }))) => Err(NoStream::Refused { reason, message }),
            Ok(Ok(None)) if link.is_live() => Err(NoStream::refused(
                Unopened::Unknown,
                "this executor does not take streams: it is older than the server",
            )),
            Ok(Ok(None) | Err(_)) => Err(NoStream::Lost),
            Err(_) => Err(NoStream::refused(Unopened::Busy, "the executor did not answer in time")),
        }
    }
}

/// Hands a stream on that another process opened to a machine whose tunnel is held here.
pub(crate) async fn hand_on(exchange: &Exchange, link: &Link, mut theirs: Lane) {
    let _in_use = match link.guest {
        Some(guest) => {
            exchange
                .awake((link.hello.executor_id, guest.workspace), Patience::ToCall)
                .await
        }
        None => None,
    };
    let mut ours = match link.lane().await {
        Ok(ours) => ours,
        Err(NoLane::Gone) => return,
        Err(NoLane::Full) => {
            let reason = Unopened::Busy;
            let message = NoLane::Full.to_string();
            let _ = frames::write(&mut theirs, &Answer::Refused { reason, message }).await;
            return;
        }
    };
    let piece = limits::STREAM_PIECE_BYTES;
    // However it ends, letting go of both tells both.
    let _ = copy_bidirectional_with_sizes(&mut theirs, &mut ours, piece, piece).await;
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lane).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.lane).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lane).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lane).poll_shutdown(cx)
    }
}
