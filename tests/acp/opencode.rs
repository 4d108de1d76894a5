//! opencode, where it is installed: a real agent of the generic lane, its model a scripted server.

use std::path::{Path, PathBuf};

use anyhow::Result;
use perennial_tests::models::{ModelServer, Vendor};
use serde_json::json;

use crate::bench::{Bench, results, said, shown, spoke};

fn installed() -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("harnesses/opencode/node_modules");
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let binary = modules.join(format!("opencode-linux-{arch}-baseline/bin/opencode"));
    let binary = if binary.exists() {
        binary
    } else {
        modules.join(format!("opencode-linux-{arch}/bin/opencode"))
    };
    binary.exists().then_some(binary)
}

/// Its configuration: our model, and none of its own tools.
fn config(base_url: &str) -> String {
    let model = json!({"name": "scripted", "tool_call": true, "limit": {"context": 100_000, "output": 4_096}});
    json!({
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": false, "share": "disabled", "model": "scripted/some-model", "small_model": "scripted/some-model",
        "provider": {"scripted": {"npm": "@ai-sdk/openai-compatible", "name": "scripted",
            "options": {"baseURL": base_url, "apiKey": "{key}"}, "models": {"some-model": model}}},
        "tools": {"bash": false, "edit": false, "write": false, "read": false, "grep": false, "glob": false, "list": false,
            "patch": false, "todowrite": false, "todoread": false, "webfetch": false, "task": false, "skill": false},
    })
    .to_string()
}

#[tokio::test]
async fn opencode_uses_our_tools_and_is_told_the_past() -> Result<()> {
    let Some(binary) = installed() else {
        // Optional: its package is large, and our own agent proves the lane.
        println!("NOT RUN: opencode is not installed in tests/harnesses/opencode (npm i opencode-ai@1.18.33)");
        return Ok(());
    };
    let model = ModelServer::start_as(Vendor::OpenAi, perennial_rehearsal::Manner::default()).await?;
    let mut bench = Bench::with("opencode", binary.canonicalize()?, model.base_url());
    bench.set(|settings| settings.arguments = vec!["acp".into()]);
    bench.variable("OPENCODE_CONFIG_CONTENT", &config("{base_url}"));
    bench.variable("OPENCODE_DISABLE_MODELS_FETCH", "1");
    let mut messages = vec![said(
        "please:\n/say looking\n/tool bash {\"command\":\"ls\"}\n/then\n/say done",
    )];
    let first = bench.think(&messages).await?;
    let told = shown(&first);
    assert!(
        told.contains("looking") && told.ends_with(r#"bash{"command":"ls"}"#),
        "{told}"
    );
    messages.extend([spoke(&first), results(&first)]);
    let second = bench.think(&messages).await?;
    assert_eq!(shown(&second), "done");
    messages.extend([spoke(&second), said("/say again")]);
    let third = bench.think(&messages).await?;
    assert_eq!(shown(&third), "again");
    assert_eq!(model.violations(), Vec::<String>::new());
    let requests = model.requests();
    let last = &requests.last().expect("a request").raw;
    assert!(
        last.contains("bash-0") && last.contains("you used the tool bash"),
        "{last}"
    );
    Ok(())
}
