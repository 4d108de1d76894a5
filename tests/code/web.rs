//! `web_fetch`: offered to who asks for it, and going nowhere it should not.

use anyhow::{Result, ensure};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use perennial_tests::client::id;
use serde_json::{Value, json};

use crate::house::{House, result};

#[tokio::test]
async fn a_page_is_fetched_and_this_hosts_own_are_not() -> Result<()> {
    let house = House::start().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let app = Router::new().route("/", get(async || Html("<h1>Hello</h1><script>no()</script>")));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let client = house.client()?;
    let toolset = |configs: Value| json!([{"type": "agent_toolset_20260401", "configs": configs}]);
    let body =
        json!({"name": "a", "model": "rehearsal-1", "tools": toolset(json!([{"name": "web_fetch", "enabled": true}]))});
    let agent = id(&client.post("/v1/agents", &body).await?.ok()?)?;
    let (without, environment) = client.agent_and_environment("rehearsal-1").await?;
    let session = client.session(&agent, &environment).await?;
    let fetch = async |url: &str| -> Result<String> {
        let events = house
            .turn(&session, &format!("/tool web_fetch {}", json!({"url": url})))
            .await?;
        Ok(result(&events).unwrap_or_default())
    };
    let told = fetch(&format!("http://page.test:{port}/")).await?;
    ensure!(told.contains("HTTP 200") && told.ends_with("Hello"), "{told}");
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://a@page.test/".into(),
        "file:///etc/passwd".into(),
    ] {
        let told = fetch(&url).await?;
        ensure!(
            told.contains("was not fetched") && !told.contains("Hello"),
            "{url}: {told}"
        );
    }
    // Where an environment is limited, its hosts are all there is.
    let limited = json!({"name": "limited", "config": {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["other.test"]}}});
    let limited = id(&client.post("/v1/environments", &limited).await?.ok()?)?;
    let session = client.session(&agent, &limited).await?;
    let events = house
        .turn(
            &session,
            &format!(
                "/tool web_fetch {}",
                json!({"url": format!("http://page.test:{port}/")})
            ),
        )
        .await?;
    let told = result(&events).unwrap_or_default();
    ensure!(told.contains("not among the hosts"), "{told}");
    // Who did not ask for it does not have it.
    let session = client.session(&without, &environment).await?;
    let events = house
        .turn(&session, "/tool web_fetch {\"url\":\"http://page.test/\"}")
        .await?;
    ensure!(
        !result(&events).unwrap_or_default().contains("was not fetched"),
        "{events:?}"
    );
    serving.abort();
    Ok(())
}
