//! The rest of the vendors' surface, and time.

use std::time::Duration;

use perennial_rehearsal::server::Settings;
use perennial_rehearsal::{Answer, Rehearsal, Wire};
use serde_json::{Value, json};

use crate::client::{WIRES, ask, post, post_to, server};

#[tokio::test]
async fn tokens_are_counted_without_an_answer() {
    let server = server(Settings::default()).await;
    let mut body = ask(Wire::Messages, "/say hi");
    body.as_object_mut().unwrap().remove("max_tokens");
    let path = "/v1/messages/count_tokens?beta=true";
    let answer = post_to(&server, Wire::Messages, path, &body).await;
    assert!(answer.json()["input_tokens"].as_u64().unwrap() > 1, "{}", answer.text);
    body["messages"] = json!([]);
    assert_eq!(post_to(&server, Wire::Messages, path, &body).await.status, 400);
    assert!(server.requests().is_empty(), "no request for an answer");
}

#[tokio::test]
async fn models_are_listed_in_each_vendors_words() {
    let server = server(Settings::default()).await;
    let get = async |path: &str, anthropic: bool| -> (u16, Value) {
        let mut request = reqwest::Client::new()
            .get(format!("{}{path}", server.origin()))
            .bearer_auth("k");
        if anthropic {
            request = request.header("anthropic-version", "2023-06-01");
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    let (_, ours) = get("/v1/models", true).await;
    assert_eq!(
        (&ours["data"][0]["type"], &ours["has_more"]),
        (&json!("model"), &json!(false))
    );
    let (_, theirs) = get("/v1/models", false).await;
    assert_eq!(
        (&theirs["object"], &theirs["data"][0]["id"]),
        (&json!("list"), &json!("rehearsal-1"))
    );
    assert_eq!(get("/v1/models/claude-x", true).await.1["id"], "claude-x");
    assert_eq!(get("/v1/models/gpt-x", false).await.1["object"], "model");
    let (status, body) = get("/v1/files", true).await;
    assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")));
}

#[tokio::test(start_paused = true)]
async fn time_passes_where_the_script_says() {
    for wire in WIRES {
        for streamed in [false, true] {
            let mut body = ask(wire, "/sleep 500\n/tokens 10 20");
            body["stream"] = json!(streamed);
            let start = tokio::time::Instant::now();
            let mut response = Rehearsal::default().answer(wire, &body);
            assert_eq!(response.wait.as_millis(), if streamed { 0 } else { 700 }, "{wire:?}");
            while let Some(piece) = response.next().await {
                piece.unwrap();
            }
            assert_eq!(start.elapsed().as_millis(), if streamed { 700 } else { 0 }, "{wire:?}");
        }
    }
}

#[tokio::test]
async fn who_leaves_early_is_noticed() {
    let server = server(Settings::default()).await;
    let mut left = server.abandoned();
    server.push(Answer::new().text(&["a"]).pause(Duration::from_secs(60)).text(&["b"]));
    let mut body = ask(Wire::Responses, "x");
    body["stream"] = json!(true);
    let asked = post(&server, Wire::Responses, &body);
    tokio::time::timeout(Duration::from_millis(300), asked)
        .await
        .unwrap_err();
    tokio::time::timeout(Duration::from_secs(10), left.wait_for(|count| *count == 1))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_connection_breaks_where_it_is_told_to() {
    for wire in WIRES {
        for streamed in [false, true] {
            let server = server(Settings::default()).await;
            server.push(Answer::new().text(&["a", "b", "c"]).cut_after(2));
            let mut body = ask(wire, "x");
            body["stream"] = json!(streamed);
            let mut request = reqwest::Client::new().post(format!("{}{}", server.origin(), wire.path()));
            request = request.bearer_auth("k").header("anthropic-version", "2023-06-01");
            let response = request.json(&body).send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(response.bytes().await.is_err(), "{wire:?}, streamed: {streamed}");
        }
    }
}
