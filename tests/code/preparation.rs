//! Variables and setup scripts of environments.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::house::{House, errors, has, result, script};

#[tokio::test]
async fn commands_have_the_environments_variables_and_the_script_ran_once() -> Result<()> {
    let mut house = House::start().await?;
    let config = json!({"type": "local",
        "variables": {"GREETING": "it's \"$HOME\"\nand more", "API_TOKEN": "hunter2-hunter2"},
        "setup": "echo \"$GREETING\" > greeting\necho once >> ledger\nexport LOST=1"});
    let session = house.session(&config, &json!([])).await?;
    let told = house
        .bash(
            &session,
            "printf '%s' \"$GREETING\"; echo; echo ${LOST:-gone}; cat ledger; pwd",
        )
        .await?;
    ensure!(told.starts_with("it's \"$HOME\"\nand more\ngone\nonce\n/"), "{told}");
    // No word about a shell that no model had.
    ensure!(!told.contains("fresh shell"), "{told}");
    house.killed().await?;
    let told = house.bash(&session, "cat ledger").await?;
    ensure!(told.ends_with("once\n") && !told.contains("once\nonce"), "{told}");
    // The value is the command's, and nobody else's.
    let told = house
        .bash(
            &session,
            "echo ${#API_TOKEN} $API_TOKEN; printf hunter2; sleep 0.1; echo -hunter2",
        )
        .await?;
    ensure!(told.ends_with("15 [secret]\n[secret]\n"), "{told}");
    let log = serde_json::to_vec(&house.client()?.log(&session).await?)?;
    ensure!(!has(&log, "hunter2-hunter2"));
    Ok(())
}

#[tokio::test]
async fn a_script_that_fails_is_told_and_tried_again_in_the_next_turn() -> Result<()> {
    let house = House::start().await?;
    let folder = house.folder("shared")?;
    let config =
        json!({"type": "local", "dir": folder, "setup": "echo try >> tries\nls /no-such-place\necho beyond >> tries"});
    let session = house.session(&config, &json!([])).await?;
    let twice = format!("{}\n/then\n{}", script("echo never > ran"), script("echo never > ran"));
    let events = house.turn(&session, &twice).await?;
    let told = result(&events).unwrap_or_default();
    ensure!(
        told.contains("setup script") && told.contains("/no-such-place"),
        "{told}"
    );
    let errors = errors(&events);
    ensure!(errors.len() == 1 && errors[0].contains("/no-such-place"), "{errors:?}");
    ensure!(!folder.join("ran").exists());
    ensure!(std::fs::read_to_string(folder.join("tries"))? == "try\n");
    // What it missed is there now.
    std::fs::create_dir_all(folder.join("bin"))?;
    let config = json!({"type": "local", "dir": folder, "setup": "test -e now || exit 3"});
    let session = house.session(&config, &json!([])).await?;
    let told = house.bash(&session, "echo ran").await?;
    ensure!(told.contains("[exit code 3]"), "{told}");
    std::fs::write(folder.join("now"), "")?;
    let told = house.bash(&session, "echo ran").await?;
    ensure!(told == "ran\n", "{told}");
    Ok(())
}

#[tokio::test]
async fn a_script_that_hangs_ends_with_an_interrupt_and_with_the_server() -> Result<()> {
    let mut house = House::start().await?;
    let folder = house.folder("shared")?;
    let setup = "echo begun >> ledger\ntest -e go || sleep 600\necho done >> ledger";
    let config = json!({"type": "local", "dir": folder, "setup": setup});
    let session = house.session(&config, &json!([])).await?;
    let ledger = || std::fs::read_to_string(folder.join("ledger")).unwrap_or_default();
    house.client()?.say(&session, &script("echo ran")).await?;
    while ledger() != "begun\n" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    house
        .client()?
        .post(&format!("/v1/sessions/{session}/events"), &interrupt)
        .await?
        .ok()?;
    house.client()?.until_idle(&session, 0, crate::house::PATIENCE).await?;
    // A server that dies over it begins it anew.
    house.client()?.say(&session, &script("echo ran")).await?;
    while ledger() != "begun\nbegun\n" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    std::fs::write(folder.join("go"), "")?;
    let after = house.client()?.log(&session).await?.len() as u64;
    house.killed().await?;
    let (events, _) = house
        .client()?
        .until_idle(&session, after, crate::house::PATIENCE)
        .await?;
    ensure!(result(&events).as_deref() == Some("ran\n"), "{events:?}");
    ensure!(ledger() == "begun\nbegun\nbegun\ndone\n", "{}", ledger());
    Ok(())
}

#[tokio::test]
async fn what_no_shell_could_take_is_refused() -> Result<()> {
    let house = House::start().await?;
    for (field, config) in [
        ("config.variables", json!({"type": "local", "variables": {"A B": "x"}})),
        ("config.variables", json!({"type": "local", "variables": {"1A": "x"}})),
        (
            "config.variables",
            json!({"type": "local", "variables": {"PERENNIAL_JOURNAL": "x"}}),
        ),
        (
            "config.variables",
            json!({"type": "local", "variables": {"BASH_ENV": "x"}}),
        ),
        ("config.setup", json!({"type": "local", "setup": "x".repeat(70_000)})),
    ] {
        let body = json!({"name": "e", "config": config});
        let answer = house.client()?.post("/v1/environments", &body).await?;
        ensure!(
            answer.status == 400 && answer.body.to_string().contains(field),
            "{field}: {:?}",
            answer.body
        );
    }
    Ok(())
}
