//! An executor on another machine: it dials home, over one WebSocket, again and again for as long as it lives. The transport is
//! the only difference; calls, journal and epochs are those of any other link.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use perennial_schema::executor_token::START_HEADER;
use perennial_schema::frame::{Dismissal, FromExecutor, REMOVED, ToExecutor};
use perennial_schema::packet::Unfit;
use perennial_tunnel::{End, Ends, Lost, carry};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use crate::Executor;
use crate::limits::{DIAL_GRACE, DIAL_PAUSE, DIAL_PAUSE_LONG, DIAL_PAUSE_MAX, DIAL_TIME, LINK_FRAMES};
use crate::network::Network;

/// Where home is, and what opens it.
#[derive(Clone, Debug)]
pub struct Home {
    uri: Uri,
    /// The socket that leads there, if no network does.
    socket: Option<PathBuf>,
    token: HeaderValue,
    start: Option<HeaderValue>,
    beat: Duration,
}

/// A server's address or a token that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum BadHome {
    /// Not `http://…`, `https://…` or `unix:/…`.
    #[error("{0:?} is not the address of a server: it begins with http://, https:// or unix:/")]
    Server(String),
    /// Not a token.
    #[error("the token cannot be sent")]
    Token,
}

impl Home {
    /// A server by its address, and this executor's token there.
    ///
    /// # Errors
    /// See [`BadHome`].
    pub fn new(server: &str, token: &str) -> Result<Self, BadHome> {
        let bad = || BadHome::Server(server.to_owned());
        let socket = server.strip_prefix("unix:").filter(|path| path.starts_with('/'));
        let root = match (server.split_once("://"), socket) {
            (_, Some(_)) => "ws://localhost".to_owned(),
            (Some(("http", rest)), _) => format!("ws://{rest}"),
            (Some(("https", rest)), _) => format!("wss://{rest}"),
            _ => return Err(bad()),
        };
        let uri = format!("{}/v1/executors/tunnel", root.trim_end_matches('/'));
        Ok(Self {
            uri: uri.parse().map_err(|_| bad())?,
            socket: socket.map(PathBuf::from),
            token: secret(&format!("Bearer {token}"))?,
            start: None,
            beat: perennial_tunnel::limits::BEAT,
        })
    }

    /// With the code that makes the token known there.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn start(mut self, code: &str) -> Result<Self, BadHome> {
        self.start = Some(secret(code)?);
        Ok(self)
    }

    /// With another time between heartbeats than the usual.
    #[must_use]
    pub const fn beat(mut self, beat: Duration) -> Self {
        self.beat = beat;
        self
    }

    fn request(&self) -> Result<Request, Error> {
        let mut request = self.uri.clone().into_client_request()?;
        request.headers_mut().insert(header::AUTHORIZATION, self.token.clone());
        if let Some(start) = &self.start {
            request.headers_mut().insert(START_HEADER, start.clone());
        }
        Ok(request)
    }
}

fn secret(text: &str) -> Result<HeaderValue, BadHome> {
    let mut value = HeaderValue::from_str(text).map_err(|_| BadHome::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What happens on the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The server is there.
    Connected,
    /// It is not there any more.
    Lost(String),
    /// It is not reached; said once until it is.
    Unreached(String),
}

/// Why nobody dials any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// The server does not know this executor (any more).
    Unknown,
    /// The server said that this executor was removed: its token opens nothing any more.
    Removed,
    /// Another process connected as this executor.
    Replaced,
}

/// What became of one line.
enum Line {
    Lost(String),
    Dismissed(Dismissal),
}

/// Dials home and serves what comes, until `stop` or until dialling again is no use. Calls go on while the line is down.
pub async fn keep(executor: &Arc<Executor>, home: &Home, stop: &CancellationToken, tell: impl Fn(Told)) -> Ended {
    let mut told_unreached = false;
    let network = Network::watch();
    loop {
        // A line that stood starts the pauses anew, and so does another network: what was tried on the old one is given up.
        for pause in pauses() {
            let dialled = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                () = async { sleep(DIAL_GRACE).await; network.changed().await } => break,
                dialled = Box::pin(dial(home)) => dialled,
            };
            let socket = match dialled {
                Ok(socket) => socket,
                Err(Error::Http(answer)) if refuses(answer.status()) => return refused(&answer),
                Err(error) => {
                    if !told_unreached {
                        tell(Told::Unreached(error.to_string()));
                    }
                    told_unreached = true;
                    tokio::select! {
                        () = stop.cancelled() => return Ended::Stopped,
                        () = network.changed() => break,
                        () = sleep(pause) => continue,
                    }
                }
            };
            told_unreached = false;
            tell(Told::Connected);
            let line = match socket {
                Socket::Net(socket) => {
                    let moved = moved(&network, local(socket.get_ref()));
                    Box::pin(serve(executor, home, *socket, moved, stop)).await
                }
                Socket::Unix(socket) => Box::pin(serve(executor, home, *socket, pending(), stop)).await,
            };
            match line {
                _ if stop.is_cancelled() => return Ended::Stopped,
                Line::Dismissed(Dismissal::Replaced) => return Ended::Replaced,
                Line::Dismissed(Dismissal::Removed) => return Ended::Removed,
                Line::Dismissed(Dismissal::Stranger) => return Ended::Unknown,
                Line::Dismissed(Dismissal::TooNew { newest }) => {
                    tell(Told::Lost(format!(
                        "the server knows version {newest} of the protocol and has to be upgraded"
                    )));
                    if stop.run_until_cancelled(sleep(DIAL_PAUSE_LONG)).await.is_none() {
                        return Ended::Stopped;
                    }
                }
                Line::Lost(why) => {
                    tell(Told::Lost(why));
                    // A server that takes lines and drops them at once must not be dialled without a breath.
                    if stop.run_until_cancelled(sleep(DIAL_PAUSE)).await.is_none() {
                        return Ended::Stopped;
                    }
                }
            }
            break;
        }
    }
}

