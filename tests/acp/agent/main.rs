//! A small agent that speaks the Agent Client Protocol: a process of its own for the tests of the generic lane. It plays the
//! script in the last block of its prompt with the tools of the MCP server it is given. If it is told to go on from a
//! record, it plays what is left of the record's last script.
//!
//! How it behaves is told by variables: `AGENT_MODE` (one of [`Mode`]), `AGENT_TRACE` (a file in which it notes where it is).
//! In what it says, `$NAME` is a variable, `$PROMPT` the whole prompt, `$ENVIRONMENT` all variables, `$STARTED` when this
//! process was, and `$CHILD` the process id of a child it has then.

#![expect(clippy::unwrap_used, reason = "an agent that cannot go on ends")]

mod mcp;
mod stdio;

use std::io::Write as _;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    AgentCapabilities, CancelNotification, ContentBlock, ContentChunk, InitializeRequest, InitializeResponse,
    McpCapabilities, NewSessionRequest, NewSessionResponse, PermissionOption, PermissionOptionKind, PromptCapabilities,
    PromptRequest, PromptResponse, RequestPermissionOutcome, RequestPermissionRequest, SessionNotification,
    SessionUpdate, StopReason, TextContent, ToolCall, ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields,
};
use agent_client_protocol::v1::{ConnectionTo, Responder};
use agent_client_protocol::{Agent, Client, Error, Result};
use perennial_rehearsal::script::{self, Act};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use mcp::Server;

/// How it behaves.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Well.
    #[default]
    Well,
    /// It prints what is no message before it speaks the protocol.
    Banner,
    /// It speaks an older version.
    Old,
    /// It never greets.
    Mute,
    /// It takes no MCP server over HTTP.
    NoHttp,
    /// It wants to be logged in.
    Auth,
    /// It fails.
    Fails,
    /// It says nothing.
    Silent,
    /// It dies of its prompt.
    Dies,
    /// It dies when it has played its script.
    Breaks,
    /// It refuses when it has played its script.
    Refuses,
    /// It asks whether it may.
    Asks,
    /// It does not name its calls, and says what comes before them a little after them.
    Late,
    /// It waits only a little for results.
    Impatient,
    /// It says more than anybody would read.
    Floods,
    /// It writes a line without an end.
    Endless,
    /// It takes more memory than it needs.
    Swells,
}

/// How late words are.
const MOMENT: Duration = Duration::from_millis(150);
/// What one that swells takes.
const MUCH: usize = 256 * 1024 * 1024;

static STARTED: LazyLock<String> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}", since.as_nanos())
});

/// What the handlers share.
struct Shared {
    mode: Mode,
    tools: Mutex<Option<Server>>,
    cancelled: watch::Sender<bool>,
}

