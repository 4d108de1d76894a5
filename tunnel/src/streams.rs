//! A WebSocket as a byte stream, and the streams on it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt as _};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::limits;
use crate::line::End;

/// Both directions of a tunnel.
type Socket = Compat<tokio::io::Join<Pin<Box<dyn AsyncRead + Send>>, Pin<Box<dyn AsyncWrite + Send>>>>;
type Connection = yamux::Connection<Socket>;
/// One stream of it.
pub(crate) type Lane = Compat<yamux::Stream>;

/// A tunnel's streams.
pub(crate) struct Streams {
    connection: Connection,
    end: End,
}

impl Streams {
    /// Over a WebSocket's messages. `heard` counts those that came.
    pub(crate) fn over<S>(socket: S, end: End, heard: Arc<AtomicU64>) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static,
    {
        let (sink, messages) = socket.split();
        let messages = messages.inspect(move |_| {
            heard.fetch_add(1, Ordering::Relaxed);
        });
        let reader: Pin<Box<dyn AsyncRead + Send>> = Box::pin(StreamReader::new(messages));
        let sink = sink.sink_map_err(io::Error::other);
        let writer = BufWriter::with_capacity(limits::WRITE_BYTES, SinkWriter::new(CopyToBytes::new(sink)));
        let writer: Pin<Box<dyn AsyncWrite + Send>> = Box::pin(writer);
        let mut config = yamux::Config::default();
        config.set_max_num_streams(limits::STREAMS);
        config.set_max_connection_receive_window(Some(limits::WINDOW_BYTES));
        let mode = match end {
            End::Dialled => yamux::Mode::Client,
            End::Accepted => yamux::Mode::Server,
        };
        Self {
            connection: Connection::new(tokio::io::join(reader, writer).compat(), config, mode),
            end,
        }
    }

    /// The stream that carries frames.
    pub(crate) async fn first(&mut self) -> io::Result<Lane> {
        let stream = match self.end {
            End::Dialled => poll_fn(|cx| self.connection.poll_new_outbound(cx)).await,
            End::Accepted => match poll_fn(|cx| self.connection.poll_next_inbound(cx)).await {
                Some(stream) => stream,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
        };
        stream.map(FuturesAsyncReadCompatExt::compat).map_err(io::Error::other)
    }

    /// Moves bytes until the tunnel ends. Streams that are opened meanwhile are reset.
    pub(crate) async fn run(&mut self) -> io::Result<()> {
        while let Some(stream) = poll_fn(|cx| self.connection.poll_next_inbound(cx)).await {
            drop(stream.map_err(io::Error::other)?);
        }
        Ok(())
    }

    /// Has what was written leave, and says goodbye.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.connection.poll_close(cx))
            .await
            .map_err(io::Error::other)
    }
}
