//! What must hold of any bytes that come over a line, at either end: nothing panics, nothing waits for more than came, and what
//! was read is written again as the same frame. Shared by the fuzz target and the corpus test of the normal run.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use perennial_schema::frame::{FromExecutor, MAX_FRAME_BYTES, ToExecutor};
use perennial_schema::packet;
use perennial_schema::stream::{Answer, MAX_OPENING_BYTES, Opening, Word};
use perennial_tunnel::{End, Ends, carry, frames};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// How much was read of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Frames to executors.
    pub(crate) to: usize,
    /// Frames from them.
    pub(crate) from: usize,
    /// Openings of streams.
    pub(crate) openings: usize,
    /// Answers to those, and words after files.
    pub(crate) answers: usize,
}

/// Bytes as frames of either direction, as what is said at the beginning of a stream, and as messages to either end.
pub(crate) fn check(bytes: &[u8]) -> Read {
    // Its time is made up: who waits in vain is found out at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let read = Read {
            to: decoded::<ToExecutor>(bytes, MAX_FRAME_BYTES).await,
            from: decoded::<FromExecutor>(bytes, MAX_FRAME_BYTES).await,
            openings: decoded::<Opening>(bytes, MAX_OPENING_BYTES).await,
            answers: decoded::<Answer>(bytes, MAX_OPENING_BYTES).await
                + decoded::<Word>(bytes, MAX_OPENING_BYTES).await,
        };
        line::<ToExecutor, FromExecutor>(End::Dialled, bytes).await;
        line::<FromExecutor, ToExecutor>(End::Accepted, bytes).await;
        read
    })
}

async fn decoded<F: DeserializeOwned + Serialize>(mut bytes: &[u8], most: usize) -> usize {
    let mut count = 0;
    while let Ok(Some(frame)) = frames::read_within::<F>(&mut bytes, most).await {
        let once = packet::encode(&frame).expect("what was short enough to be read is written");
        assert!(once.len() <= packet::HEAD_BYTES + MAX_FRAME_BYTES);
        let again: F = packet::decode(&once[packet::HEAD_BYTES..]).expect("what was written is read");
        assert_eq!(once, packet::encode(&again).expect("and written"), "another frame");
        count += 1;
    }
    count
}

/// The bytes as a peer's messages, cut where the first of them say; then it hangs up.
async fn line<In: DeserializeOwned, Out: Serialize>(end: End, bytes: &[u8]) {
    let size = 1 + usize::from(bytes.first().copied().unwrap_or_default());
    let (say, outgoing) = mpsc::channel(8);
    let (incoming, mut hear) = mpsc::channel(8);
    let (opened, mut lanes) = mpsc::channel(8);
    let ends = Ends::<In, Out> {
        outgoing,
        incoming,
        ping: None,
        beat: Duration::from_secs(5),
        openings: None,
        opened: Some(opened),
    };
    let peer = Peer(
        bytes
            .chunks(size)
            .map(Bytes::copy_from_slice)
            .collect::<Vec<_>>()
            .into_iter(),
    );
    let hearing = async { while hear.recv().await.is_some() {} };
    // As an executor takes them.
    let taking = async {
        while let Some(mut lane) = lanes.recv().await {
            let _ = frames::read_within::<Opening>(&mut lane, MAX_OPENING_BYTES).await;
        }
    };
    let carrying = tokio::time::timeout(Duration::from_secs(60), carry(peer, end, ends));
    let (ended, (), ()) = tokio::join!(carrying, hearing, taking);
    assert!(ended.is_ok(), "it waits for who has hung up");
    drop(say);
}

/// Says what it has to say and takes everything.
struct Peer(std::vec::IntoIter<Bytes>);

impl Stream for Peer {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

impl Sink<Bytes> for Peer {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Bytes) -> io::Result<()> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
