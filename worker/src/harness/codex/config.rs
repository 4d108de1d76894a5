//! What Codex is told: a configuration for the process, and one for each thread.

use std::path::Path;

use perennial_engine::ports::ToolSpec;
use serde_json::{Value, json};
use uuid::Uuid;

/// The provider of all threads; where it is differs from thread to thread.
pub(super) const PROVIDER: &str = "perennial";
/// The catalogue's file in the home.
pub(super) const CATALOGUE: &str = "catalogue.json";
/// The configuration's file in the home.
pub(super) const FILE: &str = "config.toml";

/// Off by name, because they would add tools, prompts, files or requests of their own (measured with 0.169.0; what a version
/// does not know, it ignores).
const OFF: [&str; 23] = [
    "apps",
    "browser_use",
    "code_mode_host",
    "computer_use",
    "daemon_auto_start",
    "enable_request_compression",
    "goals",
    "hooks",
    "image_generation",
    "memories",
    "multi_agent",
    "plugins",
    "remote_plugin",
    "shell_snapshot",
    "shell_tool",
    "skill_search",
    "sleep_tool",
    "tool_suggest",
    "unbounded_connection_retries",
    "unified_exec",
    "unified_image_budget",
    "view_image",
    "workspace_dependencies",
];

/// The process's `config.toml`. `home` is where the process sees its home.
pub(super) fn process(home: &Path) -> String {
    let catalogue = json!(home.join(CATALOGUE));
    let off: String = OFF.iter().map(|feature| format!("{feature} = false\n")).collect();
    // The log is the conversation: nothing is cut, summarised or dropped behind its back. The default provider is nowhere:
    // each thread brings its own.
    format!(
        r#"model_catalog_json = {catalogue}
model_provider = "{PROVIDER}"
approval_policy = "never"
sandbox_mode = "read-only"
web_search = "disabled"
check_for_update_on_startup = false
include_permissions_instructions = false
include_apps_instructions = false
include_environment_context = false
include_collaboration_mode_instructions = false
project_doc_max_bytes = 0
tool_output_token_limit = 1000000000
model_context_window = 1000000000
model_auto_compact_token_limit = 1000000000
[analytics]
enabled = false
[model_providers.{PROVIDER}]
name = "{PROVIDER}"
base_url = "http://127.0.0.1:9/nowhere"
wire_api = "responses"
[skills]
include_instructions = false
[agents]
enabled = false
[tools.experimental_request_user_input]
enabled = false
[features]
{off}"#
    )
}

/// What a thread is resumed with.
#[derive(Debug)]
pub(super) struct Resume<'a> {
    pub(super) thread: Uuid,
    pub(super) rollout: &'a Path,
    pub(super) work: &'a Path,
    pub(super) system: Option<&'a str>,
    pub(super) model: &'a str,
    pub(super) base_url: &'a str,
}

/// The parameters of `thread/resume`. The turn loop retries, and logs that it does; it also decides how long a silence is.
pub(super) fn resume(resume: &Resume<'_>) -> Value {
    let provider = json!({
        "name": PROVIDER,
        "base_url": resume.base_url,
        "wire_api": "responses",
        "request_max_retries": 0,
        "stream_max_retries": 0,
        "stream_idle_timeout_ms": 86_400_000,
    });
    json!({
        "threadId": resume.thread,
        "path": resume.rollout,
        "cwd": resume.work,
        "baseInstructions": resume.system.unwrap_or_default(),
        "model": resume.model,
        "modelProvider": PROVIDER,
        "excludeTurns": true,
        "config": {"model_providers": {PROVIDER: provider}},
    })
}

/// The parameters of `turn/start`: go on from the history, without any environment.
pub(super) fn turn(thread: Uuid, effort: Option<&str>) -> Value {
    let mut turn = json!({"threadId": thread, "input": [], "environments": []});
    if let Some(effort) = effort {
        turn["effort"] = json!(effort);
    }
    turn
}

/// Our tools, as a rollout's head names them.
pub(super) fn tools(tools: &[ToolSpec]) -> Value {
    let tool = |tool: &ToolSpec| {
        json!({
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "inputSchema": tool.input_schema,
        })
    };
    tools.iter().map(tool).collect()
}
