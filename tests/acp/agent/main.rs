//! A small agent that speaks the Agent Client Protocol: a process of its own for the tests of the generic lane. It plays the
//! script in the last block of its prompt with the tools of the MCP server it is given. If it is told to go on from a
//! record, it plays what is left of the record's last script.
//!
//! How it behaves is told by variables: `AGENT_MODE` (`no-http`, `old`, `auth`, `silent`, `dies`, `asks`), `AGENT_TRACE` (a
//! file in which it notes where it is). In what it says, `$NAME` is a variable and `$PROMPT` the whole prompt.

#![expect(clippy::unwrap_used, reason = "an agent that cannot go on ends")]

mod mcp;
mod stdio;

use std::sync::{Arc, Mutex};

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    AgentCapabilities, CancelNotification, ContentBlock, ContentChunk, InitializeRequest, InitializeResponse,
    McpCapabilities, NewSessionRequest, NewSessionResponse, PermissionOption, PermissionOptionKind, PromptCapabilities,
    PromptRequest, PromptResponse, RequestPermissionOutcome, RequestPermissionRequest, SessionNotification,
    SessionUpdate, StopReason, TextContent, ToolCallUpdate, ToolCallUpdateFields,
};
use agent_client_protocol::v1::{ConnectionTo, Responder};
use agent_client_protocol::{Agent, Client, Error, Result};
use perennial_rehearsal::script::{self, Act};
use tokio::sync::watch;

use mcp::Server;

