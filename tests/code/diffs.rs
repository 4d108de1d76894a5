//! Changes out: as JSON, as a patch, and applied to somebody's checkout.

use std::path::Path;
use std::process::Output;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::house::House;
use perennial_tests::git::{GitServer, TOKEN, git};

/// A session that changed what it cloned, in every way there is.
async fn changed(house: &House, remote: &GitServer) -> Result<String> {
    remote.repository("project")?;
    let url = format!("{}/project.git", remote.url);
    let resources = json!([{"type": "github_repository", "url": url, "authorization_token": TOKEN}]);
    let session = house.session(&json!({"type": "local"}), &resources).await?;
    let work = "cd project; echo 1b >> first; git -c user.name=a -c user.email=a@b commit -qam committed; \
                git mv second moved; printf 'a\\0b\\377' > binary; echo x > 'ein Name'; echo ignored > .gitignore; echo y > ignored; \
                git add binary";
    house.bash(&session, work).await?;
    Ok(session)
}

fn files(diff: &Value) -> Vec<String> {
    let files = diff["files"].as_array().into_iter().flatten();
    let shown = |file: &Value| {
        let word = |name: &str| file[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", word("status"), word("path"))
    };
    files.map(shown).collect()
}

async fn cli(house: &House, args: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(perennial_tests::server::binary()?);
    let client = house.client()?;
    command.args(args).env(
        "PERENNIAL_URL",
        house
            .server
            .as_ref()
            .map(|server| server.url.clone())
            .unwrap_or_default(),
    );
    command.env("PERENNIAL_KEY", client.key());
    Ok(command.output().await?)
}

#[tokio::test]
async fn what_a_session_changed_is_told_and_nothing_is_touched() -> Result<()> {
    let (house, remote) = (House::start().await?, GitServer::start().await?);
    let session = changed(&house, &remote).await?;
    let before = house
        .bash(
            &session,
            "git status --porcelain; find .git/objects -type f | wc -l; md5sum .git/index",
        )
        .await?;
    let path = format!("/v1/sessions/{session}/diff");
    let diff = house.client()?.get(&path).await?.ok()?;
    let expected = [
        "added .gitignore",
        "added binary",
        "added ein Name",
        "modified first",
        "renamed moved",
    ];
    ensure!(files(&diff) == expected, "{diff}");
    ensure!(diff["path"] == "project" && diff["head"].is_null() && diff["files"][1]["additions"].is_null());
    ensure!(
        diff["patch"]
            .as_str()
            .is_some_and(|patch| patch.contains("+1b") && patch.contains("GIT binary patch"))
    );
    let base = house.bash(&session, "git rev-parse origin/main").await?;
    ensure!(diff["base"] == base.trim());
    for (query, expected) in [
        (
            "untracked=false",
            vec!["added binary", "modified first", "renamed moved"],
        ),
        ("staged=true", vec!["added binary", "modified first", "renamed moved"]),
        ("base=HEAD&untracked=false", vec!["added binary", "renamed moved"]),
        ("base=HEAD~1&head=HEAD", vec!["modified first"]),
    ] {
        let diff = house.client()?.get(&format!("{path}?{query}")).await?.ok()?;
        ensure!(files(&diff) == expected, "{query}: {diff}");
    }
    let narrow = house.client()?.get(&format!("{path}?context=0")).await?.ok()?;
    ensure!(
        narrow["patch"]
            .as_str()
            .is_some_and(|patch| patch.contains("@@ -1,0 +2 @@")),
        "{narrow}"
    );
    let after = house
        .bash(
            &session,
            "git status --porcelain; find .git/objects -type f | wc -l; md5sum .git/index",
        )
        .await?;
    ensure!(before == after, "{before} {after}");
    Ok(())
}

#[tokio::test]
async fn what_git_could_take_for_something_else_is_refused() -> Result<()> {
    let (house, remote) = (House::start().await?, GitServer::start().await?);
    let session = changed(&house, &remote).await?;
    let get = async |query: &[(&str, &str)]| {
        let request = house
            .client()?
            .request("GET", &format!("/v1/sessions/{session}/diff"))
            .query(query);
        house.client()?.send(request).await
    };
    for base in [
        "--output=/tmp/x",
        "-p",
        "--ext-diff",
        "a..b",
        "HEAD:first",
        ":/x",
        "@{u}",
        "$(id)",
        "a;id",
        "a b",
        "`id`",
    ] {
        let answer = get(&[("base", base)]).await?;
        ensure!(answer.status == 400, "{base}: {:?}", answer.body);
        let answer = get(&[("head", base)]).await?;
        ensure!(answer.status == 400, "{base}: {:?}", answer.body);
    }
    for path in ["/etc", "../..", "project/../..", "project/.git"] {
        let answer = get(&[("path", path)]).await?;
        ensure!(answer.status == 400, "{path}: {:?}", answer.body);
    }
    for (query, why) in [
        ([("base", "no-such")], "no commit"),
        ([("path", "nowhere")], "no folder"),
        ([("path", ".")], "not in a git repository"),
    ] {
        let answer = get(&query).await?;
        ensure!(
            answer.status == 409 && answer.body.to_string().contains(why),
            "{query:?}: {:?}",
            answer.body
        );
    }
    // A way out of the folder is none.
    house.bash(&session, "ln -s /etc out; ln -s / project/root").await?;
    let answer = get(&[("path", "out")]).await?;
    ensure!(answer.status == 409, "{:?}", answer.body);
    Ok(())
}

#[tokio::test]
async fn what_a_repository_would_run_by_itself_is_not_run() -> Result<()> {
    let house = House::start().await?;
    let session = house.session(&json!({"type": "local"}), &json!([])).await?;
    house
        .bash(
            &session,
            "git init -q r; cd r; git config core.fsmonitor 'touch ../ran; false'; git config diff.external 'touch ../ran'; \
             git config diff.x.textconv 'touch ../ran'; git config core.hooksPath .; git config diff.noprefix true; echo '* diff=x' > .gitattributes; \
             printf '#!/bin/sh\\ntouch ../ran' > post-index-change; chmod +x post-index-change; echo x > f",
        )
        .await?;
    house.bash(&session, "rm -f ../ran").await?;
    let diff = house
        .client()?
        .get(&format!("/v1/sessions/{session}/diff?path=r"))
        .await?
        .ok()?;
    ensure!(
        diff["patch"].as_str().is_some_and(|patch| patch.contains("b/f")),
        "{diff}"
    );
    let told = house.bash(&session, "ls ..").await?;
    ensure!(told == "r\n", "{told}");
    Ok(())
}

#[tokio::test]
async fn changes_are_pulled_into_a_checkout_and_nobodys_own_are_lost() -> Result<()> {
    let (house, remote) = (House::start().await?, GitServer::start().await?);
    let session = changed(&house, &remote).await?;
    let checkout = |name: &str| -> Result<std::path::PathBuf> {
        let dir = house.folder(name)?;
        let from = remote.root.path().join("project.git").display().to_string();
        git(&dir, &["clone", "--quiet", &from, "."])?;
        Ok(dir)
    };
    let pull = async |dir: &Path| cli(&house, &["session", "pull", &session, &dir.display().to_string()]).await;
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let clean = checkout("clean")?;
    let output = pull(&clean).await?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(
        std::fs::read(clean.join("binary"))? == b"a\0b\xff"
            && clean.join("moved").exists()
            && !clean.join("second").exists()
    );
    ensure!(std::fs::read_to_string(clean.join("first"))? == "1\n1b\n" && clean.join("ein Name").exists());

    // A change of one's own in a file that the session changed too.
    let dirty = checkout("dirty")?;
    std::fs::write(dirty.join("first"), "mine\n")?;
    let output = pull(&dirty).await?;
    ensure!(
        output.status.code() == Some(1) && said(&output).contains("first"),
        "{}",
        said(&output)
    );
    ensure!(std::fs::read_to_string(dirty.join("first"))? == "mine\n" && !dirty.join("binary").exists());

    // A file that git does not know, where the session made one.
    let unknown = checkout("unknown")?;
    std::fs::write(unknown.join("ein Name"), "mine\n")?;
    let output = pull(&unknown).await?;
    ensure!(
        output.status.code() == Some(1) && said(&output).contains("ein Name"),
        "{}",
        said(&output)
    );
    ensure!(std::fs::read_to_string(unknown.join("ein Name"))? == "mine\n" && !unknown.join("binary").exists());

    // Another change elsewhere stays, and commits that differ are merged, or marked.
    let ahead = checkout("ahead")?;
    std::fs::write(ahead.join("other"), "mine\n")?;
    std::fs::write(ahead.join("first"), "1\nours\n")?;
    git(&ahead, &["commit", "-qam", "ours"])?;
    let output = pull(&ahead).await?;
    ensure!(
        output.status.code() == Some(1) && said(&output).contains("conflicts"),
        "{}",
        said(&output)
    );
    let first = std::fs::read_to_string(ahead.join("first"))?;
    ensure!(
        first.contains("ours\n") && first.contains("1b\n") && first.contains("<<<<<<<"),
        "{first}"
    );
    ensure!(std::fs::read_to_string(ahead.join("other"))? == "mine\n" && ahead.join("binary").exists());

    let output = cli(&house, &["session", "diff", &session]).await?;
    ensure!(
        output.status.success() && output.stdout.starts_with(b"diff --git"),
        "{}",
        said(&output)
    );
    let elsewhere = house.folder("elsewhere")?;
    let output = pull(&elsewhere).await?;
    ensure!(output.status.code() == Some(2), "{}", said(&output));
    Ok(())
}
