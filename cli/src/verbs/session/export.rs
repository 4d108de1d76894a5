//! `perennial session export SESSION`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::progress::{Progress, size};
use crate::client::Client;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Write a whole session to one file: its log, long outputs and workspace folder
///
/// `perennial session import` goes on with it at another server. The file appears under its name when it is complete.
#[derive(Debug, Args)]
pub struct ExportArgs {
    session: String,
    /// The file, `-` for standard output [default: SESSION.perennial.tar.gz]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave the workspace folder out
    #[arg(long)]
    no_workspace: bool,
}

/// Writes it.
pub async fn run(context: &Context, args: ExportArgs) -> Result<Exit, Error> {
    let default = || PathBuf::from(format!("{}.perennial.tar.gz", args.session));
    let target = args.output.clone().unwrap_or_else(default);
    if target.as_os_str() != "-" && target.exists() {
        return Err(Error::Usage(format!(
            "{} exists already: name another file with --output",
            target.display()
        )));
    }
    let client = Client::for_files(&context.settings)?;
    let query = [("workspace", (!args.no_workspace).to_string())];
    let path = format!("/v1/sessions/{}/export", args.session);
    let response = client.download(&path, &query).await?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (events, hash) = (header("perennial-events"), header("perennial-head-hash"));
    let workspace: u64 = header("perennial-workspace-bytes").parse().unwrap_or(0);
    let progress = Progress::new("received");
    let told = |done, of| progress.told(done, of);
    let written = if target.as_os_str() == "-" {
        let mut out = std::io::stdout();
        let written = client
            .drain(response, &told, async |piece: &[u8]| {
                std::io::Write::write_all(&mut out, piece).map_err(Error::io("cannot write to stdout"))
            })
            .await;
        std::io::Write::flush(&mut out).map_err(Error::io("cannot write to stdout"))?;
        written
    } else {
        whole(&client, response, &told, &target).await
    };
    progress.done();
    let bytes = written?;
    if target.as_os_str() == "-" {
        return Ok(Exit::Done);
    }
    if context.json {
        let told = json!({"file": target, "bytes": bytes, "events": events.parse::<u64>().ok(), "head_hash": hash,
            "workspace_bytes": workspace});
        output::line(&told.to_string())?;
    } else {
        output::line(&target.display().to_string())?;
        output::note(&format!(
            "{} in all: {events} events up to {hash}, {} of workspace",
            size(bytes),
            size(workspace)
        ));
    }
    Ok(Exit::Done)
}

/// The file under its name, or none.
async fn whole(
    client: &Client,
    response: reqwest::Response,
    told: crate::client::Told<'_>,
    target: &Path,
) -> Result<u64, Error> {
    let mut part = target.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let refuse = || Error::io(format!("cannot write {}", part.display()));
    let mut file = tokio::fs::File::create(&part).await.map_err(refuse())?;
    let written = client
        .drain(response, told, async |piece: &[u8]| {
            file.write_all(piece).await.map_err(refuse())
        })
        .await;
    let kept = match written {
        Ok(bytes) => {
            file.sync_all().await.map_err(refuse())?;
            let renamed = tokio::fs::rename(&part, target).await;
            renamed
                .map(|()| bytes)
                .map_err(Error::io(format!("cannot write {}", target.display())))
        }
        Err(error) => Err(error),
    };
    if kept.is_err() {
        tokio::fs::remove_file(&part).await.ok();
    }
    kept
}
