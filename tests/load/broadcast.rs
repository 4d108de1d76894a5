//! The limit of (f): the least an axum server can do that tells many readers the same thing. Frames are made once and
//! shared; nothing is stored, ordered or resumed.

use std::convert::Infallible;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast;

/// Frames that wait for a slow reader.
const WAITING: usize = 4096;

/// Serves until killed; its address is the first line of output.
pub(crate) async fn serve() -> Result<()> {
    let (frames, _) = broadcast::channel::<Bytes>(WAITING);
    let router = Router::new()
        .route("/stream", get(read))
        .route("/publish", post(publish))
        .with_state(frames);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

async fn read(State(frames): State<broadcast::Sender<Bytes>>) -> impl IntoResponse {
    let frames = stream::unfold(frames.subscribe(), |mut frames| async move {
        let frame = frames.recv().await.ok()?;
        Some((Ok::<_, Infallible>(frame), frames))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(frames))
}

/// One event a line.
async fn publish(State(frames): State<broadcast::Sender<Bytes>>, body: String) {
    for (id, line) in body.lines().enumerate() {
        // Readers that left need nothing.
        let _ = frames.send(Bytes::from(format!("id: {id}\nevent: user.message\ndata: {line}\n\n")));
    }
}
