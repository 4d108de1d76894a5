//! Commands in an editor's terminals, with editors that refuse, are late, know nothing and go away. Its programs are real.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use perennial_executor::panes::{Answer, Panes, Printed, Program, Status};
use perennial_executor::{Config, Executor, Later, Sandbox};
use perennial_schema::frame::{CallState, ToExecutor};
use perennial_schema::{EventId, SessionId};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use crate::rig::*;

/// What an editor does otherwise than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Good,
    /// It knows no session.
    Stranger,
    Refuses,
    /// It opens terminals when it is told to, only.
    Late,
    /// It says that things ended, not how, and has lost the beginning of what was printed.
    Vague,
    /// It says nothing of ends, kills nothing and does not tell what was printed.
    Gone,
    /// It says that it has begun, starts nothing, and never says that it ended.
    Endless,
}

#[derive(Debug)]
struct Editor {
    manner: Manner,
    late: Notify,
    children: Mutex<HashMap<String, Child>>,
    /// What it was asked, in order.
    asked: Mutex<Vec<&'static str>>,
    programs: Mutex<Vec<Program>>,
}

impl Editor {
    fn asks(&self, verb: &'static str) {
        self.asked.lock().unwrap().push(verb);
    }

    fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().clone()
    }
}

impl Panes for Editor {
    fn has(&self, _: SessionId) -> Later<'_, bool> {
        Box::pin(async { self.manner != Manner::Stranger })
    }

    fn create(&self, session: SessionId, program: Program) -> Answer<'_, String> {
        self.asks("create");
        assert_eq!(session, crate::rig::session(1));
        Box::pin(async move {
            match self.manner {
                Manner::Refuses => return Err("no room".into()),
                Manner::Late => self.late.notified().await,
                Manner::Endless => {
                    let begun = std::path::Path::new(&program.arguments[0]).with_file_name("begun");
                    std::fs::write(begun, "").unwrap();
                    return Ok("t".into());
                }
                _ => {}
            }
            self.programs.lock().unwrap().push(program.clone());
            let child = Command::new(&program.program)
                .args(&program.arguments)
                .envs(program.env)
                .current_dir(&program.folder)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| error.to_string())?;
            self.children.lock().unwrap().insert("t".into(), child);
            Ok("t".into())
        })
    }

    fn show<'a>(&'a self, _: SessionId, _: EventId, _: &'a str) -> Later<'a, ()> {
        self.asks("show");
        Box::pin(async {})
    }

    fn wait<'a>(&'a self, _: SessionId, pane: &'a str) -> Answer<'a, Status> {
        self.asks("wait");
        Box::pin(async move {
            match self.manner {
                Manner::Gone => return Err("the line is closed".into()),
                Manner::Endless => std::future::pending().await,
                _ => {}
            }
            let mut child = self.children.lock().unwrap().remove(pane).ok_or("no such terminal")?;
            let status = child.wait().await.unwrap();
            self.children.lock().unwrap().insert(pane.to_owned(), child);
            if self.manner == Manner::Vague {
                return Ok(Status::default());
            }
            Ok(Status {
                code: status.code(),
                signal: None,
            })
        })
    }

    fn output<'a>(&'a self, _: SessionId, pane: &'a str) -> Answer<'a, Printed> {
        self.asks("output");
        Box::pin(async move {
            if matches!(self.manner, Manner::Gone | Manner::Endless) {
                return Err("the line is closed".into());
            }
            let child = self.children.lock().unwrap().remove(pane);
            let mut text = String::new();
            if let Some(mut out) = child.and_then(|mut child| child.stdout.take()) {
                out.read_to_string(&mut text).await.unwrap();
            }
            Ok(Printed {
                text: text.replace('\n', "\r\n"),
                truncated: self.manner == Manner::Vague,
            })
        })
    }

    fn kill<'a>(&'a self, _: SessionId, pane: &'a str) -> Answer<'a, ()> {
        self.asks("kill");
        Box::pin(async move {
            if self.manner == Manner::Gone {
                return Err("the line is closed".into());
            }
            if let Some(child) = self.children.lock().unwrap().get_mut(pane) {
                child.start_kill().unwrap();
            }
            Ok(())
        })
    }

    fn release<'a>(&'a self, _: SessionId, _: &'a str) -> Answer<'a, ()> {
        self.asks("release");
        Box::pin(async { Ok(()) })
    }
}

