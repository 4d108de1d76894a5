//! Frames both ways over one tunnel, and the watch over its silence.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use perennial_schema::frame::MAX_FRAME_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::frames;
use crate::lane::{Lane, Openings};
use crate::limits;
use crate::streams::Streams;

/// Which end of a tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The executor's.
    Dialled,
    /// The server's.
    Accepted,
}

/// What travels.
#[derive(Debug)]
pub struct Ends<In, Out> {
    /// Frames to the other end. The line ends when all senders are gone and everything is written.
    pub outgoing: mpsc::Receiver<Out>,
    /// Frames of the other end. The line ends when nobody takes them any more.
    pub incoming: mpsc::Sender<In>,
    /// How to ask whether it is still there; the end that is asked sends frames in answer, and needs none of its own.
    pub ping: Option<fn(u64) -> Out>,
    /// How often.
    pub beat: Duration,
    /// Further streams that this end wants opened; see [`crate::opener`].
    pub openings: Option<Openings>,
    /// Who takes those that the other end opens; without anybody, or with too many waiting, they are reset.
    pub opened: Option<mpsc::Sender<Lane>>,
}

/// Why a line ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Nothing was heard for two beats.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    /// The connection broke, or carried something that is no frame.
    #[error("the line broke")]
    Broken(#[from] io::Error),
}

/// Carries frames over a WebSocket's binary messages until either end hangs up or the line is lost.
///
/// # Errors
/// See [`Lost`].
pub async fn carry<S, In, Out>(socket: S, end: End, ends: Ends<In, Out>) -> Result<(), Lost>
where
    S: Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static,
    In: DeserializeOwned,
    Out: Serialize,
{
    let heard = Arc::new(AtomicU64::new(0));
    let mut streams = Streams::over(socket, end, Arc::clone(&heard));
    let silence = silence(&heard, ends.beat);
    let talking = async {
        let Ends {
            mut outgoing,
            incoming,
            ping,
            beat,
            openings,
            opened,
        } = ends;
        let (first, mut next) = tokio::select! {
            first = streams.first() => (first?, None),
            // Who has nothing to say any more does not wait for who never begins.
            said = outgoing.recv() => match said {
                Some(said) => (streams.first().await?, Some(said)),
                None => return Ok(()),
            },
        };
        let (mut reader, mut writer) = tokio::io::split(first);
        let reading = async {
            let mut most = match ping {
                Some(_) => limits::FIRST_FRAME_BYTES,
                None => MAX_FRAME_BYTES,
            };
            while let Some((frame, length)) = frames::read_measured(&mut reader, most).await? {
                most = MAX_FRAME_BYTES;
                let alone = length > limits::LONG_FRAME_BYTES;
                let room = if alone { incoming.max_capacity() } else { 1 };
                let Ok(mut room) = incoming.reserve_many(room).await else {
                    break;
                };
                if let Some(place) = room.next() {
                    place.send(frame);
                }
            }
            io::Result::Ok(())
        };
        let writing = async {
            let mut beats = interval(beat);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for nonce in 0.. {
                // A frame that is being written is never given up half way.
                let frame = loop {
                    if let Some(said) = next.take() {
                        break Some(said);
                    }
                    tokio::select! {
                        frame = outgoing.recv() => break frame,
                        _ = beats.tick() => {
                            // Nobody is asked anything after the last word.
                            if let Some(ping) = ping && !outgoing.is_closed() {
                                break Some(ping(nonce));
                            }
                        }
                    }
                };
                let Some(frame) = frame else { break };
                frames::write(&mut writer, &frame).await?;
            }
            io::Result::Ok(())
        };
        tokio::pin!(reading);
        tokio::select! {
            // In the order of their way, so that a frame is through in one turn of this task: what is said leaves, what came is read.
            biased;
            ended = writing => match ended {
                // The last frame is on its way only by now.
                Ok(()) => timeout(limits::GOODBYE, streams.close()).await.unwrap_or(Ok(())),
                Err(error) => Err(error),
            },
            // What came before the end is still heard.
            ended = streams.run(openings, opened.as_ref()) => match timeout(limits::GOODBYE, reading).await {
                Ok(Err(error)) => ended.and(Err(error)),
                Ok(Ok(())) | Err(_) => ended,
            },
            ended = &mut reading => ended,
        }
    };
    tokio::select! {
        ended = talking => ended.map_err(Lost::Broken),
        beat = silence => Err(Lost::Silent(beat)),
    }
}

/// Ends when nothing came for two beats, or a look later.
async fn silence(heard: &AtomicU64, beat: Duration) -> Duration {
    let mut looks = interval(beat / limits::LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut quiet) = (heard.load(Ordering::Relaxed), 0);
    // The first tick comes at once.
    looks.tick().await;
    while quiet < 2 * limits::LOOKS {
        looks.tick().await;
        let now = heard.load(Ordering::Relaxed);
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    beat * 2
}
