//! A terminal, looked at and typed into.

use std::sync::Arc;

use perennial_schema::stream::{MAX_TERMINAL_NAME_BYTES, TerminalSize, Unopened};
use perennial_tunnel::Lane;
use perennial_tunnel::terminal::{Said, read, write};
use tokio::io::split;

use super::{Refused, open};
use crate::limits::SCREEN_PIECE_BYTES;
use crate::serve::House;
use crate::terminals::{Key, Seen};

/// Until the shell ends or the server lets go; the shell stays in that case.
pub(super) async fn terminal(
    house: &Arc<House>,
    name: &str,
    size: TerminalSize,
    lane: &mut Lane,
) -> Result<(), Refused> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > MAX_TERMINAL_NAME_BYTES || !name.bytes().all(known) {
        let message = "a terminal's name is made of letters, digits, - and _";
        return Err(Refused::new(Unopened::Unusable, message));
    }
    let attached = house.terminals.attach(house, name, size).await;
    let mut onlooker = attached.map_err(|why| Refused::new(Unopened::Failed, why))?;
    if open(lane, None).await.is_err() {
        return Ok(());
    }
    let terminal = onlooker.terminal();
    let (mut reader, mut writer) = split(lane);
    let typing = async {
        while let Ok(Some(said)) = read(&mut reader).await {
            let key = match said {
                Said::Bytes(bytes) => Key::Typed(bytes),
                Said::Resize(size) => Key::Resized(size),
                Said::Skipped(_) | Said::Exited(_) => continue,
            };
            if !terminal.key(key).await {
                // The shell has ended: that is told below.
                std::future::pending::<()>().await;
            }
        }
    };
    let showing = async {
        loop {
            let seen = onlooker.next(SCREEN_PIECE_BYTES).await;
            let written = match seen {
                Seen::Bytes { skipped, bytes } => {
                    if skipped > 0 {
                        write(&mut writer, &Said::Skipped(skipped)).await?;
                    }
                    write(&mut writer, &Said::Bytes(bytes)).await
                }
                Seen::Ended(code) => {
                    write(&mut writer, &Said::Exited(code)).await?;
                    return tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
                }
            };
            written?;
        }
    };
    tokio::select! {
        () = typing => {}
        _ = showing => {}
    }
    Ok(())
}
