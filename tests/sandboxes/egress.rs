//! What a sandbox reaches: the hosts that its environment allows, by its proxy, and nothing that is not public (S20).

use anyhow::{Result, ensure};
use axum::Router;
use axum::routing::get;
use perennial_tests::git::{GitServer, TOKEN};
use serde_json::{Value, json};

use crate::rig::Stand;
use perennial_tests::docker::IMAGE_GIT;

fn limited(hosts: &[&str]) -> Value {
    json!({"networking": {"type": "limited", "allowed_hosts": hosts}})
}

/// Status and reason of a tunnel that a program inside asks the proxy for.
fn tunnel(to: &str) -> String {
    format!(
        "exec 3<>/dev/tcp/127.0.0.1/${{http_proxy##*:}}; printf 'CONNECT {to} HTTP/1.1\\r\\nhost: {to}\\r\\n\\r\\n' >&3; timeout 5 cat <&3"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_reaches_the_hosts_it_may_and_no_other() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let app = Router::new().route("/", get(async || "served"));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let page = |host: &str| format!("wget -q -O - http://{host}:{port}/ 2>&1; echo; true");

    let made = stand
        .session(&limited(&["allowed.test", "127.0.0.1", "169.254.169.254", "localhost"]))
        .await?;
    let told = stand.bash(&made.session, &page("allowed.test")).await?;
    ensure!(told.starts_with("served"), "{told} {}", stand.up.log());
    for (to, status) in [
        (format!("allowed.test:{port}"), "200"),
        (format!("other.test:{port}"), "403"),
        (format!("127.0.0.1:{port}"), "403"),
        (format!("localhost:{port}"), "403"),
        (format!("[::1]:{port}"), "403"),
        (format!("2130706433:{port}"), "403"),
        ("169.254.169.254:80".into(), "403"),
        ("allowed.test.:bad".into(), "400"),
    ] {
        let command = match status {
            // It stays open: its first line is enough.
            "200" => tunnel(&to).replace("timeout 5 cat", "head -n 1"),
            _ => tunnel(&to),
        };
        let told = stand.bash(&made.session, &command).await?;
        ensure!(told.starts_with(&format!("HTTP/1.1 {status}")), "{to}: {told}");
    }
    let told = stand
        .bash(&made.session, &tunnel(&format!("other.test:{port}")))
        .await?;
    ensure!(told.contains("other.test is not among the hosts"), "{told}");
    // Past the proxy there is nothing, still.
    let told = stand
        .bash(
            &made.session,
            &format!("nc -w 1 127.0.0.1 {port} </dev/null 2>/dev/null && echo REACHED; ls /sys/class/net"),
        )
        .await?;
    ensure!(told == "lo\n", "{told}");

    // Nobody said so: nothing is allowed.
    let made = stand.session(&json!({})).await?;
    let told = stand.bash(&made.session, &page("allowed.test")).await?;
    ensure!(told.contains("403") && !told.contains("served"), "{told}");
    // Everything is everything that is public.
    let made = stand.session(&json!({"networking": {"type": "unrestricted"}})).await?;
    let told = stand.bash(&made.session, &page("allowed.test")).await?;
    ensure!(told.starts_with("served"), "{told}");
    for to in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "10.0.0.1:443".into(),
        "[fd00::1]:443".into(),
    ] {
        let told = stand.bash(&made.session, &tunnel(&to)).await?;
        ensure!(told.starts_with("HTTP/1.1 403"), "{to}: {told}");
    }
    serving.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_cloned_in_a_sandbox_and_its_token_is_not_there_afterwards() -> Result<()> {
    let Some(mut stand) = Stand::start().await? else {
        return Ok(());
    };
    let remote = GitServer::start().await?;
    remote.repository("project")?;
    let port = remote.url.rsplit(':').next().unwrap_or_default();
    let url = format!("http://allowed.test:{port}/project.git");
    let resources = json!([{"type": "github_repository", "url": url, "authorization_token": TOKEN}]);
    let mut config = limited(&["allowed.test"]);
    config["image"] = json!(IMAGE_GIT);
    config["setup"] = json!("cat project/first > done; echo ran >> ledger");
    config["variables"] = json!({"MODE": "test"});
    let made = stand.session_with(&config, &resources).await?;
    let told = stand
        .bash(
            &made.session,
            "cat done ledger; echo $MODE; cd project && git log --format=%s",
        )
        .await?;
    ensure!(told == "1\nran\ntest\nsecond\nfirst\n", "{told} {}", stand.up.log());
    // Spelt so that the search does not find itself.
    let spelt = TOKEN.replacen('0', "[0]", 1);
    let search = format!(
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | grep -c '{spelt}'; grep -rl '{spelt}' /sandbox /tmp 2>/dev/null"
    );
    let told = stand.bash(&made.session, &search).await?;
    ensure!(told.starts_with("0\n") && !told.contains("/sandbox"), "{told}");
    let container = stand.container(&made.session)?;
    ensure!(!container.to_string().contains(TOKEN));
    // Another life of server and container: it was done once.
    stand.kill().await?;
    stand.start_again().await?;
    let told = stand.bash(&made.session, "cat ~/ledger").await?;
    ensure!(told.ends_with("ran\n") && told.matches("ran").count() == 1, "{told}");
    // Out again.
    let diff = stand
        .client()
        .get(&format!("/v1/sessions/{}/diff", made.session))
        .await?
        .ok()?;
    ensure!(diff["files"] == json!([]) && diff["path"] == "project", "{diff}");
    stand.bash(&made.session, "echo more >> ~/project/first").await?;
    let diff = stand
        .client()
        .get(&format!("/v1/sessions/{}/diff", made.session))
        .await?
        .ok()?;
    ensure!(diff["files"][0]["path"] == "first", "{diff}");
    // What is not allowed is not cloned either, and that is said.
    let mut config = limited(&[]);
    config["image"] = json!(IMAGE_GIT);
    let made = stand.session_with(&config, &resources).await?;
    let told = stand.bash(&made.session, "echo ran").await?;
    ensure!(told.contains("could not be cloned") && told.contains("403"), "{told}");
    Ok(())
}
