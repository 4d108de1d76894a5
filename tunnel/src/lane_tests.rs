//! Streams beside the one of frames, over messages in memory.

use std::time::Duration;

use perennial_schema::frame::{FromExecutor, ToExecutor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::tests::{Carrying, Mouth, ends, pair};
use crate::{End, Lane, NoLane, Opener, carry, limits, opener};

/// A line whose accepting end opens streams, and what its other end takes of them.
struct Line {
    opener: Opener,
    opened: mpsc::Receiver<Lane>,
    _server: Mouth<FromExecutor, ToExecutor>,
    executor: Mouth<ToExecutor, FromExecutor>,
    serving: Carrying,
    dialling: Carrying,
}

async fn line(waiting: usize) -> Line {
    let (accepted, dialled) = pair();
    let (mut server_ends, server) = ends(Some(|nonce| ToExecutor::Ping { nonce }));
    let (mut executor_ends, executor) = ends(None);
    let (opener, openings) = opener();
    let (taker, opened) = mpsc::channel(waiting);
    server_ends.openings = Some(openings);
    executor_ends.opened = Some(taker);
    let line = Line {
        opener,
        opened,
        serving: tokio::spawn(carry(accepted, End::Accepted, server_ends)),
        dialling: tokio::spawn(carry(dialled, End::Dialled, executor_ends)),
        _server: server,
        executor,
    };
    // Who dialled speaks first.
    line.executor.say.send(FromExecutor::Pong { nonce: 0 }).await.unwrap();
    line
}

async fn opened(line: &mut Line) -> (Lane, Lane) {
    let mut here = line.opener.open().await.unwrap();
    here.write_all(b"!").await.unwrap();
    here.flush().await.unwrap();
    let mut there = line.opened.recv().await.unwrap();
    assert_eq!(there.read_u8().await.unwrap(), b'!');
    (here, there)
}

/// One that is not read holds what was sent to it, a window of it, and nothing else.
#[tokio::test]
async fn a_stream_that_is_not_read_holds_up_nobody() {
    let mut line = line(limits::LANES_WAITING).await;
    let (mut stuck, _unread) = opened(&mut line).await;
    let filling = tokio::spawn(async move {
        let mut sent = 0_usize;
        while timeout(Duration::from_millis(300), stuck.write_all(&[0; 4096]))
            .await
            .is_ok()
        {
            sent += 4096;
        }
        (sent, stuck)
    });
    let (mut here, mut there) = opened(&mut line).await;
    let writing = tokio::spawn(async move {
        for _ in 0..64 {
            here.write_all(&[7; 64 * 1024]).await.unwrap();
        }
        here.shutdown().await.unwrap();
        here
    });
    let mut read = Vec::new();
    there.read_to_end(&mut read).await.unwrap();
    assert!(read.len() == 64 * 64 * 1024 && read.iter().all(|byte| *byte == 7));
    drop(writing.await.unwrap());
    let (sent, _stuck) = filling.await.unwrap();
    assert!(sent < limits::WINDOW_BYTES, "{sent} bytes that nobody reads");
    assert!(!line.serving.is_finished() && !line.dialling.is_finished());
}

#[tokio::test]
async fn as_many_as_may_be_and_each_makes_room_when_it_is_let_go_of() {
    let mut line = line(limits::LANES_WAITING).await;
    assert!(line.opener.is_idle());
    for _ in 0..4 {
        let mut open = Vec::new();
        for _ in 0..limits::LANES {
            open.push(opened(&mut line).await);
        }
        assert_eq!(line.opener.open().await.unwrap_err(), NoLane::Full);
        assert!(!line.opener.is_idle());
        for (here, mut there) in open {
            drop(here);
            // What is reset reads as ended.
            assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
        }
    }
    assert!(line.opener.is_idle() && !line.serving.is_finished() && !line.dialling.is_finished());
}

/// An end that takes none of them, or has too many waiting, resets them; the line goes on.
#[tokio::test]
async fn what_nobody_takes_is_reset() {
    let mut line = line(1).await;
    let mut first = line.opener.open().await.unwrap();
    let mut second = line.opener.open().await.unwrap();
    for lane in [&mut first, &mut second] {
        lane.write_all(b"!").await.unwrap();
        lane.flush().await.unwrap();
    }
    assert_eq!(second.read(&mut [0; 8]).await.unwrap(), 0);
    let mut taken = line.opened.recv().await.unwrap();
    taken.write_all(b"?").await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'?');
    // Nor does one that the other end may not open at all.
    assert!(!line.serving.is_finished() && !line.dialling.is_finished());
}

#[tokio::test]
async fn a_line_that_ends_ends_its_streams() {
    let mut line = line(limits::LANES_WAITING).await;
    let (mut here, mut there) = opened(&mut line).await;
    drop(line.executor);
    line.serving.abort();
    assert_eq!(here.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(there.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(matches!(line.opener.open().await, Err(NoLane::Gone)));
}
