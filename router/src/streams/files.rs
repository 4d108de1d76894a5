//! Files of a machine, fetched and stored piece by piece.

use bytes::Bytes;
use futures_util::{Stream as Pieces, StreamExt as _};
use perennial_schema::stream::{MAX_OPENING_BYTES, Purpose, Word};
use perennial_schema::{ExecutorId, WorkspaceId};
use perennial_tunnel::frames;
use tokio::io::{AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::{NoStream, Stream};
use crate::limits;
use crate::tunnel::Tunnels;

/// Why a file is not stored. What was there before is there still.
#[derive(Debug, thiserror::Error)]
pub enum NotStored<E> {
    /// It was not begun.
    #[error(transparent)]
    NoStream(#[from] NoStream),
    /// Its bytes did not come.
    #[error("its bytes did not come")]
    Source(E),
    /// The machine could not.
    #[error("{0}")]
    Failed(String),
}

impl Tunnels {
    /// A file: its length, and as many bytes. A stream that ends earlier has broken.
    ///
    /// # Errors
    /// See [`NoStream`].
    pub async fn read_file(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        path: String,
    ) -> Result<(u64, Stream), NoStream> {
        let (bytes, stream) = self.open(workspace, executor, Purpose::ReadFile { path }).await?;
        Ok((bytes.ok_or(NoStream::Lost)?, stream))
    }

    /// Stores a file of so many bytes. It is in its place when this returns, with all of them, or nothing has changed.
    ///
    /// # Errors
    /// See [`NotStored`]. When the line broke, it may have been stored.
    pub async fn write_file<E>(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        (path, bytes): (String, u64),
        pieces: impl Pieces<Item = Result<Bytes, E>> + Send,
    ) -> Result<(), NotStored<E>> {
        let (_, stream) = self
            .open(workspace, executor, Purpose::WriteFile { path, bytes })
            .await?;
        let (mut reader, mut writer) = split(stream);
        let sending = async {
            let mut pieces = std::pin::pin!(pieces);
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(NotStored::Source)?;
                // A line that broke is heard of below.
                if writer.write_all(&piece).await.is_err() {
                    return std::future::pending().await;
                }
            }
            Ok::<_, NotStored<E>>(())
        };
        let hearing = frames::read_within::<Word>(&mut reader, MAX_OPENING_BYTES);
        tokio::pin!(hearing);
        // It may have something to say before it has all of them: that its disk is full.
        let word = tokio::select! {
            word = &mut hearing => word,
            sent = sending => {
                sent?;
                timeout(limits::WORD_WAIT, hearing).await.unwrap_or(Ok(None))
            }
        };
        match word {
            Ok(Some(Word::Stored)) => Ok(()),
            Ok(Some(Word::Failed { message })) => Err(NotStored::Failed(message)),
            Ok(None) | Err(_) => Err(NoStream::Lost.into()),
        }
    }
}
