//! Files, fetched and stored: beneath the folders that are offered, by descriptors (S17), and never in memory as a whole.

use std::io;
use std::sync::Arc;

use perennial_schema::stream::{MAX_FILE_BYTES, MAX_PATH_BYTES, Unopened, Word};
use perennial_tunnel::{Lane, frames};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_buf};
use tokio::task::spawn_blocking;

use super::{Refused, let_go, open};
use crate::limits::FILE_PIECE_BYTES;
use crate::replacement::Replacement;
use crate::serve::House;
use crate::workspace::Folder;

/// Sends a file. As many bytes as it had when it was opened, or the stream breaks off.
pub(super) async fn read(house: &Arc<House>, path: String, lane: &mut Lane) -> Result<(), Refused> {
    let opened = beneath(house, path, |folder, path| {
        if folder
            .dir
            .metadata(folder.relative(path)?)
            .is_ok_and(|meta| meta.is_dir())
        {
            return Ok(None);
        }
        let file = folder.open_file(path)?.into_std();
        let bytes = file.metadata().map_err(|error| format!("{path}: {error}"))?.len();
        Ok(Some((file, bytes)))
    });
    let opened = opened.await.map_err(|why| Refused::new(Unopened::NotFound, why))?;
    let (file, bytes) = opened.ok_or_else(|| Refused::new(Unopened::IsFolder, "it is a folder"))?;
    let (mut reader, mut writer) = tokio::io::split(lane);
    let sending = async {
        frames::write(
            &mut writer,
            &perennial_schema::stream::Answer::Open { bytes: Some(bytes) },
        )
        .await?;
        let mut file = BufReader::with_capacity(FILE_PIECE_BYTES, File::from_std(file).take(bytes));
        if copy_buf(&mut file, &mut writer).await? == bytes {
            writer.shutdown().await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        sent = sending => {
            if let Err(error) = sent {
                tracing::info!(%error, "a file is not sent to its end");
            }
        }
        () = let_go(&mut reader) => {}
    }
    Ok(())
}

/// Takes a file; it is in its place when all of it has come, and says so.
pub(super) async fn write(house: &Arc<House>, path: String, bytes: u64, lane: &mut Lane) -> Result<(), Refused> {
    if bytes > MAX_FILE_BYTES {
        let message = format!("a file of {bytes} bytes is too large: at most {MAX_FILE_BYTES} are taken");
        return Err(Refused::new(Unopened::Unusable, message));
    }
    let begun = beneath(house, path, Replacement::begin);
    let (replacement, file) = begun.await.map_err(|why| Refused::new(Unopened::Unusable, why))?;
    if open(lane, None).await.is_err() {
        return Ok(());
    }
    let mut file = File::from_std(file.into_std());
    let mut pieces = BufReader::with_capacity(FILE_PIECE_BYTES, (&mut *lane).take(bytes));
    let copied = copy_buf(&mut pieces, &mut file).await;
    let word = match copied {
        Ok(copied) if copied < bytes => return Ok(()),
        Ok(_) => match file.flush().await {
            Ok(()) => committed(replacement, file).await,
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    };
    let word = word.map_or_else(|message| Word::Failed { message }, |()| Word::Stored);
    if frames::write(lane, &word).await.is_ok() {
        let _ = lane.shutdown().await;
    }
    Ok(())
}

async fn committed(replacement: Replacement, file: File) -> Result<(), String> {
    let file = file.into_std().await;
    let done = spawn_blocking(move || replacement.commit(&file)).await;
    done.unwrap_or_else(|error| Err(error.to_string()))
}

/// Does something in the offered folder that has the path. Blocks a thread for that, no task.
pub(super) async fn beneath<T: Send + 'static>(
    house: &House,
    path: String,
    work: impl FnOnce(&Folder, &str) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    if path.len() > MAX_PATH_BYTES {
        return Err(format!("a path of {} bytes is too long", path.len()));
    }
    let workspaces = house.workspaces.clone();
    let done = spawn_blocking(move || work(&workspaces.offered_with(&path)?, &path)).await;
    done.unwrap_or_else(|error| Err(error.to_string()))
}
