//! The editor's folder as a hand of the workspace: this process is an executor of the server and dials it like `perennial connect`, and
//! what is read and written goes through the editor, which has files open, as do commands where it has terminals.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::Client as Editor;
use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{FileSystemCapabilities, ReadTextFileRequest, WriteTextFileRequest};
use perennial_executor::panes::Panes;
use perennial_executor::tunnel::{Ended, Home, Told, keep};
use perennial_executor::{Buffers, Config, Executor, Later, probe};
use perennial_schema::SessionId;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::terminals::Terminals;
use crate::client::{self, Client};
use crate::config::environment;
use crate::error::Error;
use crate::house::{Connection, Registry, Terms};
use crate::paths;

/// For the server to take the first line.
const CONNECTING: Duration = Duration::from_secs(15);
/// For what runs to stop when the editor is closed.
const CLOSING: Duration = Duration::from_secs(5);
/// Between two looks at where the server is, which is a file that it writes.
const LOOKING: Duration = Duration::from_millis(200);
/// For an editor to read or write one file. Then the disk is asked.
const FILE: Duration = Duration::from_secs(10);

/// An executor on one folder. Dropped, its calls are lost like those of a machine that is switched off.
pub(super) struct Hands {
    /// Its id at the server.
    pub(super) executor_id: String,
    executor: Arc<Executor>,
    serving: AbortOnDropHandle<()>,
}

#[derive(Deserialize)]
struct Code {
    secret: Option<String>,
}

#[derive(Deserialize)]
struct Registered {
    id: String,
    workspace_id: String,
    name: String,
    token: String,
}

impl Hands {
    /// Opens them and waits until the server has them. `known` is the id they must have, if any.
    pub(super) async fn open(client: &Client, offer: Offer, folder: &Path, known: Option<&str>) -> Result<Self, Error> {
        let failed = |error: anyhow::Error| Error::Failed(format!("the editor's folder is not offered: {error:#}"));
        let folder = folder
            .canonicalize()
            .map_err(Error::io(format!("{}: cannot be used", folder.display())))?;
        let registry = registry().map_err(failed)?;
        let place = client.place();
        let of_folder = registry.of_dir(&folder).map_err(failed)?;
        let mut fitting = of_folder
            .into_iter()
            .filter(|one| one.server == place && known.is_none_or(|id| one.executor_id == id));
        let opened = match fitting.next() {
            // Another editor may have it at this moment: its journal is locked.
            Some(connection) => match executor(&connection, &registry, &offer).await {
                Err(_) if known.is_none() => None,
                opened => Some((opened.map_err(failed)?, connection)),
            },
            None if known.is_some() => {
                return Err(Error::Usage(
                    "the session works on a machine that is another one".into(),
                ));
            }
            None => None,
        };
        let (executor, connection) = match opened {
            Some(opened) => opened,
            None => {
                let connection = register(client, &folder, place).await?;
                registry.remember(&connection).map_err(failed)?;
                (
                    executor(&connection, &registry, &offer).await.map_err(failed)?,
                    connection,
                )
            }
        };
        let connected = Arc::new(Notify::new());
        let executor_id = connection.executor_id.clone();
        let executor = Arc::new(executor);
        let serving = serve(
            client.clone(),
            Arc::clone(&executor),
            connection,
            registry,
            Arc::clone(&connected),
        );
        let serving = AbortOnDropHandle::new(tokio::spawn(serving));
        let late = |_| Error::Failed("the server does not take the editor's folder: no line to it stands".into());
        timeout(CONNECTING, connected.notified()).await.map_err(late)?;
        Ok(Self {
            executor_id,
            executor,
            serving,
        })
    }

    /// Stops what runs. Known ends are better than doubts: the server hears of them while the line is up.
    pub(super) async fn close(self) {
        timeout(CLOSING, self.executor.close()).await.ok();
    }

    /// Whether the server still wants them.
    pub(super) fn serve(&self) -> bool {
        !self.serving.is_finished()
    }
}

