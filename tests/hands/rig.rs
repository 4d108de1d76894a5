//! A server, and machines that connect to it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use perennial_proof::rig::port::free_port;
use perennial_proof::rig::process::{Process, Program};
use perennial_tests::client::{Client, id};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// A server that keeps its address over all its lives.
pub(crate) struct Stand {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) up: Up,
    server: Option<Server>,
    pub(crate) url: String,
    client: Client,
}

impl Stand {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// With this in its environment.
    pub(crate) async fn start_with(env: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let up = Up::on(&dir.path().join("data")).arg("--listen").arg(&listen);
        let up = env.iter().fold(up, |up, (name, value)| up.env(name, value));
        let server = up.start().await?;
        Ok(Self {
            dir,
            up,
            url: server.url.clone(),
            client: server.client.clone(),
            server: Some(server),
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The process that serves.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.server.as_ref().context("it runs")?.pid)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.server.take().context("it runs")?.kill().await
    }

    /// The next life, at the same address.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        let server = self.up.start().await?;
        self.client = server.client.clone();
        self.server = Some(server);
        Ok(())
    }

    /// A machine that connects to the server, through `address` if there is something before it.
    pub(crate) async fn device(&self, name: &str, address: Option<String>) -> Result<Device> {
        let server = address.unwrap_or_else(|| self.url.clone());
        Device::connect(self.dir.path(), self.client(), &server, name).await
    }

    pub(crate) async fn online(&self, executor: &str) -> Result<Value> {
        self.until(executor, "online").await
    }

    pub(crate) async fn until(&self, executor: &str, status: &str) -> Result<Value> {
        until(self.client(), executor, status).await
    }

    /// A session whose tools run on a device.
    pub(crate) async fn session_on(&self, device: &Device) -> Result<String> {
        session_on(self.client(), device).await
    }

    /// One turn; the events of it.
    pub(crate) async fn turn(&self, session: &str, text: &str) -> Result<Vec<Value>> {
        turn(self.client(), session, text).await
    }
}

/// A session whose tools run on a device.
pub(crate) async fn session_on(client: &Client, device: &Device) -> Result<String> {
    let (agent, _) = client.agent_and_environment("rehearsal-1").await?;
    let name = format!("on {} {}", device.id, uuid::Uuid::now_v7());
    let body = json!({"name": name, "config": {"type": "local", "executor_id": device.id}});
    let environment = client.post("/v1/environments", &body).await?.ok()?;
    client.session(&agent, &id(&environment)?).await
}

/// One turn; the events of it.
pub(crate) async fn turn(client: &Client, session: &str, text: &str) -> Result<Vec<Value>> {
    let after = client.log(session).await?.len() as u64;
    client.say(session, text).await?;
    let (events, _) = client.until_idle(session, after, PATIENCE).await?;
    Ok(events)
}

async fn found(client: &Client, name: &str) -> Result<String> {
    let began = Instant::now();
    loop {
        let list = client.get("/v1/executors?limit=100").await?.ok()?;
        let all = list["data"].as_array().context("a list")?;
        if let Some(found) = all.iter().find(|executor| executor["name"] == name) {
            return id(found);
        }
        if began.elapsed() > PATIENCE {
            bail!("{name} did not register");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for a status of an executor.
pub(crate) async fn until(client: &Client, executor: &str, status: &str) -> Result<Value> {
    let began = Instant::now();
    loop {
        let seen = client.get(&format!("/v1/executors/{executor}")).await?.ok()?;
        if seen["status"] == status {
            return Ok(seen);
        }
        if began.elapsed() > PATIENCE {
            bail!("{executor} is not {status}: {seen}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until something holds.
pub(crate) async fn wait_until(mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        if began.elapsed() > PATIENCE {
            bail!("it does not come to that");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn program(home: &Path, work: &Path, args: &[&str]) -> Program {
    let mut all = vec!["--dir".to_owned(), work.display().to_string()];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    Program {
        verb: "connect",
        data_dir: home.to_owned(),
        log_file: home.with_extension("log"),
        env: Vec::new(),
        args: all,
    }
}

/// A machine.
pub(crate) struct Device {
    pub(crate) program: Program,
    pub(crate) home: PathBuf,
    /// The folder it offers.
    pub(crate) work: PathBuf,
    pub(crate) process: Option<Process>,
    pub(crate) id: String,
}

impl Device {
    /// Registers with a code, and is online.
    pub(crate) async fn connect(dir: &Path, client: &Client, server: &str, name: &str) -> Result<Self> {
        let made = client.post("/v1/executors/codes", &json!({})).await?.ok()?;
        let code = made["secret"].as_str().context("a code")?;
        let home = dir.join(name);
        let work = dir.join(format!("{name}-work"));
        std::fs::create_dir_all(&work)?;
        std::fs::write(work.join("there"), "there\n")?;
        let mut device = Self {
            program: program(&home, &work, &["--server", server, "--code", code, "--name", name]),
            home,
            work,
            process: None,
            id: String::new(),
        };
        device.process = Some(device.program.start()?);
        // Later lives know all that from the registry.
        device.program.args.truncate(2);
        device.id = found(client, name).await?;
        until(client, &device.id, "online").await?;
        Ok(device)
    }

    /// `perennial connect` alone.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.process = Some(self.program.start()?);
        Ok(())
    }

    pub(crate) fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("it runs")
    }

    /// Which ids commands wrote to the ledger, in order.
    pub(crate) fn ledger(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.work.join("ledger")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn ledger_has(&self, id: &str) -> Result<()> {
        let began = Instant::now();
        while !self.ledger().iter().any(|line| line == id) {
            if began.elapsed() > PATIENCE {
                bail!("{id} is not in the ledger: {}", self.program.log());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Texts of the tool results among events.
pub(crate) fn results(events: &[Value]) -> Vec<String> {
    let texts = events.iter().filter(|event| event["type"] == "agent.tool_result");
    texts
        .map(|event| event["content"][0]["text"].as_str().unwrap_or_default().to_owned())
        .collect()
}
