//! Lines of the standard streams.

use std::io::{self, BufRead, Write};

use agent_client_protocol::Lines;
use futures_util::{Sink, Stream, sink, stream};
use tokio::sync::mpsc;

/// Our side of the conversation with whoever started us.
pub(crate) fn lines() -> Lines<
    impl Sink<String, Error = io::Error> + Send + Unpin + 'static,
    impl Stream<Item = io::Result<String>> + Send + Unpin + 'static,
> {
    let (read, lines) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if read.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let outgoing = sink::unfold((), |(), line: String| async move {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", line.trim_end())?;
        out.flush()
    });
    let incoming = stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((line, lines))
    });
    Lines::new(Box::pin(outgoing), Box::pin(incoming))
}
