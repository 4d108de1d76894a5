//! What the verb prints, refuses and records, and OpenAI's two wires over plain HTTP.

use anyhow::Result;
use perennial_tests::child::bind_to_us;
use perennial_tests::server::binary;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::served::{Served, recorded};

async fn post(served: &Served, path: &str, body: &Value) -> Result<(u16, Value)> {
    let client = reqwest::Client::new();
    let request = client.post(format!("{}{path}", served.origin)).bearer_auth("any key");
    let response = request.json(body).send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

#[tokio::test]
async fn it_says_how_to_point_at_it_and_tells_each_request() -> Result<()> {
    let mut command = Command::new(binary()?);
    command.args(["rehearsal", "--listen", "127.0.0.1:0"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    bind_to_us(&mut command);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut greeting = Vec::new();
    while greeting.len() < 7 {
        greeting.push(lines.next_line().await?.unwrap());
    }
    let greeting = greeting.join("\n");
    let origin = greeting
        .split("ANTHROPIC_BASE_URL=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(greeting.contains(&format!("OPENAI_BASE_URL={origin}/v1")), "{greeting}");
    assert!(greeting.contains("/tool NAME"), "{greeting}");
    let url = format!("{origin}/v1/chat/completions");
    let body = json!({"model": "m", "messages": []});
    let answer = reqwest::Client::new()
        .post(url)
        .bearer_auth("k")
        .json(&body)
        .send()
        .await?;
    assert_eq!(answer.status(), 400);
    let line = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .next_line()
        .await?
        .unwrap();
    assert!(
        line.contains("/v1/chat/completions m, 0 messages: 400 messages: empty"),
        "{line}"
    );
    Ok(())
}

#[tokio::test]
async fn responses_and_chat_play_the_script_and_are_recorded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let record = folder.path().join("record");
    let mut served = Served::start(&["--record", record.to_str().unwrap()]).await?;
    let function = json!({"name": "bash", "parameters": {"type": "object"}});

    let mut tool = function.clone();
    tool["type"] = json!("function");
    let mut body = json!({"model": "m", "input": "/tool bash {\"command\":\"ls\"}\n/say done", "tools": [tool]});
    let (_, answer) = post(&served, "/v1/responses", &body).await?;
    let call = &answer["output"][0];
    assert_eq!(
        (&call["name"], &call["arguments"]),
        (&json!("bash"), &json!("{\"command\":\"ls\"}"))
    );
    body["input"] = json!([{"role": "user", "content": body["input"]}, call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "x"}]);
    let (_, answer) = post(&served, "/v1/responses", &body).await?;
    assert_eq!(answer["output"][0]["content"][0]["text"], "done");

    let mut body = json!({"model": "m", "tools": [{"type": "function", "function": function}],
        "messages": [{"role": "user", "content": "/tool bash\n/say done"}]});
    let (_, answer) = post(&served, "/v1/chat/completions", &body).await?;
    let message = &answer["choices"][0]["message"];
    let results = json!({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "x"});
    body["messages"]
        .as_array_mut()
        .unwrap()
        .extend([message.clone(), results.clone()]);
    let (_, answer) = post(&served, "/v1/chat/completions", &body).await?;
    assert_eq!(answer["choices"][0]["message"]["content"], "done");

    // A result for which nobody asked: refused, told and recorded.
    body["messages"] = json!([{"role": "user", "content": "x"}, results]);
    let (status, refusal) = post(&served, "/v1/chat/completions", &body).await?;
    assert_eq!(
        (status, &refusal["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
    let told = served.requests(5).await?;
    assert!(told[..4].iter().all(|told| told["status"] == 200), "{told:?}");
    assert_eq!(told[4]["violation"], refusal["error"]["message"]);
    let recorded = recorded(&record)?;
    assert_eq!(recorded.len(), 5);
    assert_eq!(recorded[4]["body"], body);
    Ok(())
}
