//! The lock file: one server per data directory. Holding it proves that every earlier owner process of this directory is
//! dead. The standard library opens files close-on-exec, so no child keeps the lock; one that is just being started has it until it
//! becomes another program, and is waited for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::OpenError;

/// How long a lock that is held is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at it.
const LOOKING: Duration = Duration::from_millis(5);

/// The held lock; dropping it lets the next server in.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the data directory if need be, and takes its lock.
    pub(super) async fn take(data_dir: &Path) -> Result<Self, OpenError> {
        let directory = |source| OpenError::Directory {
            path: data_dir.to_owned(),
            source,
        };
        create_private(data_dir).map_err(directory)?;
        let path = data_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(directory)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() > PATIENCE => return Err(held(path, &mut file)),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOKING).await,
                Err(TryLockError::Error(source)) => return Err(directory(source)),
            }
        }
        // The number is for people; the lock itself is what counts, so a full disk must not keep a server from starting.
        if let Err(error) = write_pid(&mut file) {
            tracing::warn!(%error, path = %path.display(), "the lock file does not name this process");
        }
        Ok(Self { _file: file })
    }
}

fn create_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn held(path: PathBuf, file: &mut File) -> OpenError {
    let mut pid = String::new();
    // Unreadable means unknown.
    let _ = file.take(32).read_to_string(&mut pid);
    let pid = pid.trim();
    OpenError::Held {
        path,
        by: if pid.is_empty() {
            "unknown".into()
        } else {
            pid.to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_that_is_let_go_of_soon_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).await.unwrap();
        let letting_go = async {
            tokio::time::sleep(LOOKING * 4).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(Lock::take(dir.path()), letting_go);
        let _second = second.unwrap();
        let refused = Lock::take(dir.path()).await.unwrap_err();
        assert!(
            refused.to_string().contains(&std::process::id().to_string()),
            "{refused}"
        );
    }
}
