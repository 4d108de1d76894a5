//! One shell on a terminal, from its start until nothing of it is alive.

use std::sync::Arc;

use perennial_schema::stream::TerminalSize;
use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Key, Terminal};
use crate::limits::{SCREEN_PIECE_BYTES, TERMINAL_IDLE, TERMINAL_LAST};
use crate::process::{SHELL_MARKER, UNKNOWN_STATUS, kill_tree, shell_status};
use crate::serve::House;

/// A shell that runs.
pub(super) struct Shell {
    child: Child,
    screen: OwnedReadPty,
    keys: OwnedWritePty,
    marker: String,
}

impl Shell {
    /// Starts a shell in the folder that is offered, contained as commands there are.
    pub(super) async fn start(house: &House, size: TerminalSize) -> Result<Self, String> {
        let workspaces = house.workspaces.clone();
        let folder = tokio::task::spawn_blocking(move || workspaces.offered()).await;
        let folder = folder.map_err(|error| error.to_string())??.path;
        let bash = house.bash().ok_or("bash is not installed")?;
        let marker = format!("{:032x}", rand::random::<u128>());
        let mut env = house.environment(&folder);
        env.retain(|(name, _)| !matches!(*name, "TERM" | "PAGER"));
        env.extend([
            ("TERM", "xterm-256color".into()),
            ("PS1", r"\w\$ ".into()),
            // The folder is its home: what was typed is not left among somebody's files.
            ("HISTFILE", "".into()),
            ("LESSHISTFILE", "-".into()),
            (SHELL_MARKER, marker.clone().into()),
        ]);
        let command = match &house.sandbox {
            Some(sandbox) => {
                let (program, arguments) = sandbox.on_terminal(&folder, &env);
                pty_process::Command::new(program).args(arguments).arg(&bash)
            }
            None => pty_process::Command::new(&bash),
        };
        let command = command
            .args(["--noprofile", "--norc", "-i"])
            .current_dir(&folder)
            .env_clear()
            // Also on bubblewrap itself: its inner half is found by the marker.
            .envs(env);
        let failed = |error: pty_process::Error| format!("a terminal cannot be made: {error}");
        let (pty, pts) = pty_process::open().map_err(failed)?;
        pty.resize(Size::new(size.rows, size.columns)).map_err(failed)?;
        let child = house.spawner.spawn_on(command, pts).await;
        let child = child.map_err(|error| format!("a shell cannot be started: {error}"))?;
        let (screen, keys) = pty.into_split();
        Ok(Self {
            child,
            screen,
            keys,
            marker,
        })
    }

    /// Until it exits, nobody has looked for long, or everything ends. What it ended with.
    pub(super) async fn run(self, house: &House, terminal: &Arc<Terminal>, keys: mpsc::Receiver<Key>) -> i32 {
        let Self {
            mut child,
            mut screen,
            keys: writer,
            marker,
        } = self;
        let group = child.id().map(u32::cast_signed);
        let mut showing = std::pin::pin!(show(&mut screen, terminal));
        let ended = tokio::select! {
            ended = child.wait() => {
                // What it showed last; something it left running may hold the terminal.
                let _ = timeout(TERMINAL_LAST, &mut showing).await;
                Some(ended)
            }
            // All was shown; whoever closed its terminal has not ended yet, perhaps.
            () = &mut showing => timeout(TERMINAL_LAST, child.wait()).await.ok(),
            () = type_in(writer, keys) => None,
            () = terminal.unseen_for(TERMINAL_IDLE) => None,
            () = house.closing.cancelled() => None,
            () = house.stop.cancelled() => None,
        };
        let killed = tokio::task::spawn_blocking(move || kill_tree(group, SHELL_MARKER, &marker)).await;
        if let Ok(Err(error)) = killed {
            tracing::error!(%error, "a terminal's shell cannot be ended");
        }
        let _ = child.start_kill();
        let ended = match ended {
            Some(ended) => ended,
            None => child.wait().await,
        };
        ended.map_or(UNKNOWN_STATUS, shell_status)
    }
}

/// Takes what is shown as it comes, whether anybody looks or not: a shell must not stand still.
async fn show(screen: &mut OwnedReadPty, terminal: &Terminal) {
    let mut piece = vec![0; SCREEN_PIECE_BYTES];
    // The system says so with an error when the last who could write is gone.
    while let Ok(read @ 1..) = screen.read(&mut piece).await {
        terminal.show(&piece[..read]);
    }
}

/// Ends when the terminal takes nothing any more.
async fn type_in(mut writer: OwnedWritePty, mut keys: mpsc::Receiver<Key>) {
    while let Some(key) = keys.recv().await {
        let done = match key {
            Key::Typed(bytes) => writer.write_all(&bytes).await.is_ok(),
            Key::Resized(size) => writer.resize(Size::new(size.rows, size.columns)).is_ok(),
        };
        if !done {
            break;
        }
    }
    // Its end is noticed by who waits for the shell.
    std::future::pending::<()>().await;
}
