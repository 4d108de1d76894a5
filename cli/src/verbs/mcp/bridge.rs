//! `perennial mcp`: the server's tools for a program that starts its MCP servers and speaks to them over stdio. A thin bridge: a line in
//! is a message to the server, and what comes back for it is a line out.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::client::mcp::Conversation;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Messages under way at once; further ones wait.
const AT_ONCE: usize = 64;

/// Which tools are offered.
#[derive(Debug, Args)]
pub struct BridgeArgs {
    /// The tools of this session instead of the whole server's
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
}

/// Runs until stdin ends and everything asked is answered.
pub(super) async fn run(context: &Context, args: BridgeArgs) -> Result<Exit, Error> {
    let path = match args.session {
        Some(session) => format!("/v1/sessions/{session}/mcp"),
        None => "/mcp".to_owned(),
    };
    let conversation = Arc::new(Conversation::new(context.client()?, path));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let (told, lines_out) = mpsc::channel(AT_ONCE);
    let writing = tokio::spawn(write(lines_out));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut under_way = JoinSet::new();
    let broken = |error: std::io::Error| Error::Failed(format!("cannot read stdin: {error}"));
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            refuse(&told, &Value::Null, -32700, "not JSON").await;
            continue;
        };
        let handshake = message["method"] == "initialize";
        let place = Arc::clone(&places).acquire_owned().await;
        let (conversation, told) = (Arc::clone(&conversation), told.clone());
        under_way.spawn(async move {
            let _place = place;
            let sent = conversation.send(&message, &told).await;
            // Every request is answered, also when the server is not there.
            if let (Err(error), Some(id)) = (sent, message.get("id")) {
                refuse(&told, id, -32603, &error.to_string()).await;
            }
        });
        // What it comes to goes with whatever is sent next.
        while handshake && under_way.join_next().await.is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    conversation.end().await;
    drop(told);
    // Whoever closed our stdout wants no answer.
    let _ = writing.await;
    Ok(Exit::Done)
}

async fn refuse(told: &mpsc::Sender<String>, id: &Value, code: i32, message: &str) {
    let error = json!({"code": code, "message": message});
    let refusal = json!({"jsonrpc": "2.0", "id": id, "error": error});
    let _ = told.send(refusal.to_string()).await;
}

async fn write(mut lines: mpsc::Receiver<String>) -> std::io::Result<()> {
    let mut out = tokio::io::stdout();
    while let Some(line) = lines.recv().await {
        out.write_all(format!("{line}\n").as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}
