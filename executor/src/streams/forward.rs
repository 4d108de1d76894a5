//! A connection to a TCP port of this machine's own loopback address, and to nothing else: what a command here could reach, and
//! no way into the networks around it.

use std::net::{Ipv4Addr, Ipv6Addr};

use perennial_schema::stream::Unopened;
use perennial_tunnel::Lane;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_buf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Refused, open};
use crate::limits::{CONNECT_TIME, FORWARD_PIECE_BYTES, FORWARD_STALL};

/// Connects, and carries bytes both ways until both ends have said all.
pub(super) async fn forward(port: u16, lane: &mut Lane) -> Result<(), Refused> {
    let socket = connect(port).await?;
    if open(lane, None).await.is_err() {
        return Ok(());
    }
    let (said, mut heard) = split(lane);
    let (mut from, mut to) = socket.into_split();
    let said_all = CancellationToken::new();
    let there = async {
        let mut said = BufReader::with_capacity(FORWARD_PIECE_BYTES, said);
        let _ = copy_buf(&mut said, &mut to).await;
        let _ = to.shutdown().await;
        said_all.cancel();
    };
    let back = async {
        let mut piece = vec![0; FORWARD_PIECE_BYTES];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            // Whoever has nothing more to say may be gone: it is believed to be there as long as it takes what it is told.
            let stalled = async {
                said_all.cancelled().await;
                tokio::time::sleep(FORWARD_STALL).await;
            };
            tokio::select! {
                sent = heard.write_all(&piece[..read]) => if sent.is_err() { return },
                () = stalled => return,
            }
        }
        let _ = heard.shutdown().await;
    };
    tokio::join!(there, back);
    Ok(())
}

async fn connect(port: u16) -> Result<TcpStream, Refused> {
    let nobody = |why: String| {
        Refused::new(
            Unopened::NotFound,
            format!("nobody is reached on port {port} there: {why}"),
        )
    };
    let connecting = async {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            // Not every service listens on both.
            Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
            connected => connected,
        }
    };
    let connected = timeout(CONNECT_TIME, connecting).await;
    let socket = connected
        .map_err(|_| nobody("it does not answer".into()))?
        .map_err(|error| nobody(error.to_string()))?;
    let _ = socket.set_nodelay(true);
    Ok(socket)
}
