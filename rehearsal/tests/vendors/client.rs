//! A client that speaks all wires: it plays a conversation to its end and answers each call.

use perennial_rehearsal::Wire;
use perennial_rehearsal::server::{Server, Settings};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const WIRES: [Wire; 3] = [Wire::Messages, Wire::Responses, Wire::Chat];

pub(crate) async fn server(settings: Settings) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings { keep: 100, ..settings };
    Server::start(listener, settings).unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The events of a stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

pub(crate) async fn post(server: &Server, wire: Wire, body: &Value) -> Answer {
    post_to(server, wire, wire.path(), body).await
}

pub(crate) async fn post_to(server: &Server, wire: Wire, path: &str, body: &Value) -> Answer {
    let mut request = reqwest::Client::new().post(format!("{}{path}", server.origin()));
    request = match wire {
        Wire::Messages => request
            .header("x-api-key", "k")
            .header("anthropic-version", "2023-06-01"),
        Wire::Responses | Wire::Chat => request.bearer_auth("k"),
    };
    let response = request.json(body).send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        text: response.text().await.unwrap(),
    }
}

/// A request whose only message is this prompt, with two tools.
pub(crate) fn ask(wire: Wire, prompt: &str) -> Value {
    let schema = json!({"type": "object"});
    match wire {
        Wire::Messages => json!({
            "model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}],
            "tools": [{"name": "mcp__router__bash", "input_schema": schema}, {"name": "read", "input_schema": schema}],
        }),
        Wire::Responses => json!({
            "model": "m", "store": false, "input": [{"role": "user", "content": prompt}],
            "tools": [
                {"type": "namespace", "name": "mcp__router", "tools": [{"type": "function", "name": "bash", "parameters": schema}]},
                {"type": "function", "name": "read", "parameters": schema},
            ],
        }),
        Wire::Chat => json!({
            "model": "m", "messages": [{"role": "user", "content": prompt}],
            "tools": [
                {"type": "function", "function": {"name": "router_bash", "parameters": schema}},
                {"type": "function", "function": {"name": "read", "parameters": schema}},
            ],
        }),
    }
}

