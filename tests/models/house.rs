//! Through the whole house: `perennial up` with a provider's key, against the scripted vendors.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use perennial_tests::models::ModelServer;
use perennial_tests::server::Up;
use serde_json::Value;

use crate::support::{KEY, VENDORS, Vendor, model_of};

const PATIENCE: Duration = Duration::from_secs(60);
const FIRST: &str = "/say at work\n/tool bash {\"command\":\"echo one\"}\n/tool bash {\"command\":\"exit 3\"}\n\
                     /tool no_such_tool {}\n/then\n/fail 529\n/tool bash {\"command\":\"echo two\"}\n/say first done";
const SECOND: &str = "/tool bash {\"command\":\"echo three\"}\n/say second done";

/// A server that knows this vendor only.
pub(crate) fn up(vendor: Vendor, dir: &Path, models: &ModelServer) -> Result<Up> {
    let up = Up::on(&dir.join("data"));
    Ok(match vendor {
        Vendor::Anthropic => up
            .env("ANTHROPIC_API_KEY", KEY)
            .env("ANTHROPIC_BASE_URL", models.base_url()),
        Vendor::OpenAi => up.env("OPENAI_API_KEY", KEY).env("OPENAI_BASE_URL", models.base_url()),
        Vendor::Chat => {
            let config = dir.join("perennial.toml");
            let provider = format!("[providers.chat]\nwire = 'chat'\nbase_url = '{}'\n", models.base_url());
            std::fs::write(&config, provider)?;
            up.env("PERENNIAL_CONFIG", &config.to_string_lossy())
                .env("PERENNIAL_PROVIDER_CHAT_KEY", KEY)
        }
    })
}

fn says(events: &[Value], text: &str) -> bool {
    events
        .iter()
        .any(|event| event["type"] == "agent.message" && event["content"][0]["text"] == text)
}

#[tokio::test]
async fn a_session_on_a_vendors_model_survives_its_server() -> Result<()> {
    for vendor in VENDORS {
        let models = ModelServer::start(vendor.origin()).await?;
        let dir = tempfile::tempdir()?;
        let up = up(vendor, dir.path(), &models)?;

        let server = up.start().await?;
        let (agent, environment) = server.client.agent_and_environment(model_of(vendor)).await?;
        let session = server.client.session(&agent, &environment).await?;
        server.client.say(&session, FIRST).await?;
        let (events, seq) = server.client.until_idle(&session, 0, PATIENCE).await?;
        ensure!(says(&events, "at work") && says(&events, "first done"), "{events:#?}");
        server.kill().await?;

        // What must go back unchanged now comes from the log.
        let server = up.start().await?;
        server.client.say(&session, SECOND).await?;
        let (events, _) = server.client.until_idle(&session, seq, PATIENCE).await?;
        ensure!(says(&events, "second done"), "{events:#?}");

        assert_eq!(models.violations(), Vec::<String>::new(), "{vendor:?}");
        let requests = models.requests();
        assert_eq!(requests.len(), 6, "{vendor:?}: three, one of them twice, and two");
        let last = &requests.last().context("no request")?.raw;
        for result in ["one", "two", "three"] {
            ensure!(last.contains(result), "{vendor:?}: {last}");
        }
        ensure!(!up.log().contains(KEY), "the key is in the log");
    }
    Ok(())
}
