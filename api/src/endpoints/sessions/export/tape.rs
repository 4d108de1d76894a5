//! A gzipped tar file that is written as it is read.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use perennial_schema::Timestamp;
use tokio::sync::mpsc;

use crate::limits::TAPE_PIECE_BYTES;

/// Why a file is not complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Nobody reads it any more.
    #[error("the reader is gone")]
    Unread,
    /// Something could not be read here.
    #[error("{0}")]
    Said(String),
    /// The same.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The file under way.
pub(super) struct Tape {
    gzip: GzEncoder<Vec<u8>>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    /// Of the entry under way.
    left: u64,
    padding: usize,
}

const BLOCK: u64 = 512;

impl Tape {
    pub(super) fn new(pieces: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self {
            // A workspace is mostly text, and the reader waits.
            gzip: GzEncoder::new(Vec::new(), Compression::fast()),
            pieces,
            left: 0,
            padding: 0,
        }
    }

    /// A whole entry.
    pub(super) async fn file(&mut self, path: &str, at: Timestamp, content: &[u8]) -> Result<(), Broken> {
        self.begin(path, at, content.len() as u64).await?;
        self.write(content).await?;
        self.close().await
    }

    /// An entry of so many bytes.
    pub(super) async fn begin(&mut self, path: &str, at: Timestamp, bytes: u64) -> Result<(), Broken> {
        let mut header = tar::Header::new_gnu();
        header.set_path(path)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(at.micros() / 1_000_000).unwrap_or(0));
        header.set_cksum();
        self.gzip.write_all(header.as_bytes())?;
        self.left = bytes;
        self.padding = usize::try_from(bytes.next_multiple_of(BLOCK) - bytes).unwrap_or(0);
        Ok(())
    }

    /// Some of its bytes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Broken::Said("an entry is longer than it was".into()))?;
        for piece in bytes.chunks(TAPE_PIECE_BYTES) {
            self.gzip.write_all(piece)?;
            if self.gzip.get_ref().len() >= TAPE_PIECE_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// The end of the entry.
    pub(super) async fn close(&mut self) -> Result<(), Broken> {
        if self.left > 0 {
            return Err(Broken::Said("an entry is shorter than it was".into()));
        }
        self.gzip.write_all(&[0; BLOCK as usize][..self.padding])?;
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Broken> {
        let piece = std::mem::take(self.gzip.get_mut());
        self.pieces.send(Ok(piece.into())).await.map_err(|_| Broken::Unread)
    }

    /// The end of the file, or its breaking off: the reader must not take a part for the whole.
    pub(super) async fn end(mut self, written: Result<(), Broken>) {
        let ended = async {
            written?;
            self.gzip.write_all(&[0; 2 * BLOCK as usize])?;
            self.gzip.try_finish()?;
            self.send().await
        };
        match ended.await {
            Ok(()) => {}
            Err(Broken::Unread) => tracing::debug!("an export was given up by its reader"),
            Err(error) => {
                tracing::warn!(%error, "an export broke off");
                let _ = self.pieces.send(Err(io::Error::other(error.to_string()))).await;
            }
        }
    }
}
