//! `perennial acp` = an editor's agent: speaks the Agent Client Protocol on the standard streams and is a client of the server for
//! it. Sessions live at the server: they outlive the editor, and are found again by another one.
//!
//! stdout carries the protocol and nothing else.

mod agent;
mod desk;
mod hands;
mod permission;
mod prompt;
mod sessions;
mod stdio;
mod terminals;
mod tool;
mod updates;
mod watch;

use clap::{Args, ValueEnum};
use perennial_schema::agent::Harness;

use agent_client_protocol::ErrorCode;

use crate::client::Client;
use crate::config::Settings;
use crate::error::{Error, chain};
use crate::exit::Exit;

/// Serve an editor on standard input and output (Agent Client Protocol)
///
/// Have the editor start it as an agent. Its sessions are the server's: they go on when the editor is closed, are listed and
/// loaded by the next one, and are seen by everybody else meanwhile. Without --env tools work in the folder the editor names.
#[derive(Clone, Debug, Default, Args)]
pub struct AcpArgs {
    /// Go on with this session where the editor asks for a new one
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// An agent of the server instead of the default one
    #[arg(long, value_name = "ID", conflicts_with_all = ["model", "harness"])]
    agent: Option<String>,
    /// Model of the default agent [default: the server's]
    #[arg(long)]
    model: Option<String>,
    /// Which brain runs the turns: native, claude-code, codex or acp:NAME [default: native]
    #[arg(long)]
    harness: Option<Harness>,
    /// An environment of the server instead of the editor's folder
    #[arg(long, value_name = "ID")]
    env: Option<String>,
    /// Who works in the editor's folder [default: this process, if the editor shows its open files, has terminals, or the server is
    /// another machine]
    #[arg(long, conflicts_with = "env")]
    hands: Option<Whose>,
}

/// Who works in the editor's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// This process, for as long as the editor is open; files are read and written through the editor, and commands run in its terminals.
    Editor,
    /// The server, which must be this machine; it goes on when the editor is closed.
    Server,
}

/// Serves until the editor closes the streams.
pub async fn run(args: AcpArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let client = Client::new(settings)?.patient();
    agent::serve(client, args).await?;
    Ok(Exit::Done)
}

/// An error of ours, for an editor.
fn told(error: &Error) -> agent_client_protocol::Error {
    let code = match error.status() {
        Some(401) => ErrorCode::AUTH_REQUIRED,
        Some(404) => ErrorCode::RESOURCE_NOT_FOUND,
        Some(400..=499) => ErrorCode::INVALID_PARAMS,
        _ if matches!(error, Error::Usage(_)) => ErrorCode::INVALID_PARAMS,
        _ => ErrorCode::INTERNAL_ERROR,
    };
    agent_client_protocol::Error::new(code, chain(error))
}
