//! A client of event streams, within one process.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::rig::{Rig, text};

/// One SSE frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) event: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) comment: bool,
    pub(crate) retry: Option<u64>,
}

/// A client of a stream.
pub(crate) struct Client {
    body: BodyDataStream,
    buffer: String,
}

impl Client {
    /// Of a session's stream.
    pub(crate) async fn open(rig: &Rig, session: &str, query: &str) -> Self {
        Self::with(rig, session, query, &[]).await
    }

    pub(crate) async fn with(rig: &Rig, session: &str, query: &str, headers: &[(&str, &str)]) -> Self {
        let path = format!("/v1/sessions/{session}/events/stream?beta=true&{query}");
        Self::at(rig, &path, headers).await
    }

    /// Of any stream.
    pub(crate) async fn at(rig: &Rig, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = rig.request("GET", path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = rig
            .api
            .router()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut client = Self {
            body: response.into_body().into_data_stream(),
            buffer: String::new(),
        };
        let hello = client.frame().await.unwrap();
        assert!(
            hello.comment && hello.retry.is_some(),
            "the first bytes come at once: {hello:?}"
        );
        client
    }

    /// The next frame; none at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let frame = self.buffer[..end].to_owned();
                self.buffer.drain(..end + 2);
                return Some(parse(&frame));
            }
            let piece = tokio::time::timeout(Duration::from_secs(10), self.body.next())
                .await
                .expect("a frame in time");
            match piece {
                Some(bytes) => self.buffer.push_str(&text(&bytes.unwrap())),
                None => return None,
            }
        }
    }

    /// The next frame that is no comment.
    pub(crate) async fn event(&mut self) -> Option<Frame> {
        loop {
            match self.frame().await {
                Some(frame) if frame.comment => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn events(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(self.event().await.expect("the stream goes on"));
        }
        frames
    }

    /// Numbers of a session's next events.
    pub(crate) async fn ids(&mut self, count: usize) -> Vec<u64> {
        self.events(count).await.iter().filter_map(Frame::seq).collect()
    }
}

impl Frame {
    /// A session's event number.
    pub(crate) fn seq(&self) -> Option<u64> {
        self.id.as_ref().map(|id| id.parse().unwrap())
    }
}

fn parse(text: &str) -> Frame {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    Frame {
        event: field("event").map(str::to_owned),
        id: field("id").map(str::to_owned),
        data: field("data").map(|data| serde_json::from_str(data).unwrap()),
        comment: text.lines().any(|line| line.starts_with(':')),
        retry: field("retry").map(|millis| millis.parse().unwrap()),
    }
}
