//! Repositories of a session: there before its first call, and their token nowhere.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::house::{House, errors, has, result, script};
use perennial_tests::git::{GitServer, TOKEN};

fn repository(url: &str, more: &Value) -> Value {
    let mut whole = json!({"type": "github_repository", "url": url, "authorization_token": TOKEN});
    for (key, value) in more.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    json!([whole])
}

fn local() -> Value {
    json!({"type": "local"})
}

#[tokio::test]
async fn a_repository_is_there_before_the_first_call_and_its_token_nowhere() -> Result<()> {
    let (mut house, remote) = (House::start().await?, GitServer::start().await?);
    remote.repository("project")?;
    let url = format!("{}/project.git", remote.url);
    let config = json!({"type": "local", "setup": "cp project/second copied"});
    let session = house.session(&config, &repository(&url, &json!({}))).await?;
    let path = format!("/v1/sessions/{session}");
    let shown = house.client()?.get(&path).await?.ok()?;
    ensure!(
        shown["resources"][0]["url"] == url.as_str() && shown["resources"][0]["mount_path"] == "/workspace/project"
    );
    ensure!(!shown["resources"].to_string().contains("token"), "{shown}");
    let told = house
        .bash(
            &session,
            "cd project && cat first second ../copied && git log --format=%s && git status --short && env",
        )
        .await?;
    ensure!(told.starts_with("1\n2\n2\nsecond\nfirst\n"), "{told}");
    let config = house.bash(&session, "cat .git/config; ls -a ..").await?;
    ensure!(
        config.contains(&url) && !config.contains(".cloning") && !config.contains("helper"),
        "{config}"
    );
    // Asked for without the token, it is not there: nothing of it stayed.
    let pull = house.bash(&session, "GIT_TERMINAL_PROMPT=0 git pull 2>&1").await?;
    ensure!(
        pull.contains("could not read Username") || pull.contains("terminal prompts disabled"),
        "{pull}"
    );
    let told = remote.shown.lock().unwrap().clone();
    ensure!(!told.is_empty(), "nobody showed the token");
    house.killed().await?;
    house.bash(&session, "rm -rf project").await?;
    let told = house.bash(&session, "ls").await?;
    ensure!(told.contains("copied"), "{told}");
    let everything = house.everything(&session).await?;
    ensure!(!has(&everything, TOKEN), "the token is kept somewhere");
    Ok(())
}

#[tokio::test]
async fn a_branch_or_a_commit_can_be_asked_for() -> Result<()> {
    let (house, remote) = (House::start().await?, GitServer::start().await?);
    let (first, hidden) = remote.repository("project")?;
    let url = format!("{}/project.git", remote.url);
    for (checkout, expected) in [
        (
            json!({"type": "branch", "name": "other"}),
            "first\nsecond\nthird\n".to_owned(),
        ),
        (json!({"type": "commit", "sha": first}), "first\n".to_owned()),
        (
            json!({"type": "commit", "sha": hidden}),
            "first\nhidden\nsecond\nthird\n".to_owned(),
        ),
    ] {
        let more = json!({"checkout": checkout, "mount_path": "/workspace/deep/down"});
        let session = house.session(&local(), &repository(&url, &more)).await?;
        let told = house.bash(&session, "ls deep/down").await?;
        ensure!(told == expected, "{checkout}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_clone_that_fails_is_told_and_its_token_is_not() -> Result<()> {
    let (house, remote) = (House::start().await?, GitServer::start().await?);
    remote.repository("project")?;
    let url = format!("{}/project.git", remote.url);
    let wrong = json!({"authorization_token": "wrong-token-0123"});
    let session = house.session(&local(), &repository(&url, &wrong)).await?;
    let events = house.turn(&session, &script("echo ran")).await?;
    let told = result(&events).unwrap_or_default();
    ensure!(told.contains(&url) && told.contains("Authentication failed"), "{told}");
    ensure!(errors(&events).len() == 1, "{events:?}");
    let more = json!({"checkout": {"type": "branch", "name": "no-such"}});
    let session = house.session(&local(), &repository(&url, &more)).await?;
    let told = house.bash(&session, "echo ran").await?;
    ensure!(told.contains("no-such"), "{told}");
    // What is there already is not touched.
    let folder = house.folder("shared")?;
    std::fs::create_dir_all(folder.join("project"))?;
    std::fs::write(folder.join("project/mine"), "mine")?;
    let session = house
        .session(&json!({"type": "local", "dir": folder}), &repository(&url, &json!({})))
        .await?;
    let told = house.bash(&session, "echo ran").await?;
    ensure!(told.contains("not touched"), "{told}");
    ensure!(
        std::fs::read_dir(&folder)?.count() == 1 && std::fs::read_to_string(folder.join("project/mine"))? == "mine"
    );
    ensure!(!has(&house.everything(&session).await?, TOKEN));
    Ok(())
}

#[tokio::test]
async fn a_token_is_for_its_host_alone() -> Result<()> {
    let (house, first, second) = (
        House::start().await?,
        GitServer::start().await?,
        GitServer::start().await?,
    );
    second.repository("project")?;
    let port = second.url.rsplit(':').next().unwrap_or_default();
    let url = format!("{}/to/{port}/project.git", first.url);
    let session = house.session(&local(), &repository(&url, &json!({}))).await?;
    let told = house.bash(&session, "echo ran").await?;
    ensure!(told.contains("could not be cloned"), "{told}");
    ensure!(
        second.shown.lock().unwrap().is_empty(),
        "the token went to another host"
    );
    Ok(())
}

#[tokio::test]
async fn addresses_and_places_that_could_be_something_else_are_refused() -> Result<()> {
    let house = House::start().await?;
    let client = house.client()?;
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    for (field, resource) in [
        ("url", json!({"url": "--upload-pack=sh"})),
        ("url", json!({"url": "ext::sh -c id"})),
        ("url", json!({"url": "file:///etc"})),
        ("url", json!({"url": "https://me:pw@example.com/a"})),
        ("mount_path", json!({"mount_path": "/etc/x"})),
        ("mount_path", json!({"mount_path": "../x"})),
        ("mount_path", json!({"mount_path": "a/.git/hooks"})),
        ("checkout", json!({"checkout": {"type": "branch", "name": "--orphan"}})),
        ("checkout", json!({"checkout": {"type": "commit", "sha": "HEAD;id"}})),
        ("authorization_token", json!({"authorization_token": "a\nb"})),
    ] {
        let resources = repository("https://example.com/a.git", &resource);
        let body = json!({"agent": agent, "environment_id": environment, "resources": resources});
        let answer = client.post("/v1/sessions", &body).await?;
        ensure!(
            answer.status == 400 && answer.body.to_string().contains(&format!("resources[0].{field}")),
            "{resource}: {:?}",
            answer.body
        );
    }
    Ok(())
}
