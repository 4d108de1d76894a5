//! A workspace folder on its way to an executor.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::frame::{PackAnswer, PackAsk};
use perennial_schema::{ExecutorId, PackId, SessionId};

use crate::api::App;
use crate::error::ApiError;

/// The folder under way.
pub(super) struct Unpacking {
    pack: PackId,
    /// A folder of the user's own, or hands that are not ours: nothing is written there.
    wanted: bool,
    came: u64,
    /// Who has it.
    pub(super) at: Option<ExecutorId>,
}

impl Unpacking {
    pub(super) fn new(pack: PackId, environment: &EnvironmentConfig) -> Self {
        let wanted = matches!(
            environment,
            EnvironmentConfig::Cloud { .. }
                | EnvironmentConfig::Local {
                    executor_id: None,
                    dir: None,
                    ..
                }
        );
        Self {
            pack,
            wanted,
            came: 0,
            at: None,
        }
    }

    /// The next piece.
    pub(super) async fn write(&mut self, app: &App, piece: &[u8]) -> Result<(), ApiError> {
        let offset = self.came;
        self.came += piece.len() as u64;
        if !self.wanted {
            return Ok(());
        }
        let ask = PackAsk::Write {
            offset,
            piece: STANDARD.encode(piece),
        };
        match app.ports.router.pack(self.at, self.pack, ask).await {
            Ok((at, PackAnswer::Written { .. })) => {
                self.at = Some(at);
                Ok(())
            }
            Ok((_, PackAnswer::Failed { message })) => Err(ApiError::bad_request(message)),
            Ok((_, other)) => Err(ApiError::unavailable(format!("unexpected answer {other:?}"))),
            Err(message) => Err(unreached(&message)),
        }
    }

    /// All pieces came: makes the folder, and says what became of it.
    pub(super) async fn finish(&mut self, app: &App, session: SessionId) -> Result<&'static str, ApiError> {
        let Some(at) = self.at else {
            return Ok(if self.came == 0 { "empty" } else { "left_out" });
        };
        let unpacked = app
            .ports
            .router
            .pack(Some(at), self.pack, PackAsk::Unpack { session })
            .await;
        self.give_up(app).await;
        match unpacked {
            Ok((_, PackAnswer::Unpacked)) => Ok("unpacked"),
            Ok((_, PackAnswer::Failed { message })) => Err(ApiError::bad_request(message)),
            Ok((_, other)) => Err(ApiError::unavailable(format!("unexpected answer {other:?}"))),
            Err(message) => Err(unreached(&message)),
        }
    }

    /// What came so far is not needed any more.
    pub(super) async fn give_up(&mut self, app: &App) {
        let Some(at) = self.at else { return };
        let dropped = app.ports.router.pack(Some(at), self.pack, PackAsk::Drop).await;
        if let Err(error) = dropped {
            // It goes after an hour.
            tracing::info!(%error, "a packed workspace was not dropped");
        }
    }
}

fn unreached(message: &str) -> ApiError {
    ApiError::unavailable(format!("the workspace folder cannot be unpacked: {message}"))
}
