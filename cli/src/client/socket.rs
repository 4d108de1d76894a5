//! WebSockets of the server.

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
pub use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Client, limits, refusal};
use crate::error::Error;

/// An open WebSocket.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Client {
    /// Opens one.
    pub async fn socket(&self, path: &str) -> Result<Socket, Error> {
        let server = self.server()?;
        let url = server.url(path);
        let url = match url.split_once("://") {
            Some(("https", rest)) => format!("wss://{rest}"),
            Some((_, rest)) => format!("ws://{rest}"),
            None => return Err(Error::Usage(format!("{url} is not the address of a server"))),
        };
        let unreached = |why: String| Error::Failed(format!("the server at {} is not reached: {why}", server.base));
        let mut request = url
            .into_client_request()
            .map_err(|error| unreached(error.to_string()))?;
        let mut key = HeaderValue::from_str(server.key.expose_secret())
            .map_err(|_| Error::Usage("the key holds characters a header cannot carry".to_owned()))?;
        key.set_sensitive(true);
        request.headers_mut().insert("x-api-key", key);
        // The machine's owner may be asked first.
        let dialled = timeout(limits::OPENING, Box::pin(connect_async(request))).await;
        match dialled {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(SocketError::Http(answer))) => {
                let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
                let text = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
                Err(refusal(status, &reqwest::header::HeaderMap::new(), &text))
            }
            Ok(Err(error)) => Err(unreached(error.to_string())),
            Err(_) => Err(unreached("it does not answer".into())),
        }
    }
}

/// The next message that says something; `None` when it is over.
pub async fn next(messages: &mut (impl Stream<Item = Result<Message, SocketError>> + Unpin)) -> Option<Message> {
    loop {
        match messages.next().await?.ok()? {
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            Message::Close(_) => return None,
            message => return Some(message),
        }
    }
}

/// Sends a message; false when nobody is there any more.
pub async fn send(out: &mut (impl Sink<Message, Error = SocketError> + Unpin), message: Message) -> bool {
    out.send(message).await.is_ok()
}
