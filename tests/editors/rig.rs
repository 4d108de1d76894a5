//! A server, and editors at it: the protocol's own client (npm) starts the real `perennial acp`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use perennial_tests::not_run;
use perennial_tests::server::{Server, Up, binary};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// For one thing to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a fresh data directory, and a folder that is a project.
pub(crate) struct Bench {
    folder: TempDir,
    up: Up,
    pub(crate) server: Server,
}

impl Bench {
    /// None where the client is not installed, which is said.
    pub(crate) async fn open() -> Result<Option<Self>> {
        if !here().join("node_modules").exists() {
            not_run("editors: run scripts/setup.sh --test first")?;
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let up = Up::on(&folder.path().join("data"));
        let server = up.start().await?;
        std::fs::create_dir(folder.path().join("project"))?;
        Ok(Some(Self { folder, up, server }))
    }

    /// Where the editor is.
    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("project")
    }

    /// SIGKILL and a new start, on another port.
    pub(crate) async fn restart(self) -> Result<Self> {
        let Self { folder, up, server } = self;
        server.kill().await?;
        let server = up.start().await?;
        Ok(Self { folder, up, server })
    }

    /// An editor that has greeted its agent.
    pub(crate) async fn editor(&self, arguments: &[&str]) -> Result<Editor> {
        self.able_editor(arguments, json!({})).await
    }

    /// The same with these capabilities.
    pub(crate) async fn able_editor(&self, arguments: &[&str], able: Value) -> Result<Editor> {
        let mut child = Command::new("node")
            .arg(here().join("editor.mjs"))
            .arg(binary()?)
            .arg("acp")
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("PERENNIAL_DATA_DIR", &self.up.data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut editor = Editor {
            input: child.stdin.take().context("stdin")?,
            lines: BufReader::new(child.stdout.take().context("stdout")?).lines(),
            child,
            heard: Vec::new(),
            replied: Vec::new(),
            sent: 0,
        };
        let hello = json!({"protocolVersion": 1, "clientCapabilities": able});
        editor.request("initialize", hello).await?;
        Ok(editor)
    }

    /// An agent whose tools ask.
    pub(crate) async fn asking_agent(&self) -> Result<String> {
        let ask = json!({"enabled": true, "permission_policy": {"type": "always_ask"}});
        let tools = json!([{"type": "agent_toolset_20260401", "default_config": ask}]);
        let body = json!({"name": "asking", "model": "rehearsal-1", "tools": tools});
        let made = self.server.client.post("/v1/agents", &body).await?.ok()?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("editors")
}

/// An editor, and everything it heard.
pub(crate) struct Editor {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) heard: Vec<Value>,
    /// Numbers of the questions that have an answer.
    replied: Vec<Value>,
    sent: u64,
}

impl Editor {
    /// Sends a request and waits for its answer.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.begin(method, params).await?;
        self.answer(id).await
    }

    /// Sends a request.
    pub(crate) async fn begin(&mut self, method: &str, params: Value) -> Result<u64> {
        self.sent += 1;
        let line = json!({"id": self.sent, "request": method, "params": params});
        self.say(&line).await?;
        Ok(self.sent)
    }

    /// Waits for a request's answer.
    pub(crate) async fn answer(&mut self, id: u64) -> Result<Value> {
        let answer = self.until(|line| line["id"] == id).await?;
        ensure!(answer.get("error").is_none(), "refused: {}", answer["error"]);
        Ok(answer["result"].clone())
    }

    /// Sends a notification.
    pub(crate) async fn notify(&mut self, method: &str, params: Value) -> Result<()> {
        self.say(&json!({"notify": method, "params": params})).await
    }

    /// Answers a question.
    pub(crate) async fn reply(&mut self, question: &Value, result: Value) -> Result<()> {
        self.replied.push(question["asked"].clone());
        self.say(&json!({"answer": question["asked"], "result": result})).await
    }

    /// Refuses one.
    pub(crate) async fn refuse(&mut self, question: &Value) -> Result<()> {
        self.replied.push(question["asked"].clone());
        let error = json!({"code": -32002, "message": "it is not open"});
        self.say(&json!({"answer": question["asked"], "error": error})).await
    }

    /// A session in this folder.
    pub(crate) async fn session(&mut self, folder: &Path) -> Result<String> {
        let made = self
            .request("session/new", json!({"cwd": folder, "mcpServers": []}))
            .await?;
        Ok(made["sessionId"].as_str().context("an id")?.to_owned())
    }

    /// Sends a prompt.
    pub(crate) async fn prompt(&mut self, session: &str, text: &str) -> Result<u64> {
        let prompt = json!([{"type": "text", "text": text}]);
        self.begin("session/prompt", json!({"sessionId": session, "prompt": prompt}))
            .await
    }

    /// Why a prompt's turn ended.
    pub(crate) async fn stop_reason(&mut self, prompt: u64) -> Result<String> {
        let answer = self.answer(prompt).await?;
        Ok(answer["stopReason"].as_str().context("a reason")?.to_owned())
    }

    /// Waits until a line fits, heard already or not.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        if let Some(line) = self.heard.iter().find(|line| fits(line)) {
            return Ok(line.clone());
        }
        loop {
            let line = self.next().await?;
            if fits(&line) {
                return Ok(line);
            }
        }
    }

    async fn next(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let Ok(line) = line else {
            bail!("nothing more came behind {:#?}", self.heard)
        };
        let line = line?.with_context(|| format!("the editor ended: {:#?}", self.heard))?;
        let line: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        ensure!(line.get("noise").is_none(), "no message: {line}");
        self.heard.push(line.clone());
        Ok(line)
    }

    /// Waits for an update.
    pub(crate) async fn update(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let line = self.until(|line| fits(&line["update"]["update"])).await?;
        Ok(line["update"]["update"].clone())
    }

    /// Waits until the agent has said this, in however many pieces.
    pub(crate) async fn hears(&mut self, words: &str) -> Result<()> {
        while !self.words("agent_message_chunk").ends_with(words) {
            self.next().await?;
        }
        Ok(())
    }

    /// Waits for a question that has no answer yet.
    pub(crate) async fn asked(&mut self, method: &str) -> Result<Value> {
        let replied = self.replied.clone();
        self.until(|line| line["method"] == method && !replied.contains(&line["asked"]))
            .await
    }

    /// What was said by the agent or by others, in order: updates of this kind, joined.
    pub(crate) fn words(&self, kind: &str) -> String {
        let updates = self.heard.iter().map(|line| &line["update"]["update"]);
        let said = updates.filter(|update| update["sessionUpdate"] == kind);
        said.filter_map(|update| update["content"]["text"].as_str()).collect()
    }

    /// The last state of a call, by updates in order.
    pub(crate) fn call(&self, name: &str) -> Option<Value> {
        let updates = || self.heard.iter().map(|line| &line["update"]["update"]);
        let begun = updates().rfind(|update| update["sessionUpdate"] == "tool_call" && update["name"] == name)?;
        let mut call = begun.clone();
        for update in updates().filter(|update| update["sessionUpdate"] == "tool_call_update") {
            if update["toolCallId"] == begun["toolCallId"] {
                for (member, value) in update.as_object()? {
                    call[member] = value.clone();
                }
            }
        }
        Some(call)
    }

    /// Closes the agent's streams and waits until all has ended.
    pub(crate) async fn close(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait().await?;
        Ok(())
    }

    /// SIGKILL; its agent sees its streams end.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn say(&mut self, line: &Value) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }
}
