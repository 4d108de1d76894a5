//! A scripted Responses endpoint: it plays replies in order, ids included, keeps every request it got, and refuses what the
//! vendor would refuse.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::StreamExt;
use perennial_rehearsal::Wire;
use perennial_rehearsal::validate::{self, Issued};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// What the model answers.
pub(crate) enum Reply {
    /// Output items.
    Says(Vec<Value>),
    /// Output items, and the answer is cut for this reason.
    Stops(Vec<Value>, &'static str),
    /// An error status, with headers.
    Fails(u16, &'static [(&'static str, &'static str)], Value),
    /// The beginning of an answer, then the connection breaks.
    Breaks,
    /// An answer with a piece that is no JSON.
    Mumbles,
    /// An answer that ends in an error of this code.
    Gives(&'static str),
    /// Nothing, for ever.
    Hangs,
    /// The beginning of an answer, then nothing, for ever.
    Stalls,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Received>>,
    violations: Mutex<Vec<String>>,
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
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/v1/responses", post(answer))
            .layer(axum::extract::DefaultBodyLimit::max(64 * 1024 * 1024))
            .with_state(script.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            script,
            _server: AbortOnDropHandle::new(server),
        }
    }

    pub(crate) fn push(&self, reply: Reply) {
        self.script.replies.lock().unwrap().push_back(reply);
    }

    /// Forgets the replies that nobody asked for.
    pub(crate) fn clear(&self) {
        self.script.replies.lock().unwrap().clear();
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.script.requests.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.received().into_iter().map(|request| request.body).collect()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.script.violations.lock().unwrap().clone()
    }

    /// The items of the n-th request, without what Codex gives each item of its own: ids, states, and a null.
    pub(crate) fn conversation(&self, n: usize) -> Vec<Value> {
        let requests = self.requests();
        let request = requests
            .get(n)
            .unwrap_or_else(|| panic!("{} requests came", requests.len()));
        request["input"].as_array().unwrap().iter().map(plain).collect()
    }

    /// Waits until a request that hangs was given up by its sender.
    pub(crate) async fn hung_up(&self) {
        let mut heard = self.script.hung_up.subscribe();
        heard.wait_for(|gone| *gone).await.unwrap();
    }

    /// Waits until so many requests came.
    pub(crate) async fn asked(&self, count: usize) {
        while self.script.requests.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

fn plain(item: &Value) -> Value {
    let mut item = item.clone();
    let reasoning = item["type"] == "reasoning";
    let members = item.as_object_mut().unwrap();
    members.remove("status");
    if reasoning {
        members.retain(|name, value| name != "content" || !value.is_null());
    } else {
        members.remove("id");
    }
    let content = item.get_mut("content").and_then(Value::as_array_mut);
    for part in content.into_iter().flatten() {
        part.as_object_mut().unwrap().remove("annotations");
    }
    item
}

async fn answer(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    let at = Instant::now();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let checked = validate::check(Wire::Responses, &body, &Issued::default());
    script.requests.lock().unwrap().push(Received { at, headers, body });
    // What this server gave out is compared by the tests themselves.
    if let Err(problem) = checked
        && !problem.contains("reasoning item was changed")
    {
        script.violations.lock().unwrap().push(problem.clone());
        return failure(400, &[], &error("invalid_request_error", &problem));
    }
    let reply = script.replies.lock().unwrap().pop_front();
    match reply {
        Some(Reply::Says(items)) => stream(sse(&events(&items, None)).into()),
        Some(Reply::Stops(items, reason)) => stream(sse(&events(&items, Some(reason))).into()),
        Some(Reply::Fails(status, headers, body)) => failure(status, headers, &body),
        Some(Reply::Breaks) => stream(sse(&events(&[text("half")], None)[..3]).into()),
        Some(Reply::Mumbles) => {
            let all = sse(&events(&[text("half")], None));
            let (first, rest) = all.split_once("\n\n").unwrap();
            stream(format!("{first}\n\ndata: {{\"type\": \n\n{rest}").into())
        }
        Some(Reply::Gives(code)) => {
            let failed = json!({"type": "response.failed", "response": {"id": "r", "error": {"code": code, "message": "scripted"}}});
            stream(sse(&[failed]).into())
        }
        Some(Reply::Hangs) => stream(hang(&script, Bytes::new())),
        Some(Reply::Stalls) => stream(hang(&script, sse(&events(&[text("half done")], None)[..3]).into())),
        None => failure(418, &[], &error("teapot", "the script is over")),
    }
}

pub(crate) fn error(code: &str, message: &str) -> Value {
    json!({"error": {"type": code, "code": code, "message": message}})
}

fn stream(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn failure(status: u16, headers: &[(&'static str, &'static str)], body: &Value) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

fn hang(script: &Arc<Script>, first: Bytes) -> Body {
    struct Gone(Arc<Script>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.hung_up.send_replace(true);
        }
    }
    let (keep, rx) = mpsc::channel::<Bytes>(1);
    if !first.is_empty() {
        keep.try_send(first).unwrap();
    }
    let gone = Gone(script.clone());
    let silent = futures_util::stream::unfold((keep, rx, gone), |mut held| async move {
        let piece = held.1.recv().await?;
        Some((Ok::<_, Infallible>(piece), held))
    });
    Body::from_stream(silent.boxed())
}

/// A message of the model.
pub(crate) fn text(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

/// A refusal.
pub(crate) fn refusal(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": text}]})
}

/// A tool call.
pub(crate) fn call(id: &str, name: &str, arguments: &Value) -> Value {
    json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments.to_string()})
}

/// A tool's result.
pub(crate) fn output(id: &str, text: &str) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": text})
}

/// A reasoning item.
pub(crate) fn reasoning(id: &str, secret: &str) -> Value {
    json!({"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": secret})
}

/// A message of the user.
pub(crate) fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

/// The system prompt, as Codex sends it.
pub(crate) fn system(text: &str) -> Value {
    json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]})
}

