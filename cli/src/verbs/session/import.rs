//! `perennial session import FILE`

use std::path::PathBuf;

use clap::Args;
use perennial_schema::agent::Harness;
use perennial_schema::transcript::Origin;
use reqwest::Method;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::progress::Progress;
use crate::client::Client;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;
use crate::verbs::run::defaults;

/// Go on here with a session of another server, or with a transcript of Claude Code or Codex, and print its new id
///
/// FILE is what `perennial session export` wrote, `~/.claude/projects/*/ID.jsonl` or `~/.codex/sessions/**/rollout-*.jsonl`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    file: PathBuf,
    /// Whose transcript it is: claude-code or codex [default: as the file says]
    #[arg(long, value_name = "PROGRAM")]
    from: Option<Origin>,
    /// Go on with this agent of the server [default: the exported session's own; for a transcript the one `run` uses]
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Go on with this model
    #[arg(long)]
    model: Option<String>,
    /// Go on with this brain: native, claude-code, codex or acp:NAME
    #[arg(long)]
    harness: Option<Harness>,
    /// An environment of the server instead of the default one
    #[arg(long, value_name = "ID")]
    env: Option<String>,
    /// Work in this folder of the server's machine; a workspace in the file is left out
    #[arg(long, value_name = "PATH", conflicts_with = "env")]
    dir: Option<PathBuf>,
    /// Title [default: the one in the file]
    #[arg(long)]
    title: Option<String>,
}

/// Sends it.
pub async fn run(context: &Context, args: ImportArgs) -> Result<Exit, Error> {
    let refuse = || Error::io(format!("cannot read {}", args.file.display()));
    let mut file = tokio::fs::File::open(&args.file).await.map_err(refuse())?;
    let length = file.metadata().await.map_err(refuse())?.len();
    let mut begin = [0; 2];
    let gzipped = file.read_exact(&mut begin).await.is_ok() && begin == [0x1f, 0x8b];
    let client = Client::for_files(&context.settings)?;
    let query = query(&client, &args, gzipped).await?;
    // One request, however often its answer is lost.
    let key = uuid::Uuid::now_v7().to_string();
    let mut tries = 0;
    let progress = std::sync::Arc::new(Progress::new("sent"));
    let body = loop {
        let file = tokio::fs::File::open(&args.file).await.map_err(refuse())?;
        let told = std::sync::Arc::clone(&progress);
        let told = move |done, of| told.told(done, of);
        let sent = client
            .upload(
                (Method::POST, "/v1/sessions/import"),
                &query,
                file,
                length,
                Some(&key),
                told,
            )
            .await;
        progress.done();
        match sent {
            Err(Error::Unreachable { .. }) if tries < TRIES => tries += 1,
            sent => break sent?,
        }
    };
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let made: Value = body.parse()?;
    output::line(made["id"].as_str().unwrap_or_default())?;
    output::note(&told(&made["imported"]));
    Ok(Exit::Done)
}

/// How often a file is sent again when the connection is lost.
const TRIES: u32 = 2;

async fn query(client: &Client, args: &ImportArgs, gzipped: bool) -> Result<Vec<(&'static str, String)>, Error> {
    let mut query = Vec::new();
    let agent = match &args.agent {
        Some(id) => Some(id.clone()),
        None if gzipped => None,
        None => {
            let agent = defaults::agent(client, args.model.as_deref(), args.harness.as_ref()).await?;
            agent["id"].as_str().map(str::to_owned)
        }
    };
    let environment = match &args.env {
        Some(id) => id.clone(),
        None => defaults::environment(client, &defaults::Where::here(args.dir.as_deref())?).await?,
    };
    query.push(("environment_id", environment));
    query.extend(agent.map(|id| ("agent_id", id)));
    query.extend(args.from.map(|from| ("from", from.to_string())));
    query.extend(args.model.clone().map(|model| ("model", model)));
    query.extend(args.harness.as_ref().map(|harness| ("harness", harness.to_string())));
    query.extend(args.title.clone().map(|title| ("title", title)));
    Ok(query)
}

/// What came of the file.
fn told(imported: &Value) -> String {
    let events = imported["events"].as_u64().unwrap_or(0);
    let from = imported["from_session"].as_str().unwrap_or_default();
    let workspace = match imported["workspace"].as_str().unwrap_or_default() {
        "unpacked" => "workspace unpacked",
        "left_out" => "workspace left out",
        _ => "no workspace",
    };
    match imported["head_hash"].as_str() {
        Some(hash) => format!("{events} events of {from}, verified here up to {hash}; {workspace}"),
        None => {
            let unread = imported["unread"].as_u64().unwrap_or(0);
            let format = imported["format"].as_str().unwrap_or_default();
            let missing = match unread {
                0 => String::new(),
                1 => "; 1 line or block was not understood".to_owned(),
                more => format!("; {more} lines or blocks were not understood"),
            };
            format!("{events} events made of {format} session {from}{missing}")
        }
    }
}
