//! Repositories of git beneath the folders that are offered: found and read by descriptors, without running git in any.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use perennial_schema::search::{MAX_REPOSITORIES, Repositories, Repository};
use perennial_schema::stream::Unopened;
use perennial_tunnel::Lane;

use super::Refused;
use super::files::beneath;
use super::folder::answer;
use crate::call::Stop;
use crate::limits::{LOOK_TIME, REFS_BYTES, REPOSITORY_DEPTH, WALK_ENTRIES};
use crate::serve::House;
use crate::workspace::{Folder, explain, open_regular};

/// Says which there are.
pub(super) async fn list(house: &Arc<House>, path: String, lane: &mut Lane) -> Result<(), Refused> {
    let found = beneath(house, path, look).await;
    answer(lane, &found.map_err(|why| Refused::new(Unopened::NotFound, why))?).await
}

fn look(folder: &Folder, path: &str) -> Result<Repositories, String> {
    let relative = folder.relative(path)?;
    let dir = folder.dir.open_dir(relative).map_err(|error| explain(path, &error))?;
    let mut looking = Looking {
        found: Repositories::default(),
        entries: 0,
        stop: Stop::within(LOOK_TIME),
    };
    looking.folder(&dir, Path::new(""), 0);
    Ok(looking.found)
}

struct Looking {
    found: Repositories,
    entries: usize,
    stop: Stop,
}

impl Looking {
    fn folder(&mut self, dir: &Dir, path: &Path, depth: usize) {
        if dir
            .symlink_metadata(".git")
            .is_ok_and(|meta| meta.is_dir() || meta.is_file())
        {
            self.found.repositories.push(read(dir, path));
        }
        let Ok(entries) = dir.entries() else { return };
        let mut names: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .take(WALK_ENTRIES)
            .collect();
        names.sort_unstable();
        for name in names {
            self.entries += 1;
            let over =
                self.entries > WALK_ENTRIES || self.found.repositories.len() >= MAX_REPOSITORIES || self.stop.now();
            self.found.truncated |= over;
            if self.found.truncated {
                return;
            }
            let is_folder = dir.symlink_metadata(&name).is_ok_and(|meta| meta.is_dir());
            if !is_folder || name == ".git" || depth >= REPOSITORY_DEPTH {
                continue;
            }
            if let Ok(inner) = dir.open_dir(&name) {
                self.folder(&inner, &path.join(&name), depth + 1);
            }
        }
    }
}

fn read(dir: &Dir, path: &Path) -> Repository {
    let head = text(dir, Path::new(".git/HEAD")).unwrap_or_default();
    let head = head.trim();
    let reference = head.strip_prefix("ref: ").map(str::trim);
    let path = match path.to_string_lossy() {
        path if path.is_empty() => ".".to_owned(),
        path => path.into_owned(),
    };
    Repository {
        path,
        branch: reference.and_then(|reference| Some(reference.strip_prefix("refs/heads/")?.to_owned())),
        commit: match reference {
            Some(reference) => resolved(dir, reference),
            None => hash(head),
        },
    }
}

/// The commit a reference names, in a file of its own or in the one of all.
fn resolved(dir: &Dir, reference: &str) -> Option<String> {
    if !reference.starts_with("refs/") {
        return None;
    }
    let loose = text(dir, &Path::new(".git").join(reference)).and_then(|text| hash(text.trim()));
    loose.or_else(|| {
        let packed = text(dir, Path::new(".git/packed-refs"))?;
        let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
        lines
            .find(|(_, name)| *name == reference)
            .and_then(|(commit, _)| hash(commit))
    })
}

/// What is no hash is somebody else's file, and not told.
fn hash(text: &str) -> Option<String> {
    let fits = matches!(text.len(), 40 | 64) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    fits.then(|| text.to_owned())
}

fn text(dir: &Dir, path: &Path) -> Option<String> {
    let mut text = String::new();
    open_regular(dir, path)
        .ok()?
        .take(REFS_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}