fn events(items: &[Value], cut: Option<&str>) -> Vec<Value> {
    let id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    let mut events =
        vec![json!({"type": "response.created", "response": {"id": id, "status": "in_progress", "output": []}})];
    let mut whole = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut item = item.clone();
        if item["type"] != "reasoning" {
            item["id"] = json!(format!("item_{index}_{}", uuid::Uuid::now_v7().simple()));
            item["status"] = json!("completed");
        }
        let mut begun = item.clone();
        let kind = item["type"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "message" => begun["content"] = json!([]),
            "function_call" => begun["arguments"] = json!(""),
            _ => begun["encrypted_content"] = Value::Null,
        }
        events.push(json!({"type": "response.output_item.added", "output_index": index, "item": begun}));
        for piece in pieces(&item) {
            let kind = if kind == "message" {
                "output_text"
            } else {
                "function_call_arguments"
            };
            events.push(json!({"type": format!("response.{kind}.delta"), "output_index": index, "content_index": 0, "item_id": item["id"], "delta": piece}));
        }
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        whole.push(item);
    }
    let usage = json!({
        "input_tokens": 16, "input_tokens_details": {"cached_tokens": 5},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 23,
    });
    let mut response = json!({"id": id, "status": "completed", "output": whole, "usage": usage});
    let mut kind = "response.completed";
    if let Some(reason) = cut {
        kind = "response.incomplete";
        response["status"] = json!("incomplete");
        response["incomplete_details"] = json!({"reason": reason});
    }
    events.push(json!({"type": kind, "response": response}));
    events
}

/// A text, word by word; arguments in halves.
fn pieces(item: &Value) -> Vec<String> {
    if let Some(arguments) = item["arguments"].as_str() {
        let half = arguments.floor_char_boundary(arguments.len() / 2);
        return vec![arguments[..half].to_owned(), arguments[half..].to_owned()];
    }
    let text = item["content"][0]["text"].as_str().unwrap_or_default();
    text.split_inclusive(' ').map(str::to_owned).collect()
}

fn sse(events: &[Value]) -> String {
    let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect()
}
