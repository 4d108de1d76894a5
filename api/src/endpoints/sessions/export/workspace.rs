//! The workspace folder of a session, packed where it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_engine::ports::SessionRow;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::frame::{PackAnswer, PackAsk, Workspace};
use perennial_schema::{ExecutorId, PackId};

use crate::api::App;
use crate::error::ApiError;

/// A packed folder, until it is dropped.
pub(super) struct Packed {
    at: ExecutorId,
    pack: PackId,
    /// How long it is.
    pub(super) bytes: u64,
}

impl Packed {
    /// Packs; none when there is nothing to pack.
    pub(super) async fn make(app: &App, row: &SessionRow) -> Result<Option<Self>, ApiError> {
        let workspace = match &row.environment {
            EnvironmentConfig::SelfHosted => return Ok(None),
            // Somebody's machine: its folder stays there.
            EnvironmentConfig::Local {
                executor_id: Some(_), ..
            } => return Ok(None),
            EnvironmentConfig::Local { dir: Some(path), .. } => Workspace::Dir { path: path.clone() },
            EnvironmentConfig::Local { dir: None, .. } | EnvironmentConfig::Cloud { .. } => Workspace::Session,
        };
        let pack = PackId::from_uuid(app.ports.ids.uuid());
        let ask = PackAsk::Make {
            session: row.key.session,
            workspace,
        };
        let made = app.ports.router.pack(row.place, pack, ask).await;
        match made {
            Ok((_, PackAnswer::Made { bytes: 0 })) => Ok(None),
            Ok((at, PackAnswer::Made { bytes })) => Ok(Some(Self { at, pack, bytes })),
            Ok((_, PackAnswer::Failed { message })) => Err(ApiError::conflict(format!(
                "{message}; with workspace=false the session is exported without it"
            ))),
            // It never used a tool: there is nothing anywhere.
            Ok(_) | Err(_) if row.place.is_none() => Ok(None),
            Ok((_, other)) => Err(ApiError::unavailable(format!("unexpected answer {other:?}"))),
            Err(message) => Err(ApiError::unavailable(format!(
                "the workspace folder cannot be packed: {message}; with workspace=false the session is exported without it"
            ))),
        }
    }

    /// A piece from this byte on.
    pub(super) async fn read(&self, app: &App, offset: u64) -> Result<Vec<u8>, String> {
        let answer = app
            .ports
            .router
            .pack(Some(self.at), self.pack, PackAsk::Read { offset });
        match answer.await? {
            (_, PackAnswer::Piece { piece, .. }) if !piece.is_empty() => STANDARD
                .decode(piece)
                .map_err(|error| format!("the executor sent a damaged piece: {error}")),
            (_, PackAnswer::Failed { message }) => Err(message),
            (_, other) => Err(format!("unexpected answer {other:?}")),
        }
    }

    /// It is not needed any more.
    pub(super) async fn drop(self, app: &App) {
        if let Err(error) = app.ports.router.pack(Some(self.at), self.pack, PackAsk::Drop).await {
            // It goes after an hour.
            tracing::info!(%error, "a packed workspace was not dropped");
        }
    }
}
