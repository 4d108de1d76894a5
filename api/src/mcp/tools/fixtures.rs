//! What the protocol's own suite expects of a server under test. Never in a release, and only where `PERENNIAL_TEST_MCP_FIXTURES` is set.

use perennial_router::mcp::{McpAsked, McpOffer};
use perennial_schema::content::{Block, Source};
use perennial_schema::tool::{Effect, Outcome};
use serde_json::json;

/// A red dot.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const NAMES: [&str; 4] = [
    "test_simple_text",
    "test_image_content",
    "test_error_handling",
    "test_tool_with_progress",
];

fn wanted() -> bool {
    std::env::var_os("PERENNIAL_TEST_MCP_FIXTURES").is_some()
}

pub(crate) fn offers() -> Vec<McpOffer> {
    let offer = |name: &str| McpOffer {
        name: name.to_owned(),
        description: "For the protocol's own suite.".to_owned(),
        input_schema: json!({"type": "object", "properties": {}}),
        effect: Effect::Read,
    };
    NAMES.into_iter().filter(|_| wanted()).map(offer).collect()
}

pub(crate) async fn call(asked: &McpAsked) -> Option<Outcome> {
    if !wanted() {
        return None;
    }
    match asked.tool.as_str() {
        "test_simple_text" => Some(Outcome::text("This is a simple text response for testing.", false)),
        "test_image_content" => Some(Outcome {
            content: vec![Block::Image {
                source: Source::Base64 {
                    media_type: "image/png".to_owned(),
                    data: PNG.to_owned(),
                },
            }],
            ..Outcome::text("", false)
        }),
        "test_error_handling" => Some(Outcome::text(
            "This tool intentionally returns an error for testing",
            true,
        )),
        "test_tool_with_progress" => {
            for step in ["begun", "half", "done"] {
                asked.progress.tell(step.to_owned()).await;
            }
            Some(Outcome::text("done", false))
        }
        _ => None,
    }
}
