//! The way out of a sandbox: programs know proxies by a port of loopback, and the one there is is a unix socket. Every byte is passed
//! on as it is; what may go out is decided behind the socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits::WAY_OUT_CONNECTIONS;

/// Pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// A port of loopback before a socket.
#[derive(Debug)]
pub struct WayOut {
    listener: TcpListener,
    socket: PathBuf,
}

impl WayOut {
    /// Takes a port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(socket: PathBuf) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self { listener, socket })
    }

    /// What programs are told.
    ///
    /// # Errors
    /// When the port is not known.
    pub fn url(&self) -> io::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr()?))
    }

    /// Passes connections on until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(WAY_OUT_CONNECTIONS));
        loop {
            let taken = stop.run_until_cancelled(async {
                let place = Arc::clone(&room).acquire_owned().await;
                (place, self.listener.accept().await)
            });
            let Some(taken) = taken.await else { return };
            let (Ok(place), Ok((line, _))) = taken else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (socket, stop) = (self.socket.clone(), stop.clone());
            tokio::spawn(async move {
                // How it ended is seen at both ends.
                let _ = stop.run_until_cancelled(pass(line, socket)).await;
                drop(place);
            });
        }
    }
}

async fn pass(mut line: TcpStream, socket: PathBuf) -> io::Result<()> {
    let mut out = UnixStream::connect(socket).await?;
    tokio::io::copy_bidirectional(&mut line, &mut out).await?;
    Ok(())
}
