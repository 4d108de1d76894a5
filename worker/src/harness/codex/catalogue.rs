//! Which models Codex knows, and how it speaks to them: its own catalogue, with everything off that would hide tools from
//! the log (measured with 0.169.0).
//!
//! Most models there are in code mode, in which the model writes scripts that call tools under ids of their own; others hide
//! tools behind a search, or patch files by themselves. In direct mode each call of the model is one call of ours, under its
//! id. A model that the catalogue does not name is in direct mode anyway.

use perennial_engine::ports::ModelError;
use serde_json::{Map, Value, json};

use crate::harness::fault;

/// The catalogue to be used, from the program's own.
pub(super) fn direct(own: &[u8]) -> Result<String, ModelError> {
    let unknown = || fault::setup("Codex has a catalogue of models of a shape that is not known here");
    let mut catalogue: Value = serde_json::from_slice(own).map_err(|_| unknown())?;
    let models = catalogue["models"].as_array_mut().ok_or_else(unknown)?;
    for model in models {
        model.as_object_mut().ok_or_else(unknown)?.extend(changes());
    }
    Ok(catalogue.to_string())
}

fn changes() -> Map<String, Value> {
    let changes = json!({
        "tool_mode": "direct",
        "use_responses_lite": false,
        "supports_search_tool": false,
        "apply_patch_tool_type": null,
        "multi_agent_version": null,
        "experimental_supported_tools": [],
        "shell_type": "disabled",
    });
    match changes {
        Value::Object(changes) => changes,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_calls_our_tools_and_nothing_else_changes() {
        let own = json!({"models": [
            {"slug": "a", "tool_mode": "code_mode_only", "context_window": 7, "shell_type": "unified_exec"},
            {"slug": "b"},
        ]});
        let ours: Value = serde_json::from_str(&direct(own.to_string().as_bytes()).unwrap()).unwrap();
        for model in ours["models"].as_array().unwrap() {
            assert_eq!(
                (&model["tool_mode"], &model["shell_type"]),
                (&json!("direct"), &json!("disabled"))
            );
            assert_eq!(model["apply_patch_tool_type"], Value::Null);
        }
        assert_eq!(
            (&ours["models"][0]["slug"], &ours["models"][0]["context_window"]),
            (&json!("a"), &json!(7))
        );
        assert!(direct(b"{}").is_err() && direct(b"no").is_err());
    }
}
