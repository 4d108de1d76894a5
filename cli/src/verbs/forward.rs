//! `perennial forward EXECUTOR PORT[:LOCAL]`

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::BytesMut;
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::executor;
use crate::client::Client;
use crate::client::socket::{Message, next, send};
use crate::error::Error;
use crate::exit::Exit;
use crate::house::Signals;
use crate::output;
use crate::verbs::Context;

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 16;
/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Reach a port of a connected machine as a port of this one, until Ctrl-C
///
/// Only what listens on that machine's loopback address is reached, and only from this machine.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// The executor's id, or its name if no other has it
    executor: String,
    /// Its port, and the one here if that is another; 0 takes a free one
    #[arg(value_name = "PORT[:LOCAL]", value_parser = ports)]
    port: (u16, u16),
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (there, here) = text.split_once(':').unwrap_or((text, text));
    match (there.parse(), here.parse()) {
        (Ok(there @ 1..), Ok(here)) => Ok((there, here)),
        _ => Err("a port is a number up to 65535".into()),
    }
}

/// Listens until it is told to stop.
pub async fn run(context: &Context, args: ForwardArgs) -> Result<Exit, Error> {
    let mut signals = Signals::listen().map_err(Error::io("cannot listen for Ctrl-C"))?;
    let (there, here) = args.port;
    let client = Arc::new(context.client()?);
    let id = executor::id_of(&client, &args.executor).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, here))
        .await
        .map_err(Error::io(format!("cannot listen on port {here}")))?;
    let address = listener.local_addr().map_err(Error::io("no address"))?;
    if context.json {
        output::line(&json!({"address": address, "executor_id": id, "port": there}).to_string())?;
    } else {
        output::line(&address.to_string())?;
        output::note(&format!("port {there} of {} until Ctrl-C", args.executor));
    }
    let path = format!("/v1/executors/{id}/forwards/{there}");
    let (room, mut open) = (Arc::new(Semaphore::new(CONNECTIONS)), JoinSet::new());
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return Ok(Exit::Failed);
        };
        let accepted = tokio::select! {
            () = signals.stop() => return Ok(Exit::Done),
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        let (client, path) = (Arc::clone(&client), path.clone());
        open.spawn(async move {
            if let Err(error) = carry(&client, &path, socket).await {
                output::note(&error.to_string());
            }
            drop(permit);
        });
    }
}

/// One connection, until both ends have said all or either is gone.
async fn carry(client: &Client, path: &str, local: TcpStream) -> Result<(), Error> {
    let (mut out, mut messages) = client.socket(path).await?.split();
    let _ = local.set_nodelay(true);
    let (mut from, mut to) = local.into_split();
    let there = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            let read = from.read_buf(&mut piece).await.unwrap_or(0);
            if !send(&mut out, Message::Binary(piece.freeze())).await || read == 0 {
                return;
            }
        }
    };
    let back = async {
        while let Some(Message::Binary(bytes)) = next(&mut messages).await {
            let told = match bytes.is_empty() {
                true => to.shutdown().await,
                false => to.write_all(&bytes).await,
            };
            if told.is_err() || bytes.is_empty() {
                return bytes.is_empty();
            }
        }
        false
    };
    {
        tokio::pin!(there, back);
        tokio::select! {
            () = &mut there => {
                back.await;
            }
            // Whoever listens there has said all: somebody here may still have something to say.
            ended = &mut back => if ended { there.await },
        }
    }
    let _ = out.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_and_another_one() {
        for (text, expected) in [
            ("80", Some((80, 80))),
            ("80:8080", Some((80, 8080))),
            ("80:0", Some((80, 0))),
            ("0", None),
            ("0:1", None),
            ("a", None),
            ("1:70000", None),
        ] {
            assert_eq!(ports(text).ok(), expected, "{text}");
        }
    }
}