#[tokio::main]
async fn main() -> Result<()> {
    LazyLock::force(&STARTED);
    let mode = std::env::var("AGENT_MODE").map(|mode| serde_json::from_value(Value::String(mode)).unwrap());
    let mode = mode.unwrap_or_default();
    if mode == Mode::Banner {
        println!("Welcome to the agent!\n{{}}");
    }
    let shared = Arc::new(Shared {
        mode,
        tools: Mutex::default(),
        cancelled: watch::Sender::new(false),
    });
    let (greeting, opening, prompting, cancelling) = (shared.clone(), shared.clone(), shared.clone(), shared);
    Agent
        .v1()
        .name("scripted")
        .on_receive_request(
            async move |_: InitializeRequest, responder, _| match greeting.mode {
                Mode::Mute => std::future::pending().await,
                _ => responder.respond(hello(&greeting)),
            },
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
        .connect_to(stdio::lines(mode == Mode::Old))
        .await
}

fn hello(shared: &Shared) -> InitializeResponse {
    let able = AgentCapabilities::new()
        .prompt_capabilities(PromptCapabilities::new().image(true))
        .mcp_capabilities(McpCapabilities::new().http(shared.mode != Mode::NoHttp));
    InitializeResponse::new(ProtocolVersion::V1).agent_capabilities(able)
}

async fn turn(
    shared: Arc<Shared>,
    request: PromptRequest,
    responder: Responder<PromptResponse>,
    client: ConnectionTo<Client>,
) {
    match shared.mode {
        Mode::Auth => return responder.respond_with_error(Error::auth_required()).unwrap(),
        Mode::Fails => {
            let error = Error::internal_error().data(serde_json::json!("the model is on holiday"));
            return responder.respond_with_error(error).unwrap();
        }
        Mode::Silent => return std::future::pending().await,
        Mode::Dies => {
            eprintln!("no reason to live");
            std::process::exit(3);
        }
        Mode::Floods => {
            let words = SessionUpdate::AgentMessageChunk(chunk("and so on ".repeat(100)));
            let told = SessionNotification::new(request.session_id.clone(), words);
            let line = serde_json::json!({"jsonrpc": "2.0", "method": "session/update", "params": told});
            return pour(format!("{line}\n").as_bytes());
        }
        Mode::Endless => return pour(&[b'x'; 64 * 1024]),
        Mode::Swells => {
            let much = vec![1_u8; MUCH];
            std::future::pending::<()>().await;
            drop(much);
        }
        _ => {}
    }
    note("waiting");
    let mut cancelled = shared.cancelled.subscribe();
    let played = tokio::select! {
        () = play(&shared, &request, &client) => true,
        _ = cancelled.wait_for(|cancelled| *cancelled) => false,
    };
    let reason = match shared.mode {
        _ if !played => StopReason::Cancelled,
        Mode::Refuses => StopReason::Refusal,
        Mode::Breaks => {
            eprintln!("this is too much");
            // What it said is on its way.
            tokio::time::sleep(MOMENT).await;
            std::process::exit(4);
        }
        _ => StopReason::EndTurn,
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
    let tell = |update: SessionUpdate| {
        let told = SessionNotification::new(request.session_id.clone(), update);
        client.send_notification(told).unwrap();
    };
    let say = |text: String| tell(SessionUpdate::AgentMessageChunk(chunk(text)));
    for (n, step) in steps.into_iter().enumerate() {
        let mut calls = tokio::task::JoinSet::new();
        let mut late = Vec::new();
        let tools = step.acts.iter().filter(|act| matches!(act, Act::Tool { .. })).count();
        if tools > 0 && answered >= tools {
            answered -= tools;
            continue;
        }
        for (m, act) in step.acts.into_iter().enumerate() {
            match act {
                Act::Say(text) if shared.mode == Mode::Late && tools > 0 => late.push(text),
                Act::Say(text) => say(filled(&text, &texts.join("\n"))),
                Act::Think(text) => tell(SessionUpdate::AgentThoughtChunk(chunk(text))),
                Act::Sleep(time) => tokio::time::sleep(time).await,
                Act::Tokens { count, each } => {
                    for n in 1..=count {
                        tokio::time::sleep(each).await;
                        say(format!(" {n}"));
                    }
                }
                Act::Tool { name, input } => {
                    if shared.mode == Mode::Asks && !may(request, client).await {
                        say("I may not".into());
                        continue;
                    }
                    let id = format!("call-{n}-{m}");
                    if shared.mode != Mode::Late {
                        tell(SessionUpdate::ToolCall(ToolCall::new(id.clone(), name.clone())));
                    }
                    let server = shared.tools.lock().unwrap().clone().unwrap();
                    let patience = if shared.mode == Mode::Impatient {
                        Duration::from_secs(1)
                    } else {
                        Duration::from_secs(3_600)
                    };
                    calls.spawn(async move {
                        let result = server.call(&name, input.text(), patience).await;
                        (id, result)
                    });
                }
            }
        }
        if !late.is_empty() {
            tokio::time::sleep(MOMENT).await;
            late.into_iter().for_each(say);
        }
        while let Some(result) = calls.join_next().await {
            let (id, result) = result.unwrap();
            let done = ToolCallUpdateFields::new().status(ToolCallStatus::Completed);
            tell(SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id, done)));
            say(format!("<{result}>"));
        }
    }
}

/// Writes this again and again, past the library, which would take all of it into its memory.
fn pour(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    while out.write_all(bytes).is_ok() {}
}

fn chunk(text: String) -> ContentChunk {
    ContentChunk::new(ContentBlock::Text(TextContent::new(text)))
}

/// A child that nobody waits for.
fn child() -> String {
    let child = tokio::process::Command::new("sleep").arg("3600").spawn().unwrap();
    child.id().unwrap().to_string()
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
        Some("ENVIRONMENT") => std::env::vars()
            .map(|(name, value)| format!("{name}={value};"))
            .collect(),
        Some("STARTED") => STARTED.clone(),
        Some("CHILD") => child(),
        Some(name) => std::env::var(name).unwrap_or_default(),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}
