//! The standard streams as lines, bounded in both directions.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::sync::Arc;

use agent_client_protocol::Lines;
use futures_util::{Sink, Stream, sink, stream};
use tokio::sync::{Semaphore, mpsc};

/// Longest line an editor may send: a prompt with images.
const LINE_BYTES: u64 = 64 * 1024 * 1024;
/// Lines read and not yet looked at.
const READ_AHEAD: usize = 16;
/// Updates said and not yet written.
const UNWRITTEN: usize = 64;

/// How far what is said may be ahead of what the editor reads: the protocol library's own queue has no end.
#[derive(Clone, Debug)]
pub(super) struct Pace(Arc<Semaphore>);

impl Pace {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(UNWRITTEN)))
    }

    /// Waits until another update may be said.
    pub(super) async fn turn(&self) {
        // It is never closed.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }

    /// A line was written. Answers take no permit, so what they give back is not kept.
    fn written(&self) {
        if self.0.available_permits() < UNWRITTEN {
            self.0.add_permits(1);
        }
    }
}

/// This process's streams.
pub(super) fn lines(
    pace: Pace,
) -> Lines<
    impl Sink<String, Error = io::Error> + Send + Unpin + 'static,
    impl Stream<Item = io::Result<String>> + Send + Unpin + 'static,
> {
    let (read, lines) = mpsc::channel(READ_AHEAD);
    // Threads of their own: neither stream can be waited for without blocking one.
    std::thread::spawn(move || read_lines(&read));
    let (say, said) = mpsc::channel::<String>(1);
    std::thread::spawn(move || write_lines(said, &pace));
    let outgoing = sink::unfold(say, |say, line: String| async move {
        say.send(line)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok::<_, io::Error>(say)
    });
    let incoming = stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((line, lines))
    });
    Lines::new(Box::pin(outgoing), Box::pin(incoming))
}

fn read_lines(read: &mpsc::Sender<io::Result<String>>) {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let result = match input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if line.len() as u64 == LINE_BYTES && !line.ends_with(b"\n") => {
                Err(io::Error::other(format!("a line of more than {LINE_BYTES} bytes")))
            }
            Ok(_) => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Err(error) => Err(error),
        };
        let last = result.is_err();
        if read.blocking_send(result).is_err() || last {
            return;
        }
    }
}

fn write_lines(mut said: mpsc::Receiver<String>, pace: &Pace) {
    let mut out = io::stdout().lock();
    while let Some(line) = said.blocking_recv() {
        if writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush()).is_err() {
            return;
        }
        pace.written();
    }
}
