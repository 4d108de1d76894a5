//! A session leaves one server as a file and goes on at another, by the command line as people use it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::house::{House, PATIENCE, script, traces};

/// A verb against a server: its output, and what it told people.
async fn verb(up: &Up, server: &Server, args: &[&str]) -> Result<(String, String)> {
    let mut command = Command::new(up.command()?.as_std().get_program());
    command
        .args(args)
        .env("PERENNIAL_URL", &server.url)
        .env("PERENNIAL_KEY", server.client.key())
        .env("PERENNIAL_CONFIG", "/dev/null")
        .stdin(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output()).await??;
    let (out, err) = (
        String::from_utf8(output.stdout)?.trim().to_owned(),
        String::from_utf8(output.stderr)?.trim().to_owned(),
    );
    ensure!(output.status.success(), "{args:?}: {out} {err}");
    Ok((out, err))
}

/// The whole workspace of a session, as text.
fn folder(up: &Up, session: &str) -> Result<Vec<(String, String)>> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                walk(root, &path, found)?;
            } else if path.is_file() {
                let name = path.strip_prefix(root)?.display().to_string();
                found.push((name, format!("{:?}", std::fs::read(&path)?)));
            }
        }
        Ok(())
    }
    let root = up.data_dir.join("workspaces").join(session);
    let mut found = Vec::new();
    walk(&root, &root, &mut found)?;
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn a_session_moves_to_another_server_and_goes_on() -> Result<()> {
    let (here, there) = (House::new().await?, House::new().await?);
    let (server, other) = (here.up.start().await?, there.up.start().await?);
    let (agent, environment) = server.client.agent_on("claude-test-1", "native").await?;
    let session = server.client.session(&agent, &environment).await?;
    let (_, last) = here.turn(&server, &session, 0, &script(1)).await?;
    // Files of every kind, and an output that is too long for an event.
    let busy = "/tool bash {\"command\":\"mkdir -p a/b && head -c 300000 /dev/urandom > a/b/noise && echo kept > a/text && ln -s a/text \
                link && chmod 755 a/text && seq 1 100000\"}\n/then\n/say packed";
    here.turn(&server, &session, last, busy).await?;

    let file = here.path().join("moved.perennial.tar.gz");
    let name = file.to_str().context("a path")?;
    let (out, told) = verb(&here.up, &server, &["session", "export", &session, "-o", name]).await?;
    ensure!(out == name && told.contains("events up to"), "{out} {told}");
    ensure!(!file.with_extension("gz.part").exists());
    let again = verb(&here.up, &server, &["session", "export", &session, "-o", name]).await;
    ensure!(again.is_err_and(|error| error.to_string().contains("exists already")));

    let (copy, told) = verb(&there.up, &other, &["session", "import", name]).await?;
    let hash = |text: &str| {
        text.split(|c: char| !c.is_ascii_hexdigit())
            .find(|word| word.len() == 64)
            .map(str::to_owned)
    };
    ensure!(
        told.contains("verified here up to") && told.contains("workspace unpacked"),
        "{told}"
    );

    // The same events: hash for hash, in another export.
    let second = there.path().join("again.tar.gz");
    let second = second.to_str().context("a path")?;
    let (json, _) = verb(
        &there.up,
        &other,
        &["--json", "session", "export", &copy, "-o", second, "--no-workspace"],
    )
    .await?;
    let json: Value = serde_json::from_str(&json)?;
    ensure!(json["workspace_bytes"] == 0 && json["head_hash"].as_str().map(str::to_owned) != hash(&told));
    let (old, new) = (server.client.log(&session).await?, other.client.log(&copy).await?);
    for (old, new) in old.iter().zip(&new) {
        for member in ["seq", "id", "type", "turn", "created_at", "actor", "payload"] {
            ensure!(old[member] == new[member], "{old} {new}");
        }
    }
    ensure!(new.len() > old.len());
    let (ours, theirs) = (folder(&here.up, &session)?, folder(&there.up, &copy)?);
    ensure!(!ours.is_empty() && ours == theirs, "{} {}", ours.len(), theirs.len());
    let blob = json!(old).to_string();
    let blob = blob
        .split("/blobs/")
        .nth(1)
        .and_then(|rest| rest.get(..64))
        .context("no blob")?;
    let path = format!("/v1/sessions/{copy}/blobs/{blob}");
    ensure!(other.client.get(&path).await?.status == 200);

    // It goes on there, with all that was said, in the folder that came with it, also after a restart.
    other.kill().await?;
    let other = there.up.start().await?;
    let before = there.anthropic.requests().len();
    let say = "/tool bash {\"command\":\"cat a/text link\"}\n/then\n/say moved";
    let (events, _) = there.turn(&other, &copy, new.len() as u64, say).await?;
    let events = json!(events).to_string();
    ensure!(events.contains("kept\\nkept"), "{events}");
    for request in &there.anthropic.requests()[before..] {
        for trace in traces(1) {
            ensure!(request.raw.contains(&trace), "{trace} is missing in {}", request.raw);
        }
    }
    here.check()?;
    there.check()?;
    server.kill().await?;
    other.kill().await?;
    Ok(())
}
