//! The editor's terminals: commands run in them as the editor starts them, and what comes of that is told, whatever the editor does.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::rig::{Bench, Editor};

const CREATE: &str = "terminal/create";
const WAIT: &str = "terminal/wait_for_exit";
const OUTPUT: &str = "terminal/output";
const KILL: &str = "terminal/kill";
const RELEASE: &str = "terminal/release";

fn able() -> Value {
    json!({"terminal": true})
}

/// Starts what an editor was asked to; joined: in a shell that is given all words as they are, as some editors do.
fn start(params: &Value, joined: bool) -> Result<Child> {
    let program = params["command"].as_str().context("a command")?;
    let arguments = params["args"].as_array().context("arguments")?;
    let arguments: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    let mut command = if joined {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("({program} {}\n) </dev/null", arguments.join(" "))]);
        command
    } else {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    };
    for variable in params["env"].as_array().into_iter().flatten() {
        let (name, value) = (variable["name"].as_str(), variable["value"].as_str());
        command.env(name.context("a name")?, value.context("a value")?);
    }
    let folder = params["cwd"].as_str().context("a folder")?;
    let command = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command.stderr(Stdio::null()).kill_on_drop(true).spawn()?)
}

/// A terminal that was asked for and is open: what was asked, and what runs in it.
async fn open(editor: &mut Editor, id: &str, joined: bool) -> Result<(Value, Child)> {
    let asked = editor.asked(CREATE).await?;
    let child = start(&asked["params"], joined)?;
    editor.reply(&asked, json!({"terminalId": id})).await?;
    Ok((asked["params"].clone(), child))
}

/// Answers the questions about a terminal whose command ends, in order.
async fn to_its_end(editor: &mut Editor, id: &str, mut child: Child) -> Result<()> {
    let asked = editor.asked(WAIT).await?;
    assert_eq!(asked["params"]["terminalId"], id);
    let status = child.wait().await?;
    editor
        .reply(&asked, json!({"exitCode": status.code(), "signal": null}))
        .await?;
    let asked = editor.asked(OUTPUT).await?;
    let mut output = String::new();
    child
        .stdout
        .take()
        .context("output")?
        .read_to_string(&mut output)
        .await?;
    editor
        .reply(&asked, json!({"output": output, "truncated": false}))
        .await?;
    release(editor, id).await
}

/// It is shown by then.
async fn release(editor: &mut Editor, id: &str) -> Result<()> {
    let asked = editor.asked(RELEASE).await?;
    assert_eq!(asked["params"]["terminalId"], id);
    let shown = |line: &Value| line["update"]["update"]["content"] == json!([{"type": "terminal", "terminalId": id}]);
    ensure!(editor.heard.iter().any(shown), "not shown: {:#?}", editor.heard);
    editor.reply(&asked, json!({})).await
}

/// What the model was told of its calls.
async fn results(bench: &Bench, session: &str) -> Result<Vec<String>> {
    let log = bench.server.client.log(session).await?;
    let results = log.iter().filter(|event| event["type"] == "agent.tool_result");
    let text = |event: &Value| event["payload"]["content"][0]["text"].as_str().map(str::to_owned);
    Ok(results.filter_map(text).collect())
}

/// Waits for a file, which no signal tells of.
async fn appears(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn asked(editor: &Editor) -> Vec<&str> {
    editor.heard.iter().filter_map(|line| line["method"].as_str()).collect()
}

#[tokio::test]
async fn commands_run_where_the_person_sees_them() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut editor = bench.able_editor(&[], able()).await?;
    let session = editor.session(&project).await?;
    let script = "/tool bash {\"command\":\"mkdir in; cd in; export X=1; echo 'a  \\\"b'; (exit 3)\"}\n/then\n\
                  /tool bash {\"command\":\"pwd; echo $X\"}\n/then\n/say done";
    let prompt = editor.prompt(&session, script).await?;
    let (params, child) = open(&mut editor, "one", false).await?;
    assert_eq!(
        (&params["sessionId"], &params["cwd"]),
        (&json!(session), &json!(project))
    );
    ensure!(params["outputByteLimit"].is_u64(), "{params}");
    to_its_end(&mut editor, "one", child).await?;
    let first = editor.call("bash").context("a call")?;
    let (_, child) = open(&mut editor, "two", true).await?;
    to_its_end(&mut editor, "two", child).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    let there = project.join("in");
    assert_eq!(
        results(&bench, &session).await?,
        ["a  \"b\n[exit code 3]".to_owned(), format!("{}\n1\n", there.display())]
    );
    let one = [CREATE, WAIT, OUTPUT, RELEASE];
    assert_eq!(asked(&editor), [one, one].concat(), "in order");
    let second = editor.call("bash").context("a call")?;
    assert_eq!(first["content"][0]["terminalId"], "one");
    assert_eq!(
        (&second["status"], &second["content"]),
        (&json!("completed"), &json!([{"type": "terminal", "terminalId": "two"}]))
    );
    Ok(())
}