/// What the handlers share.
struct Shared {
    mode: String,
    tools: Mutex<Option<Server>>,
    cancelled: watch::Sender<bool>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let shared = Arc::new(Shared {
        mode: std::env::var("AGENT_MODE").unwrap_or_default(),
        tools: Mutex::default(),
        cancelled: watch::Sender::new(false),
    });
    let (greeting, opening, prompting, cancelling) = (shared.clone(), shared.clone(), shared.clone(), shared);
    Agent
        .v1()
        .name("scripted")
        .on_receive_request(
            async move |_: InitializeRequest, responder, _| responder.respond(hello(&greeting)),
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request: NewSessionRequest, responder, _| {
                let servers = serde_json::to_value(&request.mcp_servers).unwrap();
                *opening.tools.lock().unwrap() = Server::of(&servers[0]);
                responder.respond(NewSessionResponse::new("the-session"))
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_request(
            async move |request: PromptRequest, responder, client| {
                tokio::spawn(turn(prompting.clone(), request, responder, client));
                Ok(())
            },
            agent_client_protocol::on_receive_request!(),
        )
        .on_receive_notification(
            async move |_: CancelNotification, _| {
                note("cancelled");
                cancelling.cancelled.send_replace(true);
                Ok(())
            },
            agent_client_protocol::on_receive_notification!(),
        )
        .connect_to(stdio::lines())
        .await
}

fn hello(shared: &Shared) -> InitializeResponse {
    let version = if shared.mode == "old" {
        ProtocolVersion::V0
    } else {
        ProtocolVersion::V1
    };
    let able = AgentCapabilities::new()
        .prompt_capabilities(PromptCapabilities::new().image(true))
        .mcp_capabilities(McpCapabilities::new().http(shared.mode != "no-http"));
    InitializeResponse::new(version).agent_capabilities(able)
}

async fn turn(
    shared: Arc<Shared>,
    request: PromptRequest,
    responder: Responder<PromptResponse>,
    client: ConnectionTo<Client>,
) {
    match shared.mode.as_str() {
        "auth" => return responder.respond_with_error(Error::auth_required()).unwrap(),
        "silent" => return std::future::pending().await,
        "dies" => {
            eprintln!("no reason to live");
            std::process::exit(3);
        }
        _ => {}
    }
    note("waiting");
    let mut cancelled = shared.cancelled.subscribe();
    let reason = tokio::select! {
        () = play(&shared, &request, &client) => StopReason::EndTurn,
        _ = cancelled.wait_for(|cancelled| *cancelled) => StopReason::Cancelled,
    };
    responder.respond(PromptResponse::new(reason)).unwrap();
}

async fn play(shared: &Shared, request: &PromptRequest, client: &ConnectionTo<Client>) {
    let texts: Vec<&str> = request
        .prompt
        .iter()
        .map(|block| match block {
            ContentBlock::Text(text) => text.text.as_str(),
            _ => "[another block]",
        })
        .collect();
    let (script, mut answered) = match texts.last() {
        Some(last) if last.contains("<record>") => left(last),
        last => (last.copied().unwrap_or_default().to_owned(), 0),
    };
    let steps = script::parse(&script).unwrap().unwrap_or_default().steps;
    let say = |text: String, is_thought: bool| {
        let chunk = ContentChunk::new(ContentBlock::Text(TextContent::new(text)));
        let update = if is_thought {
            SessionUpdate::AgentThoughtChunk(chunk)
        } else {
            SessionUpdate::AgentMessageChunk(chunk)
        };
        let told = SessionNotification::new(request.session_id.clone(), update);
        client.send_notification(told).unwrap();
    };
    for step in steps {
        let mut calls = tokio::task::JoinSet::new();
        let tools = step.acts.iter().filter(|act| matches!(act, Act::Tool { .. })).count();
        if tools > 0 && answered >= tools {
            answered -= tools;
            continue;
        }
        for act in step.acts {
            match act {
                Act::Say(text) => say(filled(&text, &texts.join("\n")), false),
                Act::Think(text) => say(text, true),
                Act::Sleep(time) => tokio::time::sleep(time).await,
                Act::Tokens { count, each } => {
                    for n in 1..=count {
                        tokio::time::sleep(each).await;
                        say(format!(" {n}"), false);
                    }
                }
                Act::Tool { name, input } => {
                    if shared.mode == "asks" && !may(request, client).await {
                        say("I may not".into(), false);
                        continue;
                    }
                    let server = shared.tools.lock().unwrap().clone().unwrap();
                    calls.spawn(async move { server.call(&name, input.text()).await });
                }
            }
        }
        while let Some(result) = calls.join_next().await {
            say(format!("<{}>", result.unwrap()), false);
        }
    }
}

fn note(what: &str) {
    if let Ok(trace) = std::env::var("AGENT_TRACE") {
        std::fs::write(trace, what).unwrap();
    }
}

async fn may(request: &PromptRequest, client: &ConnectionTo<Client>) -> bool {
    let call = ToolCallUpdate::new("a-call", ToolCallUpdateFields::new());
    let options = vec![
        PermissionOption::new("no", "No", PermissionOptionKind::RejectOnce),
        PermissionOption::new("yes", "Yes", PermissionOptionKind::AllowOnce),
    ];
    let asked = RequestPermissionRequest::new(request.session_id.clone(), call, options);
    let answer = client.send_request(asked).block_task().await.unwrap();
    matches!(answer.outcome, RequestPermissionOutcome::Selected(chosen) if chosen.option_id.0.as_ref() == "yes")
}

/// The last script of a record, and how many of its calls were answered.
fn left(record: &str) -> (String, usize) {
    let (mut script, mut answered, mut heading) = (Vec::new(), 0, "");
    for line in record.lines() {
        if line.starts_with('[') {
            heading = line;
            if line == "[user]" {
                (script, answered) = (Vec::new(), 0);
            }
            answered += usize::from(line.ends_with(" answered]") || line.ends_with(" failed with]"));
        } else if heading == "[user]" {
            script.extend(line.strip_prefix("| "));
        }
    }
    (script.join("\n"), answered)
}

fn filled(text: &str, prompt: &str) -> String {
    let words = text.split(' ').map(|word| match word.strip_prefix('$') {
        Some("PROMPT") => prompt.to_owned(),
        Some(name) => std::env::var(name).unwrap_or_default(),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}
