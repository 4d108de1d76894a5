//! The ways out of sandboxes: a unix socket for each, in a folder of its own that is mounted into it. Behind it is the executor's
//! tunnel and nothing else of the API. The folder outlives this process, so that the next one can listen at the same place.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use perennial_router::sandbox::SOCKET;
use perennial_schema::ExecutorId;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::limits::{Limits, SANDBOX_CONNECTIONS};
use crate::server::serve;

/// Sockets below a folder.
pub struct Doors {
    root: PathBuf,
    router: axum::Router,
    limits: Limits,
    open: Mutex<BTreeMap<ExecutorId, CancellationToken>>,
    closing: CancellationToken,
}

impl Doors {
    /// All closed. `root` is the owner's alone; `closing` closes them all.
    #[must_use]
    pub fn new(api: &Api, root: PathBuf, closing: CancellationToken) -> Self {
        Self {
            root,
            router: api.door(),
            limits: Limits {
                connections: SANDBOX_CONNECTIONS,
                ..Limits::default()
            },
            open: Mutex::default(),
            closing,
        }
    }

    fn dir(&self, executor: ExecutorId) -> PathBuf {
        self.root.join(executor.to_string())
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Inside a sandbox its user is nobody, and the folder is all it sees; on this host nobody else gets past `root`.
    fn listen(&self, executor: ExecutorId) -> io::Result<UnixListener> {
        let dir = self.dir(executor);
        DirBuilder::new().recursive(true).create(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        let path = dir.join(SOCKET);
        absent_is_fine(fs::remove_file(&path))?;
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(listener)
    }
}

impl perennial_router::sandbox::Doors for Doors {
    fn open(&self, executor: ExecutorId) -> io::Result<()> {
        let mut doors = self.doors();
        if doors.contains_key(&executor) {
            return Ok(());
        }
        let closing = self.closing.child_token();
        let serving = serve(
            self.listen(executor)?,
            self.router.clone(),
            self.limits,
            closing.clone(),
        );
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::warn!(executor.id = %executor, %error, "the door of a sandbox is closed");
            }
        });
        doors.insert(executor, closing);
        Ok(())
    }

    fn close(&self, executor: ExecutorId) {
        if let Some(closing) = self.doors().remove(&executor) {
            closing.cancel();
        }
        if let Err(error) = absent_is_fine(fs::remove_dir_all(self.dir(executor))) {
            tracing::warn!(executor.id = %executor, %error, "the door of a sandbox is left behind");
        }
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
