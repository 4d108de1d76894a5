//! Lines of the standard streams.

use std::io::{self, BufRead, Write};

use agent_client_protocol::Lines;
use futures_util::{Sink, Stream, sink, stream};
use tokio::sync::mpsc;

/// Our side of the conversation with whoever started us; an old one says so, which the library would not let it.
pub(crate) fn lines(
    is_old: bool,
) -> Lines<
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
    let outgoing = sink::unfold((), move |(), line: String| async move {
        let line = if is_old {
            line.replace("\"protocolVersion\":1", "\"protocolVersion\":0")
        } else {
            line
        };
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
