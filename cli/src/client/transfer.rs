//! Whole sessions and files of machines, to and from the server.

use futures_util::StreamExt as _;
use reqwest::Method;
use tokio::io::AsyncReadExt as _;

use super::{Body, Client, Query, authorization, refusal};
use crate::error::Error;

/// Bytes read from a file at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What is told of a transfer as it goes: bytes so far, and how many there will be if that is known.
pub type Told<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

impl Client {
    /// Opens a file of the server; its body is still to be read.
    pub async fn download(&self, path: &str, query: Query<'_>) -> Result<reqwest::Response, Error> {
        self.fetch(path, query, None).await
    }

    async fn fetch(&self, path: &str, query: Query<'_>, kind: Option<&str>) -> Result<reqwest::Response, Error> {
        let server = self.server()?;
        let mut request = self
            .http
            .get(server.url(path))
            .headers(authorization(&server)?)
            .query(query);
        if let Some(kind) = kind {
            request = request.header("accept", kind);
        }
        let response = request.send().await.map_err(|error| server.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let text = response.text().await.map_err(|error| server.unreachable(error))?;
        Err(refusal(status, &headers, &text))
    }

    /// A whole answer of another kind than JSON.
    pub async fn bytes(&self, path: &str, query: Query<'_>, kind: &str) -> Result<Vec<u8>, Error> {
        let response = self.fetch(path, query, Some(kind)).await?;
        let mut bytes = Vec::new();
        let keep = async |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        self.drain(response, &|_, _| {}, keep).await?;
        Ok(bytes)
    }

    /// Reads a file of the server to its end.
    pub async fn drain(
        &self,
        response: reqwest::Response,
        told: Told<'_>,
        mut take: impl AsyncFnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let server = self.server()?;
        let mut read = 0;
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| server.unreachable(error))?;
            take(&piece).await?;
            read += piece.len() as u64;
            told(read, None);
        }
        Ok(read)
    }

    /// Sends a file. One whose answer was lost may be sent again: by POST under the same key, by PUT anyway.
    pub async fn upload(
        &self,
        (method, path): (Method, &str),
        query: Query<'_>,
        file: tokio::fs::File,
        length: u64,
        key: Option<&str>,
        told: impl Fn(u64, Option<u64>) + Send + Sync + 'static,
    ) -> Result<Body, Error> {
        let what = format!("{method} {path}");
        let server = self.server()?;
        let pieces = futures_util::stream::try_unfold((file, 0), move |(mut file, sent)| {
            let mut piece = vec![0; PIECE_BYTES];
            let told = &told;
            told(sent, Some(length));
            async move {
                let read = file.read(&mut piece).await?;
                piece.truncate(read);
                let sent = sent + read as u64;
                Ok::<_, std::io::Error>((read > 0).then_some((piece, (file, sent))))
            }
        });
        let request = self
            .http
            .request(method, server.url(path))
            .headers(authorization(&server)?)
            .header("content-type", "application/octet-stream")
            .header("content-length", length)
            .query(query)
            .body(reqwest::Body::wrap_stream(pieces));
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let response = request.send().await.map_err(|error| server.unreachable(error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let text = response.text().await.map_err(|error| server.unreachable(error))?;
        if status.is_success() {
            return Ok(Body { what, text });
        }
        Err(refusal(status, &headers, &text))
    }
}
