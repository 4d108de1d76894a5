//! Blobs as files: `<dir>/<workspace>/<aa>/<sha256>`. A file appears whole or not at all (written beside, synced, renamed)
//! and is durable before `put` returns, because the event that names it is appended next.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{Blobs, StoreError};
use perennial_schema::WorkspaceId;

/// The file store.
#[derive(Clone, Debug)]
pub struct Files {
    dir: Arc<Path>,
}

impl Files {
    /// Opens a directory, making it if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.into() })
    }

    fn path(&self, workspace: WorkspaceId, name: &str) -> PathBuf {
        let shelf = name.get(..2).unwrap_or_default();
        self.dir.join(workspace.to_string()).join(shelf).join(name)
    }
}

#[async_trait]
impl Blobs for Files {
    async fn put(&self, workspace: WorkspaceId, bytes: Bytes) -> Result<String, StoreError> {
        let files = self.clone();
        blocking(move || {
            let name = super::name(&bytes);
            let path = files.path(workspace, &name);
            store(&files.dir, &path, &bytes).map_err(|error| unavailable(&error))?;
            Ok(name)
        })
        .await
    }

    async fn get(&self, workspace: WorkspaceId, sha256: &str) -> Result<Option<Bytes>, StoreError> {
        if !super::is_name(sha256) {
            return Ok(None);
        }
        let path = self.path(workspace, sha256);
        let name = sha256.to_owned();
        blocking(move || match fs::read(&path) {
            Ok(bytes) if super::name(&bytes) == name => Ok(Some(Bytes::from(bytes))),
            Ok(_) => Err(StoreError::Inconsistent {
                table: "blobs",
                key: name,
                message: "the file does not have the bytes its name promises: restore it from a backup".into(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(&error)),
        })
        .await
    }
}

fn store(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(root);
    if path.exists() {
        // It may be another task's, renamed but not synced yet.
        return sync_up_to(root, dir);
    }
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_up_to(root, dir)
}

/// Makes the names durable: of the file, and of the directories that may be new.
fn sync_up_to(root: &Path, dir: &Path) -> io::Result<()> {
    for dir in dir.ancestors() {
        File::open(dir)?.sync_all()?;
        if dir == root {
            break;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(unavailable(&io::Error::other(error))))
}

fn unavailable(error: &io::Error) -> StoreError {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": free some space on the data directory's disk",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ": make the data directory writable",
        _ => "",
    };
    StoreError::Unavailable {
        store: "blob",
        message: format!("{error}{remedy}"),
    }
}
