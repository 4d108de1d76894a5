//! `perennial shell EXECUTOR`

use std::io::{IsTerminal as _, Read as _, Write as _};

use bytes::Bytes;
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde::Deserialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::executor;
use crate::client::socket::{Message, next, send};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Ctrl-]: leaves, and the shell stays.
const LEAVE: u8 = 0x1d;
/// What a shell takes for the end of what is typed.
const END: u8 = 0x04;
/// Bytes read at once.
const PIECE_BYTES: usize = 4096;
/// Pieces that wait to be sent.
const PIECES: usize = 16;

/// Type into a shell on a connected machine
///
/// Ctrl-] leaves and lets it go on; the same command finds it again, with the end of what it showed. Ends with what the shell
/// exited with.
#[derive(Debug, Args)]
pub struct ShellArgs {
    /// The executor's id, or its name if no other has it
    executor: String,
    /// Which of its terminals; made if there is none
    #[arg(long, value_name = "NAME", default_value = "main")]
    terminal: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Word {
    Skipped {},
    Exited {
        code: i32,
    },
    #[serde(other)]
    Other,
}

/// A terminal that hands every key on as it is, until it is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

enum Ended {
    Left,
    Exited(i32),
    Lost,
}

/// Attaches until the shell exits or is left.
pub async fn run(context: &Context, args: ShellArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = executor::id_of(&client, &args.executor).await?;
    let mut resized =
        signal(SignalKind::window_change()).map_err(Error::io("cannot listen for the terminal's size"))?;
    let (columns, rows) = size().unwrap_or((80, 24));
    let path = format!(
        "/v1/executors/{id}/terminals/{}?columns={columns}&rows={rows}",
        args.terminal
    );
    let (mut out, mut messages) = client.socket(&path).await?.split();
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        output::note(&format!(
            "terminal {} of {}; Ctrl-] leaves it",
            args.terminal, args.executor
        ));
    }
    let raw = if terminal { Raw::enter() } else { None };
    let mut keys = typed(terminal);
    let typing = async {
        loop {
            let message = tokio::select! {
                key = keys.recv() => match key {
                    Some(bytes) => Message::Binary(bytes),
                    None => return Ended::Left,
                },
                _ = resized.recv() => {
                    let Some((columns, rows)) = size() else { continue };
                    let word = json!({"type": "resize", "columns": columns, "rows": rows});
                    Message::Text(word.to_string().into())
                }
            };
            if !send(&mut out, message).await {
                return Ended::Lost;
            }
        }
    };
    let showing = async {
        let mut screen = std::io::stdout();
        while let Some(message) = next(&mut messages).await {
            match message {
                Message::Binary(bytes) => {
                    // What is not seen need not be said.
                    let _ = screen.write_all(&bytes).and_then(|()| screen.flush());
                }
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(Word::Exited { code }) => return Ended::Exited(code),
                    Ok(Word::Skipped {} | Word::Other) | Err(_) => {}
                },
                _ => {}
            }
        }
        Ended::Lost
    };
    let ended = tokio::select! {
        ended = typing => ended,
        ended = showing => ended,
    };
    drop(raw);
    let _ = out.close().await;
    match ended {
        Ended::Left => {
            output::note("left; the shell goes on");
            Ok(Exit::Done)
        }
        Ended::Exited(0) => Ok(Exit::Done),
        Ended::Exited(code) => Ok(u8::try_from(code).map_or(Exit::Failed, Exit::Command)),
        Ended::Lost => Err(Error::Failed("the connection was lost; the shell goes on there".into())),
    }
}

fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdin()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// What is typed here. From a terminal until Ctrl-]; from a file to its end, and then the end of what is typed there.
fn typed(terminal: bool) -> mpsc::Receiver<Bytes> {
    let (say, keys) = mpsc::channel(PIECES);
    // A thread, not a task: a read of a terminal cannot be given up, and it ends with the process.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin();
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = stdin.read(&mut piece) {
            let typed = &piece[..read];
            let left = typed.iter().position(|key| terminal && *key == LEAVE);
            let bytes = Bytes::copy_from_slice(&typed[..left.unwrap_or(read)]);
            if say.blocking_send(bytes).is_err() || left.is_some() {
                return;
            }
        }
        if !terminal && say.blocking_send(Bytes::from_static(&[END])).is_ok() {
            // The shell's end is waited for.
            loop {
                std::thread::park();
            }
        }
    });
    keys
}
