//! Text files as an editor has them open: what was typed and not saved is read, and what is written appears there. Whether a path may be
//! used is decided here first, as for every file; then the editor opens it by its name, as it does for its owner.

use std::fmt::Debug;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use perennial_schema::SessionId;
use perennial_schema::tool::Outcome;

use crate::tools::{self, Plan};
use crate::workspace::Folder;

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An editor that has files open.
pub trait Buffers: Debug + Send + Sync {
    /// The text of a file as it is there. None when nobody has the session's files open: it is read from disk.
    fn read<'a>(&'a self, session: SessionId, path: &'a Path) -> Later<'a, Option<String>>;

    /// Stores a text; whether it did. If not, it is written to disk.
    fn write<'a>(&'a self, session: SessionId, path: &'a Path, text: &'a str) -> Later<'a, bool>;
}

/// Runs a file tool in the editor. None when it is the disk's to answer: other tools, what is no text, what is not there.
pub(crate) async fn run(buffers: &dyn Buffers, session: SessionId, plan: &Plan, folder: &Folder) -> Option<Outcome> {
    let done = match plan {
        Plan::Read(input) => {
            let path = text_file(folder, &input.file_path)?;
            let text = buffers.read(session, &path).await?;
            return Some(tools::read_text(input, &text));
        }
        Plan::Write(input) => {
            let path = place(folder, &input.file_path)?;
            let stored = buffers.write(session, &path, &input.content).await;
            stored.then(|| Ok(tools::written(input)))?
        }
        Plan::Edit(input) => {
            let path = text_file(folder, &input.file_path)?;
            let text = buffers.read(session, &path).await?;
            match tools::edit_text(input, &text) {
                Ok((new, said)) => buffers.write(session, &path, &new).await.then_some(Ok(said))?,
                Err(error) => Err(error),
            }
        }
        _ => return None,
    };
    Some(match done {
        Ok(said) => Outcome::text(said, false),
        Err(error) => Outcome::text(error, true),
    })
}

/// Where a text file of the folder is, without a link on the way.
fn text_file(folder: &Folder, path: &str) -> Option<PathBuf> {
    let mut start = Vec::new();
    let file = folder.open_file(path).ok()?;
    file.take(tools::START_BYTES).read_to_end(&mut start).ok()?;
    if !tools::is_text(&start) {
        return None;
    }
    let relative = folder.relative(path).ok()?;
    Some(folder.path.join(folder.dir.canonicalize(relative).ok()?))
}

/// Where a file of the folder is or will be; folders on the way are made.
fn place(folder: &Folder, path: &str) -> Option<PathBuf> {
    let relative = folder.relative(path).ok()?;
    if folder.dir.symlink_metadata(&relative).is_ok() {
        return text_file(folder, path);
    }
    let name = relative.file_name()?;
    let Some(parent) = relative.parent().filter(|parent| *parent != Path::new("")) else {
        return Some(folder.path.join(name));
    };
    folder.dir.create_dir_all(parent).ok()?;
    Some(folder.path.join(folder.dir.canonicalize(parent).ok()?).join(name))
}
