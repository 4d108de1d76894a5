//! A WebSocket as a byte stream, and the streams on it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream, StreamExt as _, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tokio_util::io::StreamReader;

use crate::lane::{Ask, Lane, Openings};
use crate::limits;
use crate::line::End;

/// Both directions of a tunnel.
type Socket = Compat<tokio::io::Join<Pin<Box<dyn AsyncRead + Send>>, Pin<Box<dyn AsyncWrite + Send>>>>;
type Connection = yamux::Connection<Socket>;

/// What is written, as messages: what is collected is handed on without being copied again.
struct Messages<S> {
    sink: Pin<Box<S>>,
    collected: BytesMut,
}

impl<S: Sink<Bytes, Error = io::Error>> Messages<S> {
    fn over(sink: S) -> Self {
        Self {
            sink: Box::pin(sink),
            collected: BytesMut::new(),
        }
    }

    /// Hands on what is collected.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.collected.is_empty() {
            ready!(self.sink.as_mut().poll_ready(cx))?;
            let message = self.collected.split().freeze();
            self.sink.as_mut().start_send(message)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Sink<Bytes, Error = io::Error>> AsyncWrite for Messages<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.collected.len() + bytes.len() > limits::WRITE_BYTES {
            ready!(self.poll_send(cx))?;
        }
        let taken = bytes.len().min(limits::WRITE_BYTES);
        self.collected.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.sink.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.sink.as_mut().poll_close(cx)
    }
}

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
        let writer: Pin<Box<dyn AsyncWrite + Send>> = Box::pin(Messages::over(sink));
        let mut config = yamux::Config::default();
        config.set_split_send_size(limits::PART_BYTES);
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
        stream.map(Lane::of).map_err(io::Error::other)
    }

    /// Moves bytes until the tunnel ends; opens streams that are asked for, and hands over those that the other end opens.
    pub(crate) async fn run(
        &mut self,
        mut openings: Option<Openings>,
        opened: Option<&mpsc::Sender<Lane>>,
    ) -> io::Result<()> {
        let mut asked = None;
        loop {
            let inbound = poll_fn(|cx| {
                self.poll_openings(cx, &mut openings, &mut asked)?;
                self.connection.poll_next_inbound(cx).map(Ok::<_, io::Error>)
            });
            let Some(stream) = inbound.await? else { return Ok(()) };
            let lane = Lane::of(stream.map_err(io::Error::other)?);
            // What nobody takes is dropped, which resets it: the tunnel waits for nobody.
            if let Some(opened) = opened {
                let _ = opened.try_send(lane);
            }
        }
    }

    /// Opens what is asked for, as far as the other end allows now.
    fn poll_openings(
        &mut self,
        cx: &mut Context<'_>,
        openings: &mut Option<Openings>,
        asked: &mut Option<Ask>,
    ) -> io::Result<()> {
        loop {
            if asked.is_none() {
                let Some(waiting) = openings else { return Ok(()) };
                match waiting.poll_next(cx) {
                    Poll::Ready(Some(ask)) => *asked = Some(ask),
                    Poll::Ready(None) => *openings = None,
                    Poll::Pending => return Ok(()),
                }
                continue;
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(stream) => {
                    let stream = stream.map_err(io::Error::other)?;
                    if let Some(ask) = asked.take() {
                        ask.answer(Lane::of(stream));
                    }
                }
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Has what was written leave, and says goodbye.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.connection.poll_close(cx))
            .await
            .map_err(io::Error::other)
    }
}