/// Dials until the server does not want it any more; a server that restarts may have another address.
async fn serve(
    client: Client,
    executor: Arc<Executor>,
    connection: Connection,
    registry: Registry,
    connected: Arc<Notify>,
) {
    loop {
        let (moved, stop) = (Notify::new(), CancellationToken::new());
        let base = client.server().map(|server| server.base);
        let Ok(home) = base
            .as_deref()
            .map_err(|_| ())
            .and_then(|base| Home::new(base, &connection.token).map_err(|_| ()))
        else {
            tokio::time::sleep(LOOKING).await;
            continue;
        };
        let told = |told: Told| match told {
            Told::Connected => connected.notify_one(),
            Told::Lost(why) => {
                tracing::info!(why, "the line is down; dialling again");
                moved.notify_one();
            }
            Told::Unreached(why) => {
                tracing::info!(why, "the server is not reached; trying again");
                moved.notify_one();
            }
        };
        let elsewhere = async {
            moved.notified().await;
            while client
                .server()
                .is_ok_and(|server| Some(server.base) == base.as_ref().ok().cloned())
            {
                tokio::time::sleep(LOOKING).await;
            }
        };
        let ended = tokio::select! {
            ended = keep(&executor, &home, &stop, told) => ended,
            () = elsewhere => continue,
        };
        if matches!(ended, Ended::Unknown | Ended::Removed) {
            registry.forget(&connection.executor_id).ok();
        }
        tracing::warn!(
            executor.id = connection.executor_id,
            ?ended,
            "the editor's folder is not offered any more"
        );
        return;
    }
}

async fn executor(connection: &Connection, registry: &Registry, offer: &Offer) -> anyhow::Result<Executor> {
    let home = registry.home_of(&connection.executor_id);
    anyhow::ensure!(
        !home.starts_with(&connection.dir),
        "{} holds this machine's journals",
        connection.dir.display()
    );
    let config = Config {
        name: connection.name.clone(),
        roots: vec![connection.dir.clone()],
        executor_id: Some(connection.executor_id.parse()?),
        buffers: offer
            .files
            .able()
            .then(|| Arc::new(offer.files.clone()) as Arc<dyn Buffers>),
        panes: offer
            .terminals
            .able()
            .then(|| Arc::new(offer.terminals.clone()) as Arc<dyn Panes>),
        ..Config::new(home)
    };
    let found = probe::probe(&config.path, &connection.dir).await;
    let executor = Executor::open(config).await?;
    executor.describe(found);
    Ok(executor)
}

/// Beside the registry of `connect`: the same folder may be offered by both.
fn registry() -> anyhow::Result<Registry> {
    let state = paths::default_state_dir(&environment());
    let state = state.ok_or_else(|| anyhow::anyhow!("no place for a registry: set HOME or XDG_STATE_HOME"))?;
    Registry::open(&state.join("editors"))
}

async fn register(client: &Client, folder: &Path, place: String) -> Result<Connection, Error> {
    let code: Code = client.post("/v1/executors/codes", &json!({})).await?.parse()?;
    let code = code
        .secret
        .ok_or_else(|| Error::Failed("the code was lost on its way".into()))?;
    let host = probe::hostname().unwrap_or_else(|| "unnamed".into());
    let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let body = json!({"code": code, "name": format!("{host}-editor"), "secret": secret});
    let registered: Registered = client::register(&client.server()?.base, &body).await?.parse()?;
    Ok(Connection {
        dir: folder.to_owned(),
        more: Vec::new(),
        workspace_id: registered.workspace_id,
        server: place,
        executor_id: registered.id,
        name: registered.name,
        token: registered.token,
        terms: Terms::default(),
    })
}

/// What the editor does for who works in its folder.
pub(super) struct Offer {
    pub(super) files: Files,
    pub(super) terminals: Terminals,
}

impl Offer {
    /// Whether it does anything.
    pub(super) const fn able(&self) -> bool {
        self.files.able() || self.terminals.able()
    }
}

/// The files that the editor has open. It knows the sessions it opened itself; whatever it refuses is the disk's.
#[derive(Clone, Debug)]
pub(super) struct Files {
    editor: ConnectionTo<Editor>,
    reads: bool,
    writes: bool,
}

impl Files {
    pub(super) fn new(editor: ConnectionTo<Editor>, able: &FileSystemCapabilities) -> Self {
        Self {
            editor,
            reads: able.read_text_file,
            writes: able.write_text_file,
        }
    }

    /// Whether it shows files at all.
    pub(super) const fn able(&self) -> bool {
        self.reads && self.writes
    }
}

impl Buffers for Files {
    fn read<'a>(&'a self, session: SessionId, path: &'a Path) -> Later<'a, Option<String>> {
        let request = ReadTextFileRequest::new(session.to_string(), PathBuf::from(path));
        Box::pin(async move {
            let answer = timeout(FILE, self.editor.send_request(request).block_task()).await;
            Some(answer.ok()?.ok()?.content)
        })
    }

    fn write<'a>(&'a self, session: SessionId, path: &'a Path, text: &'a str) -> Later<'a, bool> {
        let request = WriteTextFileRequest::new(session.to_string(), PathBuf::from(path), text);
        Box::pin(async move {
            let answer = timeout(FILE, self.editor.send_request(request).block_task()).await;
            matches!(answer, Ok(Ok(_)))
        })
    }
}
