//! Whose sandboxes those of a data directory are: an id that is made once, and a lock, so that one process looks after them.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use perennial_schema::ExecutorId;

use super::files;

/// How long a lock that is held is waited for: a child of a server that was killed has it too until it becomes another program.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at it.
const LOOKING: Duration = Duration::from_millis(5);

/// The id, as long as this process has it to itself.
pub struct Instance {
    pub id: ExecutorId,
    _alone: File,
}

impl Instance {
    /// The instance of this data directory. One that has none yet is `otherwise`, or a new one.
    pub fn open(data_dir: &Path, otherwise: Option<ExecutorId>) -> Result<Self> {
        let path = data_dir.join("instance.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
        let begun = Instant::now();
        let locked = loop {
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) if begun.elapsed() <= PATIENCE => std::thread::sleep(LOOKING),
                locked => break locked,
            }
        };
        locked.with_context(|| {
            format!(
                "another server makes sandboxes in {}: each needs a data directory of its own",
                data_dir.display()
            )
        })?;
        let id = match known(data_dir)? {
            Some(id) => id,
            None => {
                let id = otherwise.unwrap_or_else(|| ExecutorId::from_uuid(uuid::Uuid::now_v7()));
                files::replace(&data_dir.join("instance"), &id.to_string())?;
                id
            }
        };
        Ok(Self { id, _alone: lock })
    }
}

/// The one this data directory has been, if any.
pub fn known(data_dir: &Path) -> Result<Option<ExecutorId>> {
    let path = data_dir.join("instance");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim().parse();
            id.map(Some).with_context(|| format!("{} is damaged", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_one_instance_and_one_process_has_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(known(dir.path()).unwrap(), None);
        let given = ExecutorId::from_uuid(uuid::Uuid::from_u128(7));
        let first = Instance::open(dir.path(), Some(given)).unwrap();
        assert_eq!(first.id, given);
        let second = Instance::open(dir.path(), None).map(|instance| instance.id);
        assert!(
            second
                .unwrap_err()
                .to_string()
                .contains("another server makes sandboxes")
        );
        drop(first);
        assert_eq!(Instance::open(dir.path(), None).unwrap().id, given);
        assert_eq!(known(dir.path()).unwrap(), Some(given));
    }
}
