//! A server that makes sandboxes in the engine of this program.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use perennial_proof::rig::port::free_port;
use perennial_proof::rig::process::beside;
use perennial_tests::client::{Client, id};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

use perennial_tests::docker::{Engine, IMAGE};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A server that keeps its address and its data over all its lives.
pub(crate) struct Stand {
    eye: Eye,
    pub(crate) up: Up,
    /// Where the server lives; removed with this.
    _dir: tempfile::TempDir,
    server: Option<Server>,
    client: Client,
}

/// A session that was made.
pub(crate) struct Made {
    pub(crate) session: String,
}

impl Stand {
    /// None where no engine can be.
    pub(crate) async fn start() -> Result<Option<Self>> {
        let Some(engine) = Engine::shared().await? else {
            return Ok(None);
        };
        Ok(Some(Self::on(engine, &engine.host).await?))
    }

    /// With the engine's socket elsewhere.
    pub(crate) async fn on(engine: &'static Engine, host: &str) -> Result<Self> {
        Self::with(engine, host, &[]).await
    }

    /// The same, with more arguments.
    pub(crate) async fn with(engine: &'static Engine, host: &str, more: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let up = Up::on(&dir.path().join("data"))
            .arg("--listen")
            .arg(&format!("127.0.0.1:{}", free_port()?))
            .arg("--docker")
            .arg(host)
            .arg("--sandbox-image")
            .arg(IMAGE)
            .env("PERENNIAL_TEST_EGRESS", "allowed.test=127.0.0.1,other.test=127.0.0.1")
            .env("PERENNIAL_SANDBOX_EXECUTOR", &engine.executor.display().to_string());
        let up = more.iter().fold(up, |up, arg| up.arg(arg));
        let server = up.start().await?;
        Ok(Self {
            eye: Eye {
                engine,
                logs: vec![beside(&up.data_dir, ".log")],
            },
            up,
            _dir: dir,
            client: server.client.clone(),
            server: Some(server),
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn url(&self) -> Result<&str> {
        Ok(&self.server.as_ref().context("it runs")?.url)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.server.take().context("it runs")?.kill().await
    }

    /// SIGTERM.
    pub(crate) async fn stop(&mut self, patience: Duration) -> Result<std::process::ExitStatus> {
        self.server.take().context("it runs")?.stop(patience).await
    }

    /// The next life, at the same address.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        let server = self.up.start().await?;
        self.client = server.client.clone();
        self.server = Some(server);
        Ok(())
    }

    /// A session in a cloud environment of this configuration.
    pub(crate) async fn session(&self, config: &Value) -> Result<Made> {
        self.session_with(config, &json!([])).await
    }

    /// The same, with resources.
    pub(crate) async fn session_with(&self, config: &Value, resources: &Value) -> Result<Made> {
        let session = session(self.client(), config, resources).await?;
        Ok(Made { session })
    }

    /// One turn that runs a command; what came of it.
    pub(crate) async fn bash(&self, session: &str, command: &str) -> Result<String> {
        let events = self.turn(session, &script(command)).await?;
        let told = results(&events);
        told.first()
            .cloned()
            .with_context(|| format!("no result: {events:?} {}", self.up.log()))
    }

    pub(crate) async fn turn(&self, session: &str, text: &str) -> Result<Vec<Value>> {
        turn(self.client(), session, text).await
    }
}

/// A session in a cloud environment of this configuration, with resources.
pub(crate) async fn session(client: &Client, config: &Value, resources: &Value) -> Result<String> {
    let (agent, _) = client.agent_and_environment("rehearsal-1").await?;
    let mut whole = json!({"type": "cloud"});
    for (key, value) in config.as_object().context("a configuration")? {
        whole[key] = value.clone();
    }
    let body = json!({"name": format!("of {}", uuid::Uuid::now_v7()), "config": whole});
    let environment = id(&client.post("/v1/environments", &body).await?.ok()?)?;
    let body = json!({"agent": agent, "environment_id": environment, "resources": resources});
    id(&client.post("/v1/sessions", &body).await?.ok()?)
}

/// What happens when this is said.
pub(crate) async fn turn(client: &Client, session: &str, text: &str) -> Result<Vec<Value>> {
    let after = client.log(session).await?.len() as u64;
    client.say(session, text).await?;
    let (events, _) = client.until_idle(session, after, PATIENCE).await?;
    Ok(events)
}

impl std::ops::Deref for Stand {
    type Target = Eye;

    fn deref(&self) -> &Eye {
        &self.eye
    }
}

/// Looks at what an engine has made.
pub(crate) struct Eye {
    pub(crate) engine: &'static Engine,
    /// What servers wrote, for a failure.
    pub(crate) logs: Vec<PathBuf>,
}

impl Eye {
    /// The last of what the servers said.
    pub(crate) fn said(&self) -> String {
        let tail = |log: &PathBuf| {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let from = text.len().saturating_sub(4000);
            format!("{}:\n{}\n", log.display(), text.get(from..).unwrap_or(&text))
        };
        self.logs.iter().map(tail).collect()
    }

    /// The containers and volumes of a session, by name.
    pub(crate) fn made_for(&self, session: &str) -> Result<Vec<String>> {
        let label = format!("label=perennial.session={session}");
        let containers = self
            .engine
            .docker(&["ps", "-a", "--filter", &label, "--format", "{{.Names}}"])?;
        let volumes = self
            .engine
            .docker(&["volume", "ls", "--filter", &label, "--format", "{{.Name}}"])?;
        Ok(containers.lines().chain(volumes.lines()).map(str::to_owned).collect())
    }

    /// The container of a session.
    pub(crate) fn container(&self, session: &str) -> Result<Value> {
        let label = format!("label=perennial.session={session}");
        let id = self.engine.docker(&["ps", "-a", "-q", "--filter", &label])?;
        let found: Vec<Value> = serde_json::from_str(&self.engine.docker(&["inspect", &id])?)?;
        found.into_iter().next().context("a container")
    }

    /// Waits until the container of a session is in a state.
    pub(crate) async fn until(&self, session: &str, status: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let found = self.container(session);
            if let Ok(found) = &found
                && found["State"]["Status"] == status
            {
                return Ok(found.clone());
            }
            if began.elapsed() > PATIENCE {
                bail!("the container is not {status}: {found:?} {}", self.said());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a command in the session's sandbox has written a word to its ledger.
    pub(crate) async fn until_ledger(&self, session: &str, word: &str) -> Result<()> {
        let container = self.container(session)?;
        let container = container["Id"].as_str().context("an id")?;
        let began = Instant::now();
        while !self
            .engine
            .docker(&["exec", "--workdir", "/sandbox/work", container, "/bin/cat", "ledger"])
            .is_ok_and(|said| said.contains(word))
        {
            if began.elapsed() > PATIENCE {
                bail!("{word} is not in the ledger: {}", self.said());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until something of a session is there.
    pub(crate) async fn until_any(&self, session: &str) -> Result<()> {
        let began = Instant::now();
        while self.made_for(session)?.is_empty() {
            if began.elapsed() > PATIENCE {
                bail!("nothing is made: {}", self.said());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until so many containers and volumes of a session are there.
    pub(crate) async fn until_count(&self, session: &str, count: usize) -> Result<()> {
        let began = Instant::now();
        loop {
            let made = self.made_for(session)?;
            if made.len() == count {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("not {count} but {made:?}: {}", self.said());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until nothing of a session is left in the engine.
    pub(crate) async fn until_nothing(&self, session: &str) -> Result<()> {
        self.until_count(session, 0).await
    }
}

/// What makes the rehearsal model run a command.
pub(crate) fn script(command: &str) -> String {
    format!("/tool bash {}", json!({"command": command}))
}

/// Texts of the tool results among events.
pub(crate) fn results(events: &[Value]) -> Vec<String> {
    let texts = events.iter().filter(|event| event["type"] == "agent.tool_result");
    texts
        .map(|event| event["content"][0]["text"].as_str().unwrap_or_default().to_owned())
        .collect()
}
