//! Folders, looked at: beneath those that are offered, by descriptors (S17). Links are named and not followed.

use std::sync::Arc;

use perennial_schema::Timestamp;
use perennial_schema::folder::{Entry, EntryKind, Listing, MAX_FOLDER_ENTRIES};
use perennial_schema::stream::Unopened;
use perennial_tunnel::Lane;
use tokio::io::AsyncWriteExt as _;

use super::files::beneath;
use super::{Refused, open};
use crate::serve::House;
use crate::workspace::{Folder, explain};

/// Says what is in a folder.
pub(super) async fn list(house: &Arc<House>, path: String, lane: &mut Lane) -> Result<(), Refused> {
    let listing = beneath(house, path, look).await;
    let listing = listing.map_err(|why| Refused::new(Unopened::NotFound, why))?;
    answer(lane, &listing).await
}

/// Says it as JSON, with its length before it.
pub(super) async fn answer(lane: &mut Lane, found: &impl serde::Serialize) -> Result<(), Refused> {
    let text = serde_json::to_vec(found).map_err(|error| Refused::new(Unopened::Failed, error.to_string()))?;
    // Whoever asked may be gone.
    if open(lane, Some(text.len() as u64)).await.is_ok() && lane.write_all(&text).await.is_ok() {
        let _ = lane.shutdown().await;
    }
    Ok(())
}

fn look(folder: &Folder, path: &str) -> Result<Listing, String> {
    let relative = folder.relative(path)?;
    let entries = folder.dir.open_dir(&relative).and_then(|dir| dir.entries());
    let mut listing = Listing::default();
    for entry in entries.map_err(|error| explain(path, &error))? {
        if listing.entries.len() == MAX_FOLDER_ENTRIES {
            listing.truncated = true;
            break;
        }
        // What was removed meanwhile is not in it.
        let Ok((entry, meta)) = entry.and_then(|entry| entry.metadata().map(|meta| (entry, meta))) else {
            continue;
        };
        listing
            .entries
            .push(told(entry.file_name().to_string_lossy().into_owned(), &meta));
    }
    listing.entries.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(listing)
}

fn told(name: String, meta: &cap_std::fs::Metadata) -> Entry {
    let kind = if meta.is_dir() {
        EntryKind::Folder
    } else if meta.is_file() {
        EntryKind::File
    } else if meta.is_symlink() {
        EntryKind::Link
    } else {
        EntryKind::Other
    };
    let modified = meta.modified().ok().map(cap_std::time::SystemTime::into_std);
    let micros = modified.and_then(|at| i64::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_micros()).ok());
    Entry {
        name,
        kind,
        bytes: meta.is_file().then(|| meta.len()),
        modified_at: micros.map(Timestamp::from_micros),
    }
}
