//! Through the whole house: the gateway of `perennial up`, with keys from everywhere, and none of them anywhere.

use std::time::Duration;

use anyhow::{Result, ensure};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::Up;
use serde_json::{Value, json};

use crate::rig::holds;

const PATIENCE: Duration = Duration::from_secs(60);
const ANTHROPIC: &str = "sk-ant-canary-of-the-environment-01";
const LOCAL: &str = "sk-local-canary-of-a-file-0000000002";

#[tokio::test]
async fn keys_of_providers_stay_in_the_gateway() -> Result<()> {
    let anthropic = ModelServer::start(Vendor::Anthropic).await?;
    let local = ModelServer::start(Vendor::OpenAi).await?;
    let dir = tempfile::tempdir()?;
    let key_file = dir.path().join("local.key");
    std::fs::write(&key_file, LOCAL)?;
    let config = dir.path().join("perennial.toml");
    let text = format!(
        "[providers.local]\nwire = 'responses'\nbase_url = '{}'\napi_key_file = '{}'\n",
        local.base_url(),
        key_file.display()
    );
    std::fs::write(&config, text)?;
    let data = dir.path().join("data");
    let up = Up::on(&data)
        .env("ANTHROPIC_API_KEY", ANTHROPIC)
        .env("ANTHROPIC_BASE_URL", anthropic.base_url())
        .env("PERENNIAL_LOG", "debug")
        .env("PERENNIAL_CONFIG", &config.display().to_string());
    let server = up.start().await?;

    let mut seen = Vec::new();
    for model in ["claude-scripted", "local/gpt-scripted"] {
        let (agent, environment) = server.client.agent_and_environment(model).await?;
        let session = server.client.session(&agent, &environment).await?;
        let script = "/say one\n/tool bash {\"command\":\"env; cat /proc/self/environ /proc/1/environ 2>/dev/null | tr '\\\\0' '\\\\n'\"}\n/say done";
        server.client.say(&session, script).await?;
        let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
        let told = serde_json::to_string(&events)?;
        ensure!(told.contains("done"), "{told}");
        seen.push(told);
    }

    // A key of this server is let in; the scripted model is there without any provider.
    for (path, body) in [
        (
            "/llm/v1/messages",
            json!({"model": "claude-scripted", "max_tokens": 100, "stream": true,
            "messages": [{"role": "user", "content": "/say direct"}]}),
        ),
        (
            "/llm/local/v1/responses",
            json!({"model": "gpt-scripted", "stream": true, "store": false,
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "/say direct"}]}]}),
        ),
        (
            "/llm/rehearsal/v1/messages",
            json!({"model": "rehearsal-1", "max_tokens": 100,
            "messages": [{"role": "user", "content": "/say direct"}]}),
        ),
    ] {
        let request = server
            .client
            .request("POST", path)
            .header("anthropic-version", "2023-06-01");
        let answer = request.json(&body).send().await?;
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let text = answer.text().await?;
        ensure!(status == 200 && text.contains("direct"), "{path}: {status} {text}");
        seen.extend([headers, text]);
    }
    let models: Value = server.client.get("/llm/rehearsal/v1/models").await?.ok()?;
    assert_eq!(models["data"][0]["id"], "rehearsal-1");
    let nobody = reqwest::Client::new();
    let url = format!("{}/llm/v1/models", server.url);
    assert_eq!(nobody.get(url).send().await?.status(), 401);

    for (server, key) in [(&anthropic, ANTHROPIC), (&local, LOCAL)] {
        let requests = server.requests();
        ensure!(!requests.is_empty());
        for request in &requests {
            ensure!(
                format!("{:?}", request.headers).contains(key),
                "the provider gets its key"
            );
            ensure!(!format!("{:?}", request.headers).contains("pk_"), "and no other");
        }
    }
    server.stop(PATIENCE).await?;
    for key in [ANTHROPIC, LOCAL] {
        ensure!(!seen.iter().any(|text| text.contains(key)), "a caller saw {key}");
        ensure!(!holds(&data, key.as_bytes()), "{key} is in the data directory");
        ensure!(!up.log().contains(key), "{key} is in the log");
    }
    Ok(())
}
