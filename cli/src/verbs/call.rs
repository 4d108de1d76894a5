//! `perennial call EXECUTOR TOOL JSON`

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::executor;
use crate::client::Client;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Call a tool on a connected machine, without a model
///
/// Ends with what a command there exited with, and with 1 when another tool failed.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// The executor's id, or its name if no other has it
    executor: String,
    /// bash, read, write, edit, glob or grep
    tool: String,
    /// The tool's input, a JSON object
    #[arg(value_name = "JSON")]
    input: String,
    /// Absolute path of a folder there [default: the one that was connected]
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
}

#[derive(Deserialize)]
struct Called {
    is_error: bool,
    exit_code: Option<i32>,
    content: Vec<Value>,
}

/// Calls it; what the tool said goes to stdout.
pub async fn run(context: &Context, args: CallArgs) -> Result<Exit, Error> {
    let input: Value = serde_json::from_str(&args.input)
        .map_err(|error| Error::Usage(format!("the tool's input is not JSON: {error}")))?;
    // Nothing is heard until the tool is done.
    let client = Client::for_files(&context.settings)?;
    let id = executor::id_of(&client, &args.executor).await?;
    let mut body = json!({"tool": args.tool, "input": input});
    if let Some(dir) = args.dir {
        body["dir"] = json!(dir);
    }
    let answer = client.post(&format!("/v1/executors/{id}/calls"), &body).await?;
    let called: Called = answer.parse()?;
    if context.json {
        output::line(answer.text())?;
    } else {
        for block in &called.content {
            match block["text"].as_str() {
                Some(text) => output::line(&crate::render::sanitize(text.trim_end_matches('\n')))?,
                None => output::note("(a content block that is no text: --json shows it)"),
            }
        }
    }
    Ok(match called.exit_code.map(u8::try_from) {
        Some(Ok(0)) | None if !called.is_error => Exit::Done,
        Some(Ok(code)) => Exit::Command(code),
        Some(Err(_)) | None => Exit::Failed,
    })
}