struct House {
    dir: TempDir,
    editor: Arc<Editor>,
    link: Link,
    _executor: Arc<Executor>,
}

impl House {
    async fn new(manner: Manner, sandbox: Sandbox) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let editor = Arc::new(Editor {
            manner,
            late: Notify::new(),
            children: Mutex::default(),
            asked: Mutex::default(),
            programs: Mutex::default(),
        });
        let config = Config {
            panes: Some(Arc::clone(&editor) as Arc<dyn Panes>),
            ..config(&dir.path().join("data"), sandbox)
        };
        let executor = Arc::new(Executor::open(config).await.unwrap());
        let link = Link::open(&executor).await;
        Self {
            dir,
            editor,
            link,
            _executor: executor,
        }
    }

    /// Text and exit code of a command.
    async fn ran(&mut self, command: &str) -> (String, Option<i32>) {
        let outcome = self.link.run(&bash(command)).await;
        assert_eq!(outcome.is_error, outcome.exit_code != Some(0), "{outcome:?}");
        (text(&outcome).to_owned(), outcome.exit_code)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("data/workspaces").join(session(1).to_string())
    }

    /// Whether nothing lies about that was for one command.
    fn is_clean(&self) -> bool {
        let panes = self.dir.path().join("data/executor/panes");
        std::fs::read_dir(panes).unwrap().next().is_none()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_there_as_in_a_shell_of_our_own() {
    for sandbox in [Sandbox::Off, Sandbox::Auto] {
        let mut house = House::new(Manner::Good, sandbox).await;
        let said = house.ran("mkdir in; cd in; export X=1; echo seen; (exit 3)").await;
        assert_eq!(said, ("seen\n[exit code 3]".to_owned(), Some(3)));
        assert_eq!(
            house.editor.asked(),
            ["create", "show", "wait", "output", "release"],
            "in order"
        );
        let there = house.folder().join("in");
        assert_eq!(house.ran("pwd; echo $X").await.0, format!("{}\n1\n", there.display()));
        assert_eq!(house.ran("exit 4").await, ("[exit code 4]".to_owned(), Some(4)));
        let fresh = house
            .link
            .run(&call("bash", &json!({"command": "pwd", "restart": true})))
            .await;
        assert_eq!(text(&fresh), format!("{}\n", house.folder().display()));

        let much = house
            .ran("export BIG=$(head -c 70000 /dev/zero | tr '\\0' x); cd /; echo big")
            .await
            .0;
        assert!(much.starts_with("big\n[what it exported is too much"), "{much}");
        assert_eq!(house.ran("pwd").await.0, format!("{}\n", house.folder().display()));

        // Secrets are in no request to the editor, and in no outcome.
        let mut secret = bash("echo $API_TOKEN");
        secret.variables = [("API_TOKEN".to_owned(), "tttttttt".to_owned())].into();
        assert_eq!(text(&house.link.run(&secret).await), "[secret]\n");
        let asked = format!("{:?}", house.editor.programs.lock().unwrap());
        assert!(
            !asked.contains("tttttttt") && asked.contains("PERENNIAL_JOURNAL"),
            "{asked}"
        );

        // A background job holds no command up, and does not outlive it.
        let nap = unique_sleep();
        let left = house.ran(&format!("sleep {nap} & echo on")).await.0;
        assert!(left.starts_with("on\n[what it left running"), "{left}");
        assert_eq!(processes(&nap), Vec::<u32>::new());

        // Done once, whoever asks again.
        let once = bash("echo once >> ledger");
        house.link.run(&once).await;
        house.link.run(&once).await;
        assert_eq!(
            std::fs::read_to_string(house.folder().join("ledger")).unwrap(),
            "once\n"
        );
        let asked = house.editor.asked();
        let count = |verb| asked.iter().filter(|one| **one == verb).count();
        assert_eq!(count("create"), count("release"));
        assert!(house.is_clean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_editor_does_not_say_is_told_as_it_is() {
    let mut house = House::new(Manner::Vague, Sandbox::Off).await;
    let said = house.ran("echo hi").await;
    assert_eq!(said.1, Some(0), "the shell said so itself");
    assert!(
        said.0.starts_with("hi\n[the beginning of the output is missing"),
        "{}",
        said.0
    );
    let said = house.ran("exit 5").await;
    assert!(
        said.0.contains("does not say with which exit code") && said.1.is_none(),
        "{}",
        said.0
    );

    // One that is gone, and the command with it.
    let mut house = House::new(Manner::Gone, Sandbox::Off).await;
    let nap = unique_sleep();
    let call = bash(&format!(": > begun; sleep {nap}"));
    let said = house.link.run(&call).await;
    // Whether it had begun when the editor went is up to chance; not whether it still runs.
    let told = ["is unknown", "was not begun"]
        .iter()
        .any(|told| text(&said).contains(told));
    assert!(told && text(&said).contains("the line is closed"), "{said:?}");
    eventually("it is dead", || processes(&nap).is_empty()).await;
    assert_eq!(house.link.settle(&call).await, Ok(CallState::Done { outcome: said }));
    assert!(house.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_late_is_not_begun() {
    let mut house = House::new(Manner::Refuses, Sandbox::Off).await;
    let said = house.ran("echo ran > made").await;
    assert_eq!(
        said.0,
        "[the command was not begun: the editor opens no terminal: no room]"
    );
    assert!(!house.folder().join("made").exists() && house.is_clean());

    let mut house = House::new(Manner::Late, Sandbox::Off).await;
    let call = bash("echo ran > made");
    house.link.send(ToExecutor::Call(call.clone())).await;
    let editor = Arc::clone(&house.editor);
    eventually("it is asked", || editor.asked().contains(&"create")).await;
    house.link.send(cancel(&call)).await;
    let said = house.link.result(call.call_id).await;
    assert_eq!(text(&said), "[the command was not begun: cancelled (asked to stop)]");
    // The terminal that comes at last is given back, and runs nothing.
    house.editor.late.notify_one();
    eventually("it is given back", || editor.asked().ends_with(&["kill", "release"])).await;
    assert!(!house.folder().join("made").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn time_out_and_cancellation_kill_what_runs_there() {
    let mut house = House::new(Manner::Endless, Sandbox::Off).await;
    let input = json!({"command": "sleep 1000", "timeout_ms": 2000});
    let said = house.link.run(&call("bash", &input)).await;
    assert!(text(&said).contains("[timed out after 2000 ms: "), "{said:?}");
    assert_eq!(
        house.editor.asked(),
        ["create", "show", "wait", "kill", "output", "release"]
    );

    for sandbox in [Sandbox::Off, Sandbox::Auto] {
        let mut house = House::new(Manner::Good, sandbox).await;
        let nap = unique_sleep();
        // What leaves the terminal's session is found by its mark.
        let call = bash(&format!("setsid sleep {nap} & : > begun; sleep 1000"));
        house.link.send(ToExecutor::Call(call.clone())).await;
        let begun = house.folder().join("begun");
        eventually("it begins", || begun.exists()).await;
        house.link.send(cancel(&call)).await;
        let said = house.link.result(call.call_id).await;
        assert!(text(&said).contains("[cancelled (asked to stop): "), "{said:?}");
        eventually("it is dead", || processes(&nap).is_empty()).await;
        assert_eq!(house.ran("echo next").await.1, Some(0), "the session goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_the_editor_does_not_know_has_a_shell_of_its_own() {
    let mut house = House::new(Manner::Stranger, Sandbox::Off).await;
    assert_eq!(house.ran("Y=2; echo a").await.0, "a\n");
    assert_eq!(house.ran("echo $Y").await.0, "2\n", "the same shell");
    assert!(house.editor.asked().is_empty());
}
