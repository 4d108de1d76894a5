//! Two ends of a line over messages in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use perennial_schema::frame::{FromExecutor, MAX_FRAME_BYTES, ToExecutor};
use perennial_schema::tool::Outcome;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::{End, Ends, Lost, carry};

const BEAT: Duration = Duration::from_secs(5);

/// One end of a WebSocket: messages in order, both ways.
pub(crate) struct Socket {
    to: mpsc::UnboundedSender<Bytes>,
    from: mpsc::UnboundedReceiver<Bytes>,
}

pub(crate) fn pair() -> (Socket, Socket) {
    let ((one, other), (two, another)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    (Socket { to: one, from: another }, Socket { to: two, from: other })
}

impl Stream for Socket {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.from.poll_recv(cx).map(|message| message.map(Ok))
    }
}

impl Sink<Bytes> for Socket {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Bytes) -> io::Result<()> {
        assert!(
            message.len() <= crate::limits::MESSAGE_BYTES,
            "a message of {} bytes",
            message.len()
        );
        self.to.send(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Who speaks over an end.
pub(crate) struct Mouth<In, Out> {
    pub(crate) say: mpsc::Sender<Out>,
    pub(crate) hear: mpsc::Receiver<In>,
}

pub(crate) fn ends<In, Out>(ping: Option<fn(u64) -> Out>) -> (Ends<In, Out>, Mouth<In, Out>) {
    let (say, outgoing) = mpsc::channel(8);
    let (incoming, hear) = mpsc::channel(8);
    let ends = Ends {
        outgoing,
        incoming,
        ping,
        beat: BEAT,
        openings: None,
        opened: None,
    };
    (ends, Mouth { say, hear })
}

type Server = Mouth<FromExecutor, ToExecutor>;
type Executor = Mouth<ToExecutor, FromExecutor>;
pub(crate) type Carrying = tokio::task::JoinHandle<Result<(), Lost>>;

fn line() -> (Server, Executor, Carrying, Carrying) {
    let (accepted, dialled) = pair();
    let (server_ends, server) = ends(Some(|nonce| ToExecutor::Ping { nonce }));
    let (executor_ends, executor) = ends(None);
    let serving = tokio::spawn(carry(accepted, End::Accepted, server_ends));
    let dialling = tokio::spawn(carry(dialled, End::Dialled, executor_ends));
    (server, executor, serving, dialling)
}

fn pong(nonce: u64) -> FromExecutor {
    FromExecutor::Pong { nonce }
}

#[tokio::test(start_paused = true)]
async fn frames_of_any_size_go_both_ways_in_order() {
    let (mut server, mut executor, serving, _dialling) = line();
    let result = |bytes: usize| FromExecutor::Result {
        session: perennial_schema::SessionId::from_uuid(Default::default()),
        call_id: perennial_schema::EventId::from_uuid(Default::default()),
        outcome: Outcome::text("x".repeat(bytes), false),
    };
    let sizes = [0, 1, 70_000, 1_000_000, MAX_FRAME_BYTES - 1000, 3];
    let say = executor.say.clone();
    tokio::spawn(async move {
        for bytes in sizes {
            say.send(result(bytes)).await.unwrap();
        }
    });
    for bytes in sizes {
        assert!(server.hear.recv().await == Some(result(bytes)), "{bytes}");
    }
    let forget = ToExecutor::Forget {
        session: perennial_schema::SessionId::from_uuid(Default::default()),
    };
    server.say.send(forget.clone()).await.unwrap();
    while let Some(frame) = executor.hear.recv().await {
        if !matches!(frame, ToExecutor::Ping { .. }) {
            assert_eq!(frame, forget);
            break;
        }
    }
    drop(executor);
    assert!(serving.await.unwrap().is_ok());
}

/// What is said last is heard, however soon the one who said it is gone.
#[tokio::test(start_paused = true)]
async fn the_last_word_arrives() {
    let (server, mut executor, serving, _dialling) = line();
    executor.say.send(pong(0)).await.unwrap();
    let last = ToExecutor::Dismissed {
        reason: perennial_schema::frame::Dismissal::Replaced,
    };
    server.say.send(last.clone()).await.unwrap();
    drop(server.say);
    let mut heard = Vec::new();
    while let Some(frame) = executor.hear.recv().await {
        heard.push(frame);
    }
    assert_eq!(heard.last(), Some(&last));
    assert!(serving.await.unwrap().is_ok());
}

/// A network that goes away says no goodbye: both ends find out by themselves.
#[tokio::test(start_paused = true)]
async fn silence_ends_a_line_within_two_beats() {
    let (accepted, _black_hole) = pair();
    let (server_ends, _server) = ends::<FromExecutor, ToExecutor>(Some(|nonce| ToExecutor::Ping { nonce }));
    let (dialled, _other_hole) = pair();
    let (executor_ends, executor) = ends::<ToExecutor, FromExecutor>(None);
    executor.say.send(pong(0)).await.unwrap();
    let began = Instant::now();
    let both = tokio::join!(
        carry(accepted, End::Accepted, server_ends),
        carry(dialled, End::Dialled, executor_ends)
    );
    assert!(matches!(both, (Err(Lost::Silent(_)), Err(Lost::Silent(_)))), "{both:?}");
    assert_eq!(began.elapsed(), 2 * BEAT);
}

/// And one that answers pings is never silent.
#[tokio::test(start_paused = true)]
async fn an_idle_line_stays() {
    let (_server, mut executor, serving, dialling) = line();
    // Who dialled speaks first.
    executor.say.send(pong(0)).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < 20 * BEAT {
        match executor.hear.recv().await {
            Some(ToExecutor::Ping { nonce }) => executor.say.send(pong(nonce)).await.unwrap(),
            other => panic!("{other:?} after {:?}", began.elapsed()),
        }
    }
    assert!(!serving.is_finished() && !dialling.is_finished());
}

/// Whatever comes instead of streams and frames ends the line, and nothing else.
#[tokio::test(start_paused = true)]
async fn what_is_no_frame_ends_the_line() {
    let mut seed = 7_u64;
    let mut random = |most: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % most
    };
    // The head of a stream's first data frame, and a frame's length that nobody allocates.
    let opened = |length: u32, body: &[u8]| [&[0, 0, 0, 1, 0, 0, 0, 1], &length.to_be_bytes()[..], body].concat();
    let mut hostile = vec![
        opened(4, &u32::MAX.to_be_bytes()),
        opened(u32::MAX, b""),
        opened(6, &[0, 0, 0, 2, b'{', b'}']),
        opened(0x0010_0001, b""),
        // A window that overflows, on a stream that is not there.
        vec![0, 1, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
    ];
    for _ in 0..300 {
        let mut bytes: Vec<u8> = (0..1 + random(64))
            .map(|_| u8::try_from(random(256)).unwrap())
            .collect();
        if random(2) == 0 {
            // Closer to what is spoken here.
            bytes[0] = 0;
            bytes.iter_mut().skip(1).take(3).for_each(|byte| *byte %= 4);
        }
        hostile.push(bytes);
    }
    for bytes in hostile {
        for end in [End::Accepted, End::Dialled] {
            let (mine, theirs) = pair();
            let (their_ends, mut mouth) = ends::<FromExecutor, ToExecutor>(None);
            theirs_say(&theirs, &bytes);
            let carried = timeout(BEAT * 4, carry(mine, end, their_ends)).await;
            assert!(carried.is_ok(), "{end:?} goes on after {bytes:?}");
            assert_eq!(mouth.hear.try_recv().ok(), None);
        }
    }
}

fn theirs_say(socket: &Socket, bytes: &[u8]) {
    socket.to.send(Bytes::copy_from_slice(bytes)).unwrap();
}
