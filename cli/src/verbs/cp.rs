//! `perennial cp EXECUTOR:PATH LOCAL` and `perennial cp LOCAL EXECUTOR:PATH`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reqwest::Method;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::executor;
use super::session::progress::Progress;
use crate::client::Client;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Copy a file from a connected machine, or to it
///
/// One of the two is EXECUTOR:PATH, with the executor's id or name and a path in the folder that it offers; the other is a file
/// here. A copy is in its place when all of it has come, or not at all.
#[derive(Debug, Args)]
pub struct CpArgs {
    /// EXECUTOR:PATH, or a file here
    from: String,
    /// A file or folder here, or EXECUTOR:PATH
    to: String,
}

/// Copies it.
pub async fn run(context: &Context, args: CpArgs) -> Result<Exit, Error> {
    let client = Client::for_files(&context.settings)?;
    let (bytes, what) = match (remote(&args.from), remote(&args.to)) {
        (Some((machine, path)), None) => fetch(&client, machine, path, Path::new(&args.to)).await?,
        (None, Some((machine, path))) => store(&client, Path::new(&args.from), machine, path).await?,
        _ => {
            return Err(Error::Usage(
                "one of the two is EXECUTOR:PATH, and the other a file here (./a:b for one with a colon)".into(),
            ));
        }
    };
    if context.json {
        output::line(&json!({"path": what, "bytes": bytes}).to_string())?;
    } else {
        output::note(&format!("{what}: {bytes} bytes"));
    }
    Ok(Exit::Done)
}

/// As with `scp`: what has a colon before any slash is elsewhere.
fn remote(text: &str) -> Option<(&str, &str)> {
    text.split_once(':')
        .filter(|(machine, path)| !machine.is_empty() && !machine.contains('/') && !path.is_empty())
}

async fn fetch(client: &Client, machine: &str, path: &str, to: &Path) -> Result<(u64, String), Error> {
    let to = match to.is_dir() {
        true => to.join(
            Path::new(path)
                .file_name()
                .ok_or_else(|| Error::Usage(format!("{path} is not the name of a file")))?,
        ),
        false => to.to_owned(),
    };
    let refuse = || Error::io(format!("cannot write {}", to.display()));
    let id = executor::id_of(client, machine).await?;
    let query = [("path", path.to_owned())];
    let response = client.download(&format!("/v1/executors/{id}/files"), &query).await?;
    let partial = beside(&to);
    let mut file = File::create_new(&partial).await.map_err(refuse())?;
    let progress = Progress::new("fetched");
    let fetched = async {
        let told = |done, of| progress.told(done, of);
        let bytes = client
            .drain(response, &told, async |piece| {
                file.write_all(piece).await.map_err(refuse())
            })
            .await?;
        file.sync_data().await.map_err(refuse())?;
        tokio::fs::rename(&partial, &to).await.map_err(refuse())?;
        Ok(bytes)
    }
    .await;
    progress.done();
    if fetched.is_err() {
        // Half a file is none.
        let _ = tokio::fs::remove_file(&partial).await;
    }
    fetched.map(|bytes| (bytes, to.display().to_string()))
}

/// Where a file is until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", uuid::Uuid::new_v4().simple()));
    path.with_file_name(name)
}

async fn store(client: &Client, from: &Path, machine: &str, path: &str) -> Result<(u64, String), Error> {
    let refuse = || Error::io(format!("cannot read {}", from.display()));
    let file = File::open(from).await.map_err(refuse())?;
    let meta = file.metadata().await.map_err(refuse())?;
    if !meta.is_file() {
        return Err(Error::Usage(format!("{} is not a file", from.display())));
    }
    let bytes = meta.len();
    let path = match path.ends_with('/') {
        true => format!("{path}{}", from.file_name().unwrap_or_default().to_string_lossy()),
        false => path.to_owned(),
    };
    let id = executor::id_of(client, machine).await?;
    let progress = Arc::new(Progress::new("sent"));
    let told = Arc::clone(&progress);
    let sent = client
        .upload(
            (Method::PUT, &format!("/v1/executors/{id}/files")),
            &[("path", path.clone())],
            file,
            bytes,
            None,
            move |done, of| told.told(done, of),
        )
        .await;
    progress.done();
    sent?;
    Ok((bytes, format!("{machine}:{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_colon_before_a_slash_is_elsewhere() {
        for (text, expected) in [
            ("laptop:a/b", Some(("laptop", "a/b"))),
            ("laptop:/a:b", Some(("laptop", "/a:b"))),
            ("./a:b", None),
            ("a/b:c", None),
            (":a", None),
            ("laptop:", None),
            ("a", None),
        ] {
            assert_eq!(remote(text), expected, "{text}");
        }
    }
}