/// What stands before a server may refuse too, and knows nothing of executors: only the server's own word makes one forget its token.
fn refused(answer: &Response<Option<Vec<u8>>>) -> Ended {
    let said = answer.body().as_deref().unwrap_or_default();
    let word = REMOVED.as_bytes();
    if said.windows(word.len()).any(|window| window == word) {
        Ended::Removed
    } else {
        Ended::Unknown
    }
}

/// A removed executor stays removed; whatever else a server or what stands before it says may pass.
fn refuses(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(DIAL_PAUSE)
        .with_max_delay(DIAL_PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// A way home that is open.
enum Socket {
    Net(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Unix(Box<WebSocketStream<UnixStream>>),
}

async fn dial(home: &Home) -> Result<Socket, Error> {
    let bytes = perennial_tunnel::limits::MESSAGE_BYTES;
    let config = WebSocketConfig::default()
        .read_buffer_size(perennial_tunnel::limits::READ_BYTES)
        .max_message_size(Some(bytes))
        .max_frame_size(Some(bytes));
    let dialling = async {
        let request = home.request()?;
        Ok(match &home.socket {
            None => {
                let dialled = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
                Socket::Net(Box::new(dialled.await?.0))
            }
            Some(path) => {
                let stream = UnixStream::connect(path).await?;
                let dialled = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
                Socket::Unix(Box::new(dialled.await?.0))
            }
        })
    };
    match timeout(DIAL_TIME, dialling).await {
        Ok(dialled) => dialled,
        Err(_) => Err(Error::Io(io::ErrorKind::TimedOut.into())),
    }
}

/// From which address of this machine a connection was made.
fn local(stream: &MaybeTlsStream<TcpStream>) -> Option<SocketAddr> {
    match stream {
        MaybeTlsStream::Plain(stream) => stream.local_addr().ok(),
        #[cfg(feature = "tls")]
        MaybeTlsStream::Rustls(stream) => stream.get_ref().0.local_addr().ok(),
        _ => None,
    }
}

/// When that address is gone.
async fn moved(network: &Network, from: Option<SocketAddr>) {
    match from {
        Some(address) => network.without(address).await,
        None => pending().await,
    }
}

/// Binary messages as bytes; what else a WebSocket carries is its own business.
fn messages<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: WebSocketStream<S>,
) -> impl Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static {
    socket
        .with(async |bytes: Bytes| Ok::<_, Error>(Message::Binary(bytes)))
        .sink_map_err(io::Error::other)
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    executor: &Arc<Executor>,
    home: &Home,
    socket: WebSocketStream<S>,
    moved: impl Future<Output = ()>,
    stop: &CancellationToken,
) -> Line {
    let (answers, outgoing) = mpsc::channel::<FromExecutor>(LINK_FRAMES);
    let (incoming, mut heard) = mpsc::channel::<ToExecutor>(LINK_FRAMES);
    // One that is long waits there for all before it, and nothing behind it is taken from there meanwhile.
    let (calls, served) = mpsc::channel(1);
    let (opened, mut lanes) = mpsc::channel(perennial_tunnel::limits::LANES_WAITING);
    let cut = stop.child_token();
    let ends = Ends {
        outgoing,
        incoming,
        ping: None,
        beat: home.beat,
        openings: None,
        opened: Some(opened),
    };
    let carrying = carry(messages(socket), End::Dialled, ends);
    let sorting = async {
        while let Some(frame) = heard.recv().await {
            match frame {
                ToExecutor::Dismissed { reason } => return Some(reason),
                frame => {
                    if calls.send(frame).await.is_err() {
                        break;
                    }
                }
            }
        }
        None
    };
    let serving = executor.serve(served, answers, cut.clone());
    // Ends with the line, which holds the other half.
    let streaming = async {
        while let Some(lane) = lanes.recv().await {
            executor.stream(lane);
        }
        pending::<Infallible>().await
    };
    tokio::pin!(serving, carrying, sorting);
    let line = tokio::select! {
        Some(reason) = &mut sorting => Line::Dismissed(reason),
        // What was said last may still have to be heard.
        ended = &mut carrying => match timeout(crate::limits::LAST_FRAMES, sorting).await {
            Ok(Some(reason)) => Line::Dismissed(reason),
            Ok(None) | Err(_) => Line::Lost(why(ended)),
        },
        never = streaming => match never {},
        () = moved => Line::Lost("the network it was made on is gone".into()),
        () = &mut serving => {
            // What was said before we stopped is still heard.
            let _ = timeout(crate::limits::LAST_FRAMES, &mut carrying).await;
            Line::Lost("it was closed".into())
        }
    };
    cut.cancel();
    line
}

fn is_unfit(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<Unfit>()
}

fn why(ended: Result<(), Lost>) -> String {
    match ended {
        Ok(()) => "the server hung up".into(),
        Err(Lost::Broken(error)) if error.get_ref().is_some_and(is_unfit) => {
            format!("the server sent what cannot be read: {error}")
        }
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            format!("{error}{}", source.unwrap_or_default())
        }
    }
}
