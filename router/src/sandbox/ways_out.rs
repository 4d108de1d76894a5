//! The second socket in a sandbox's door: a proxy that knows which hosts the environment of its session allows, and lets nothing else
//! out. The container has no network all the same; who does not ask the proxy reaches nobody.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perennial_egress::{Allowed, Guard, proxy};
use perennial_engine::ports::{Sandboxes, Sessions, StoreError};
use perennial_schema::ExecutorId;
use perennial_schema::environment::EnvironmentConfig;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Doors;
use crate::limits::{PROXY_CONNECTIONS, PROXY_PAUSE};
use crate::web::allowed;

/// The name of the proxy's socket in a door.
pub const PROXY: &str = "proxy";

/// Doors with a proxy in each.
pub struct WaysOut {
    doors: Arc<dyn Doors>,
    root: PathBuf,
    desk: Arc<Desk>,
    open: Mutex<BTreeMap<ExecutorId, CancellationToken>>,
    closing: CancellationToken,
}

/// Decides where a sandbox may go.
struct Desk {
    guard: Guard,
    sandboxes: Arc<dyn Sandboxes>,
    sessions: Arc<dyn Sessions>,
}

impl WaysOut {
    /// Beside these doors, whose folders are below `root`. `closing` closes them all.
    pub fn new(
        doors: Arc<dyn Doors>,
        root: PathBuf,
        guard: Guard,
        (sandboxes, sessions): (Arc<dyn Sandboxes>, Arc<dyn Sessions>),
        closing: CancellationToken,
    ) -> Self {
        let desk = Desk {
            guard,
            sandboxes,
            sessions,
        };
        Self {
            doors,
            root,
            desk: Arc::new(desk),
            open: Mutex::default(),
            closing,
        }
    }

    fn ways(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, executor: ExecutorId) -> io::Result<UnixListener> {
        let path = self.root.join(executor.to_string()).join(PROXY);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Inside, its user is nobody; on this host nobody else gets past the folder of the doors.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(listener)
    }
}

impl Doors for WaysOut {
    fn open(&self, executor: ExecutorId) -> io::Result<()> {
        self.doors.open(executor)?;
        let mut ways = self.ways();
        if ways.contains_key(&executor) {
            return Ok(());
        }
        let listener = self.listen(executor)?;
        let closing = self.closing.child_token();
        ways.insert(executor, closing.clone());
        tokio::spawn(take(listener, executor, Arc::clone(&self.desk), closing));
        Ok(())
    }

    fn close(&self, executor: ExecutorId) {
        if let Some(closing) = self.ways().remove(&executor) {
            closing.cancel();
        }
        self.doors.close(executor);
    }
}

/// Takes connections until it is closed; then they end too.
async fn take(listener: UnixListener, executor: ExecutorId, desk: Arc<Desk>, closing: CancellationToken) {
    let room = Arc::new(Semaphore::new(PROXY_CONNECTIONS));
    loop {
        let taken = tokio::select! {
            () = closing.cancelled() => return,
            taken = async {
                let place = Arc::clone(&room).acquire_owned().await;
                (place, listener.accept().await)
            } => taken,
        };
        let (Ok(place), Ok((line, _))) = taken else {
            // Out of descriptors, perhaps: not again at once.
            tokio::time::sleep(PROXY_PAUSE).await;
            continue;
        };
        let (desk, closing) = (Arc::clone(&desk), closing.clone());
        tokio::spawn(async move {
            let served = closing.run_until_cancelled(desk.serve(executor, line)).await;
            if let Some(Err(error)) = served {
                tracing::debug!(executor.id = %executor, %error, "a way out of a sandbox broke");
            }
            drop(place);
        });
    }
}

impl Desk {
    async fn serve(&self, executor: ExecutorId, line: UnixStream) -> io::Result<()> {
        // Asked for anew each time: it is no part of the container that it could change.
        let allowed = self.allowed(executor).await.map_err(io::Error::other)?;
        proxy::serve(line, &self.guard, &allowed).await
    }

    async fn allowed(&self, executor: ExecutorId) -> Result<Allowed, StoreError> {
        let nothing = Allowed::Hosts(Vec::new());
        let Some(sandbox) = self.sandboxes.sandbox(executor).await? else {
            return Ok(nothing);
        };
        let session = self.sessions.get(sandbox.key).await?;
        Ok(match session.map(|row| row.environment) {
            Some(EnvironmentConfig::Cloud { networking, .. }) => allowed(&networking),
            _ => nothing,
        })
    }
}
