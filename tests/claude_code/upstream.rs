//! A scripted Messages endpoint: it plays replies in order, ids included, keeps every request it got, and refuses what the
//! vendor would refuse.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::StreamExt;
use perennial_tests::models::validate::{self, Issued};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// What the model answers.
pub(crate) enum Reply {
    /// Content blocks and a stop reason.
    Says(Vec<Value>, &'static str),
    /// An error status.
    Fails(u16),
    /// The beginning of a message, then the connection breaks.
    Breaks,
    /// The beginning of a message, then something that is no event.
    Garbles,
    /// The beginning of a message, then an error of this kind.
    Errs(&'static str),
    /// A stream without an event.
    Nothing,
    /// Half a message, and then nothing, for ever.
    Stalls,
    /// Nothing, for ever.
    Hangs,
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Value>>,
    issued: Mutex<Issued>,
    hung_up: watch::Sender<bool>,
}

/// A listening endpoint.
pub(crate) struct Upstream {
    pub(crate) url: String,
    script: Arc<Script>,
    _server: AbortOnDropHandle<()>,
}

impl Upstream {
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let script = Arc::new(Script {
            replies: Mutex::new(replies.into()),
            ..Script::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/v1/messages", post(answer))
            .with_state(script.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            script,
            _server: AbortOnDropHandle::new(server),
        }
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.script.requests.lock().unwrap().clone()
    }

    /// The messages of the n-th request, without what the harness always adds: its date reminder and cache marks.
    pub(crate) fn conversation(&self, n: usize) -> Vec<Value> {
        let requests = self.requests();
        let request = requests
            .get(n)
            .unwrap_or_else(|| panic!("{} requests came", requests.len()));
        request["messages"].as_array().unwrap().iter().map(plain).collect()
    }

    /// Waits until a request that hangs was given up by its sender.
    pub(crate) async fn hung_up(&self) {
        let mut heard = self.script.hung_up.subscribe();
        heard.wait_for(|gone| *gone).await.unwrap();
    }

    /// Waits until so many requests came.
    pub(crate) async fn asked(&self, count: usize) {
        while self.requests().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

fn plain(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(text) = message["content"].as_str() {
        message["content"] = json!([{"type": "text", "text": text}]);
    }
    let blocks = message["content"].as_array_mut().unwrap();
    blocks.retain(|block| {
        !block["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("<system-reminder>"))
    });
    for block in blocks {
        block.as_object_mut().unwrap().remove("cache_control");
    }
    message
}

async fn answer(State(script): State<Arc<Script>>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let checked = validate::anthropic(&request, &script.issued.lock().unwrap());
    script.requests.lock().unwrap().push(request);
    if let Err(problem) = checked {
        return failure(400, &problem);
    }
    let reply = script.replies.lock().unwrap().pop_front();
    match reply {
        Some(Reply::Says(blocks, stop)) => {
            let thoughts = blocks.iter().filter(|block| block["type"] == "thinking").cloned();
            script.issued.lock().unwrap().thoughts.extend(thoughts);
            stream(Body::from(sse(&events(&blocks, stop))))
        }
        Some(Reply::Fails(status)) => failure(status, "scripted"),
        Some(Reply::Breaks) => stream(Body::from(sse(&events(&[text("half")], "end_turn")[..3]))),
        Some(Reply::Garbles) => {
            let half = sse(&events(&[text("half")], "end_turn")[..3]);
            stream(Body::from(format!(
                "{half}event: content_block_delta\ndata: {{\"type\":\"content_blo\n\n"
            )))
        }
        Some(Reply::Errs(kind)) => {
            let half = sse(&events(&[text("half")], "end_turn")[..3]);
            let error = json!({"type": "error", "error": {"type": kind, "message": "scripted"}});
            stream(Body::from(format!("{half}event: error\ndata: {error}\n\n")))
        }
        Some(Reply::Nothing) => stream(Body::empty()),
        Some(Reply::Hangs) => hang(&script, String::new()),
        Some(Reply::Stalls) => hang(&script, sse(&events(&[text("half")], "end_turn")[..3])),
        None => failure(418, "the script is over"),
    }
}

fn stream(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn failure(status: u16, message: &str) -> Response {
    let body = json!({"type": "error", "error": {"type": "api_error", "message": message}});
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

fn hang(script: &Arc<Script>, first: String) -> Response {
    struct Gone(Arc<Script>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.hung_up.send_replace(true);
        }
    }
    let (keep, rx) = mpsc::channel::<Bytes>(1);
    let gone = Gone(script.clone());
    let silent = futures_util::stream::unfold((keep, rx, gone), |mut held| async move {
        let piece = held.1.recv().await?;
        Some((Ok::<_, Infallible>(piece), held))
    });
    let first = futures_util::stream::once(async move { Ok::<_, Infallible>(Bytes::from(first)) });
    stream(Body::from_stream(first.chain(silent).boxed()))
}

/// A text block.
pub(crate) fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A tool call, with the name the harness gives our tools.
pub(crate) fn tool_use(id: &str, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": format!("mcp__router__{name}"), "input": input})
}

/// A thinking block.
pub(crate) fn thinking(text: &str, signature: &str) -> Value {
    json!({"type": "thinking", "thinking": text, "signature": signature})
}

fn events(blocks: &[Value], stop: &str) -> Vec<Value> {
    let usage = json!({"input_tokens": 11, "output_tokens": 1});
    let message = json!({
        "id": format!("msg_{}", uuid::Uuid::now_v7().simple()), "type": "message", "role": "assistant",
        "model": "claude-opus-4-5", "content": [], "stop_reason": null, "usage": usage,
    });
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, block) in blocks.iter().enumerate() {
        let (start, deltas) = pieces(block);
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": stop, "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}));
    events.push(json!({"type": "message_stop"}));
    events
}

/// A block as it begins, and its pieces.
fn pieces(block: &Value) -> (Value, Vec<Value>) {
    match block["type"].as_str().unwrap() {
        "text" => (
            json!({"type": "text", "text": ""}),
            vec![json!({"type": "text_delta", "text": block["text"]})],
        ),
        "thinking" => (
            json!({"type": "thinking", "thinking": "", "signature": ""}),
            vec![
                json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                json!({"type": "signature_delta", "signature": block["signature"]}),
            ],
        ),
        _ => {
            let json = block["input"].to_string();
            let half = json.len() / 2;
            let piece = |part: &str| json!({"type": "input_json_delta", "partial_json": part});
            let mut start = block.clone();
            start["input"] = json!({});
            (start, vec![piece(&json[..half]), piece(&json[half..])])
        }
    }
}

fn sse(events: &[Value]) -> String {
    let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect()
}