/// Puts an answer (not streamed) and results of its calls into the request; tells what was said and called.
pub(crate) fn go_on(wire: Wire, body: &mut Value, answer: &Value) -> Vec<String> {
    let mut told = Vec::new();
    let mut results = Vec::new();
    match wire {
        Wire::Messages => {
            for block in answer["content"].as_array().unwrap() {
                told.push(match block["type"].as_str().unwrap() {
                    "text" => block["text"].as_str().unwrap().to_owned(),
                    "thinking" => format!("~{}", block["thinking"].as_str().unwrap()),
                    _ => {
                        results.push(json!({"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}));
                        format!("{}{}", block["name"].as_str().unwrap(), block["input"])
                    }
                });
            }
            push(
                body,
                "messages",
                json!({"role": "assistant", "content": answer["content"]}),
            );
            if !results.is_empty() {
                push(body, "messages", json!({"role": "user", "content": results}));
            }
        }
        Wire::Responses => {
            for item in answer["output"].as_array().unwrap() {
                told.push(match item["type"].as_str().unwrap() {
                    "message" => item["content"][0]["text"].as_str().unwrap().to_owned(),
                    "reasoning" => format!("~{}", item["summary"][0]["text"].as_str().unwrap()),
                    _ => {
                        let id = &item["call_id"];
                        results.push(json!({"type": "function_call_output", "call_id": id, "output": "ok"}));
                        let namespace = item["namespace"].as_str().unwrap_or_default();
                        let name = item["name"].as_str().unwrap();
                        format!("{namespace}{name}{}", item["arguments"].as_str().unwrap())
                    }
                });
                push(body, "input", item.clone());
            }
            for result in results {
                push(body, "input", result);
            }
        }
        Wire::Chat => {
            let message = &answer["choices"][0]["message"];
            told.extend(message["reasoning_content"].as_str().map(|text| format!("~{text}")));
            told.extend(message["content"].as_str().map(str::to_owned));
            let calls = message["tool_calls"].as_array();
            push(
                body,
                "messages",
                json!({"role": "assistant", "content": message["content"]}),
            );
            if let Some(calls) = calls {
                let last = body["messages"].as_array_mut().unwrap().last_mut().unwrap();
                last["tool_calls"] = message["tool_calls"].clone();
                for call in calls {
                    let function = &call["function"];
                    told.push(format!(
                        "{}{}",
                        function["name"].as_str().unwrap(),
                        function["arguments"].as_str().unwrap()
                    ));
                    push(
                        body,
                        "messages",
                        json!({"role": "tool", "tool_call_id": call["id"], "content": "ok"}),
                    );
                }
            }
        }
    }
    told
}

pub(crate) fn push(body: &mut Value, member: &str, value: Value) {
    body[member].as_array_mut().unwrap().push(value);
}

/// What a stream builds up: as much of the whole answer as [`go_on`] reads.
pub(crate) fn gathered(wire: Wire, events: &[Value]) -> Value {
    match wire {
        Wire::Messages => {
            let mut blocks: Vec<Value> = Vec::new();
            for event in events {
                let delta = &event["delta"];
                let block = blocks.last_mut();
                match (
                    event["type"].as_str().unwrap(),
                    delta["type"].as_str().unwrap_or_default(),
                ) {
                    ("content_block_start", _) => blocks.push(event["content_block"].clone()),
                    (_, "text_delta") => append(block.unwrap(), "text", &delta["text"]),
                    (_, "thinking_delta") => append(block.unwrap(), "thinking", &delta["thinking"]),
                    (_, "signature_delta") => append(block.unwrap(), "signature", &delta["signature"]),
                    (_, "input_json_delta") => append(block.unwrap(), "json", &delta["partial_json"]),
                    ("content_block_stop", _) => {
                        let block = block.unwrap();
                        let json = block.as_object_mut().unwrap().remove("json");
                        if let Some(json) = json {
                            block["input"] = serde_json::from_str(json.as_str().unwrap()).unwrap();
                        }
                    }
                    _ => {}
                }
            }
            json!({"content": blocks})
        }
        Wire::Responses => {
            let last = events.last().unwrap();
            assert_eq!(last["type"], "response.completed");
            let done = events
                .iter()
                .filter(|event| event["type"] == "response.output_item.done");
            let items: Vec<Value> = done.map(|event| event["item"].clone()).collect();
            assert_eq!(last["response"]["output"], json!(items));
            last["response"].clone()
        }
        Wire::Chat => {
            let mut message = json!({"role": "assistant"});
            let mut calls: Vec<Value> = Vec::new();
            for delta in events.iter().map(|event| &event["choices"][0]["delta"]) {
                for member in ["content", "reasoning_content"] {
                    if delta[member].as_str().is_some_and(|text| !text.is_empty()) {
                        append(&mut message, member, &delta[member]);
                    }
                }
                for call in delta["tool_calls"].as_array().into_iter().flatten() {
                    if call["id"].is_string() {
                        calls.push(json!({"id": call["id"], "type": "function", "function": call["function"]}));
                    } else {
                        let call_so_far = &mut calls[usize::try_from(call["index"].as_u64().unwrap()).unwrap()];
                        append(
                            &mut call_so_far["function"],
                            "arguments",
                            &call["function"]["arguments"],
                        );
                    }
                }
            }
            if !calls.is_empty() {
                message["tool_calls"] = json!(calls);
            }
            json!({"choices": [{"message": message}]})
        }
    }
}

fn append(value: &mut Value, member: &str, more: &Value) {
    let so_far = value[member].as_str().unwrap_or_default();
    value[member] = json!(format!("{so_far}{}", more.as_str().unwrap()));
}
