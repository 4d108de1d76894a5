//! `perennial rehearsal` = the vendors' APIs with the rehearsal model behind them, on a port.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use clap::Args;
use perennial_rehearsal::script;
use perennial_rehearsal::server::{Outcome, Received, Server, Settings, Watch};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::exit::Exit;
use crate::house::Signals;
use crate::output;
use crate::render::sanitize;

/// Serve a scripted model on the vendors' APIs: to try an SDK, a harness or your own code without a key.
///
/// Speaks Anthropic Messages, OpenAI Responses and OpenAI Chat Completions. The model plays the script in the newest
/// prompt, one command a line; a request that a vendor would refuse is refused as the vendor would. Every request is told
/// on stderr, or with --json on stdout.
#[derive(Debug, Default, Args)]
pub struct RehearsalArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7341")]
    pub listen: String,
    /// Refuse what a vendor would refuse (the default)
    #[arg(long, overrides_with = "lenient")]
    pub strict: bool,
    /// Answer everything that can be answered, and only tell what a vendor would refuse
    #[arg(long)]
    pub lenient: bool,
    /// Append every request with its body to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Serves until it is told to stop (SIGINT, SIGTERM).
pub async fn run(args: RehearsalArgs, json: bool) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let listener = TcpListener::bind(&args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let reporter = Reporter {
        json,
        record: args.record.as_deref().map(open).transpose()?.map(Mutex::new),
    };
    let settings = Settings {
        strict: !args.lenient,
        watch: Some(Arc::new(reporter)),
        ..Settings::default()
    };
    let server = Server::start(listener, settings)?;
    output::raw(&greeting(&server.origin(), args.lenient, json))?;
    tokio::select! {
        ended = server.ended() => ended?,
        () = signals.stop() => {}
    }
    Ok(Exit::Done)
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.with_context(|| format!("cannot write to {}", path.display()))
}

fn greeting(origin: &str, lenient: bool, json: bool) -> String {
    if json {
        let listening = json!({"type": "listening", "anthropic_base_url": origin,
            "openai_base_url": format!("{origin}/v1"), "strict": !lenient});
        return format!("{listening}\n");
    }
    let manner = if lenient { ", lenient" } else { "" };
    format!(
        "perennial {} rehearsal on {origin}{manner}\n\n  \
         export ANTHROPIC_BASE_URL={origin} ANTHROPIC_API_KEY=rehearsal\n  \
         export OPENAI_BASE_URL={origin}/v1 OPENAI_API_KEY=rehearsal\n\n\
         Any model and any key will do. The newest prompt is the script, one command a line:\n  {}\n",
        env!("CARGO_PKG_VERSION"),
        script::USAGE
    )
}

/// Tells of each request.
struct Reporter {
    json: bool,
    record: Option<Mutex<File>>,
}

impl Watch for Reporter {
    fn seen(&self, received: &Received, outcome: &Outcome) {
        if self.json {
            // Nobody reads any more: that is no reason to stop serving.
            output::line(&told(received, outcome).to_string()).ok();
        } else {
            output::note(&line(received, outcome));
        }
        if let Some(record) = &self.record {
            let mut told = told(received, outcome);
            told["body"] = received.body.clone();
            let mut file = record.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = writeln!(file, "{told}") {
                output::note(&format!("perennial: a request is not recorded: {error}"));
            }
        }
    }
}

/// Messages of a request, or items.
fn length(body: &Value) -> usize {
    let parts = [&body["messages"], &body["input"]];
    parts.into_iter().find_map(Value::as_array).map_or(1, Vec::len)
}

fn told(received: &Received, outcome: &Outcome) -> Value {
    json!({
        "type": "request",
        "at": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "path": received.path,
        "model": received.body["model"],
        "messages": length(&received.body),
        "stream": received.body["stream"] == true,
        "status": outcome.status,
        "violation": outcome.violation,
    })
}

fn line(received: &Received, outcome: &Outcome) -> String {
    let problem = outcome.violation.as_deref().unwrap_or_default();
    let line = format!(
        "{} {} {}, {} messages: {} {problem}",
        chrono::Local::now().format("%H:%M:%S"),
        received.path,
        received.body["model"].as_str().unwrap_or("no model"),
        length(&received.body),
        outcome.status,
    );
    sanitize(line.trim_end()).replace('\n', " ")
}
