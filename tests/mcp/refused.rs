//! Servers that are not reached: the turn goes on without them, and says which and why. Nothing but the web is reached (S8).

use anyhow::{Context, Result, ensure};
use perennial_tests::not_run;
use serde_json::{Value, json};

use crate::rig::{House, NO_PYTHON, Somebody, of, one, python, said};

/// Whether a turn said so and went on all the same.
fn check(log: &[Value], kind: &str, reason: &str) -> Result<()> {
    let error = &one(log, "session.error")?["error"];
    ensure!(error["type"] == kind && error["mcp_server_name"] == "docs", "{error}");
    let message = error["message"].as_str().unwrap_or_default();
    ensure!(message.contains(reason), "{reason:?} is not said: {message}");
    ensure!(
        one(log, "agent.message")?["content"][0]["text"]
            .to_string()
            .contains("still here"),
        "{log:#?}"
    );
    let idle = one(log, "session.status_idle")?;
    ensure!(idle["stop_reason"]["type"] == "end_turn", "{idle}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_costs_its_tools_and_nothing_else() -> Result<()> {
    if python().is_none() {
        return not_run(NO_PYTHON);
    }
    let (house, somebody) = (House::start().await?, Somebody::start("MODERN").await?);
    let url = somebody.url();
    somebody.put("closed", "")?;
    let session = house.session(&url).await?;
    let log = house.turn(&session, "/say still here").await?;
    check(&log, "mcp_authentication_failed_error", "refuses us")?;
    somebody.take("closed")?;
    let session = house.session(&url).await?;
    let log = house.turn(&session, "/tool docs__echo {\"text\":\"a\"}").await?;
    ensure!(said(one(&log, "agent.mcp_tool_result")?) == "echo: a");

    // Gone in mid-session: what is asked of it did not run, and the next session is told at once.
    let folder = somebody.stop().await?;
    let log = house.turn(&session, "/tool docs__echo {\"text\":\"b\"}").await?;
    let results = [of(&log, "agent.mcp_tool_result"), of(&log, "agent.tool_result")].concat();
    ensure!(results.len() == 1 && results[0]["is_error"] == true, "{log:#?}");
    let session = house.session(&url).await?;
    let log = house.turn(&session, "/say still here").await?;
    check(&log, "mcp_connection_failed_error", "is not reached")?;
    drop(folder);
    Ok(())
}

#[tokio::test]
async fn only_the_web_is_reached() -> Result<()> {
    if python().is_none() {
        return not_run(NO_PYTHON);
    }
    let (house, somebody) = (House::start().await?, Somebody::start("MODERN").await?);
    let port = somebody.port();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.0.1",
        "198.18.0.1",
        "240.0.0.1",
        "mcp.test@127.0.0.1",
        "127.0.0.1#@mcp.test",
        "127.0.0.1\\\\@mcp.test",
        "mcp.test%00.127.0.0.1",
        "no.such.name.test",
    ];
    let mut checked = 0;
    for host in hosts {
        let session = house.session(&format!("http://{host}:{port}/mcp")).await?;
        let log = house.turn(&session, "/say still here").await?;
        check(&log, "mcp_connection_failed_error", "is not reached").with_context(|| host.to_owned())?;
        checked += 1;
    }
    // A public address, on a port where no web server is.
    let session = house.session("http://1.1.1.1:25/mcp").await?;
    check(
        &house.turn(&session, "/say still here").await?,
        "mcp_connection_failed_error",
        "port 25",
    )?;
    ensure!(somebody.requests()? == 0, "something got through");
    println!(
        "\nS8: {} addresses that are not of the web, 0 requests got through",
        checked + 1
    );
    Ok(())
}

#[tokio::test]
async fn an_environments_networking_holds_for_servers_too() -> Result<()> {
    if python().is_none() {
        return not_run(NO_PYTHON);
    }
    let (house, somebody) = (House::start().await?, Somebody::start("MODERN").await?);
    let allow = json!({"default_config": {"permission_policy": {"type": "always_allow"}}});
    let networking = |more: Value| {
        let mut networking = json!({"type": "limited"});
        for (name, value) in more.as_object().into_iter().flatten() {
            networking[name] = value.clone();
        }
        json!({"type": "cloud", "networking": networking})
    };
    let session = house
        .session_in(&networking(json!({})), &somebody.url(), &allow)
        .await?;
    let log = house.turn(&session, "/say still here").await?;
    check(&log, "mcp_connection_failed_error", "networking.allow_mcp_servers")?;
    ensure!(somebody.requests()? == 0);
    for more in [
        json!({"allow_mcp_servers": true}),
        json!({"allowed_hosts": ["mcp.test"]}),
    ] {
        let session = house.session_in(&networking(more), &somebody.url(), &allow).await?;
        let log = house.turn(&session, "/tool docs__echo {\"text\":\"a\"}").await?;
        ensure!(said(one(&log, "agent.mcp_tool_result")?) == "echo: a", "{log:#?}");
    }
    Ok(())
}
