//! Files to the server, many in one form, as they are read.

use std::path::PathBuf;

use reqwest::Method;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::{Body, Client, Query, answer, authorization};
use crate::error::Error;

/// Bytes read from a file at once.
const PIECE_BYTES: usize = 64 * 1024;

impl Client {
    /// Sends files under these names. Storing them again changes nothing.
    pub async fn upload_form(&self, path: &str, query: Query<'_>, files: &[(String, PathBuf)]) -> Result<Body, Error> {
        let server = self.server()?;
        let boundary = format!("perennial-{}", uuid::Uuid::new_v4().simple());
        let (pieces, mut sent) = mpsc::channel::<Vec<u8>>(2);
        let body = futures_util::stream::poll_fn(move |context| {
            sent.poll_recv(context).map(|piece| piece.map(Ok::<_, std::io::Error>))
        });
        let request = self
            .http
            .request(Method::PUT, server.url(path))
            .headers(authorization(&server)?)
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .query(query)
            .body(reqwest::Body::wrap_stream(body));
        let reading = read(files, &boundary, pieces);
        let answering = answer(&server, format!("PUT {path}"), request);
        let (read, answer) = tokio::join!(reading, answering);
        // What could not be read broke the form off, and the server's words about that are of no use.
        read?;
        answer
    }
}

/// Reads until all is sent, or until nobody takes it any more: then the answer says why.
async fn read(files: &[(String, PathBuf)], boundary: &str, pieces: mpsc::Sender<Vec<u8>>) -> Result<(), Error> {
    for (name, path) in files {
        let refuse = || Error::io(format!("cannot read {}", path.display()));
        let mut file = File::open(path).await.map_err(refuse())?;
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        let mut piece = head.into_bytes();
        loop {
            if pieces.send(std::mem::take(&mut piece)).await.is_err() {
                return Ok(());
            }
            piece.resize(PIECE_BYTES, 0);
            let read = file.read(&mut piece).await.map_err(refuse())?;
            piece.truncate(read);
            if read == 0 {
                break;
            }
        }
        if pieces.send(b"\r\n".to_vec()).await.is_err() {
            return Ok(());
        }
    }
    pieces.send(format!("--{boundary}--\r\n").into_bytes()).await.ok();
    Ok(())
}