#[tokio::test]
async fn what_never_ends_is_killed() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut editor = bench.able_editor(&[], able()).await?;
    let session = editor.session(&project).await?;

    // By the person, though the editor does not do it: it is found by its mark.
    let prompt = editor
        .prompt(
            &session,
            "/tool bash {\"command\":\"echo some; : > began; sleep 1000\"}\n/then\n/say never",
        )
        .await?;
    let (_, mut child) = open(&mut editor, "one", false).await?;
    appears(&project.join("began")).await;
    let waiting = editor.asked(WAIT).await?;
    editor.notify("session/cancel", json!({"sessionId": session})).await?;
    let kill = editor.asked(KILL).await?;
    editor.refuse(&kill).await?;
    ensure!(!child.wait().await?.success());
    editor.until(|line| line["withdrawn"] == waiting["asked"]).await?;
    let output = editor.asked(OUTPUT).await?;
    editor
        .reply(&output, json!({"output": "some\n", "truncated": false}))
        .await?;
    release(&mut editor, "one").await?;
    assert_eq!(editor.stop_reason(prompt).await?, "cancelled");
    assert_eq!(editor.call("bash").context("a call")?["status"], "failed");

    // By its time. Nothing runs here: the file is how a command begins.
    let script = "/tool bash {\"command\":\"sleep 1000\",\"timeout_ms\":4000}\n/then\n/say on";
    let prompt = editor.prompt(&session, script).await?;
    let asked = editor.asked(CREATE).await?;
    let run = PathBuf::from(asked["params"]["args"][0].as_str().context("a script")?);
    std::fs::write(run.with_file_name("begun"), "")?;
    editor.reply(&asked, json!({"terminalId": "two"})).await?;
    for verb in [KILL, OUTPUT] {
        let asked = editor.asked(verb).await?;
        assert_eq!(asked["params"]["terminalId"], "two");
        editor.reply(&asked, json!({"output": "", "truncated": false})).await?;
    }
    release(&mut editor, "two").await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    let said = results(&bench, &session).await?;
    ensure!(said[1].starts_with("[timed out after 4000 ms"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_terminal_that_is_refused_is_an_error_and_no_end() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut editor = bench.able_editor(&[], able()).await?;
    let session = editor.session(&project).await?;
    let script =
        "/tool bash {\"command\":\"echo ran > made\"}\n/then\n/tool bash {\"command\":\"echo on\"}\n/then\n/say over";
    let prompt = editor.prompt(&session, script).await?;
    let asked = editor.asked(CREATE).await?;
    editor.refuse(&asked).await?;
    let (_, child) = open(&mut editor, "one", false).await?;
    // Whoever starts it after all starts nothing.
    start(&asked["params"], false)?.wait().await?;
    to_its_end(&mut editor, "one", child).await?;
    assert_eq!(editor.stop_reason(prompt).await?, "end_turn");
    let said = results(&bench, &session).await?;
    ensure!(said[0].contains("not begun: the editor opens no terminal"), "{said:?}");
    assert_eq!(said[1], "on\n");
    ensure!(!project.join("made").exists());
    Ok(())
}

#[tokio::test]
async fn commands_end_with_their_editor() -> Result<()> {
    let Some(bench) = Bench::open().await? else {
        return Ok(());
    };
    let project = bench.project();
    let mut editor = bench.able_editor(&[], able()).await?;
    let session = editor.session(&project).await?;
    editor
        .prompt(
            &session,
            "/tool bash {\"command\":\": > began; sleep 1000\"}\n/then\n/say after",
        )
        .await?;
    let (_, mut child) = open(&mut editor, "one", false).await?;
    appears(&project.join("began")).await;
    editor.asked(WAIT).await?;
    editor.kill().await?;
    ensure!(!child.wait().await?.success());
    // The session hears of it and goes on, for the next editor to see; which has no terminals.
    let mut next = bench.editor(&[]).await?;
    let load = json!({"sessionId": session, "cwd": project, "mcpServers": []});
    next.request("session/load", load).await?;
    next.hears("after").await?;
    assert_eq!(results(&bench, &session).await?.len(), 1);
    let prompt = next.prompt(&session, "/tool bash {\"command\":\"echo here\"}").await?;
    assert_eq!(next.stop_reason(prompt).await?, "end_turn");
    let said = results(&bench, &session).await?;
    ensure!(
        said[1].starts_with("[fresh shell: ") && said[1].ends_with("\nhere\n"),
        "{said:?}"
    );
    ensure!(asked(&next).is_empty());
    Ok(())
}
