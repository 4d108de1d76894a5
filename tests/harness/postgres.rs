//! A real Postgres as a child process on a port of its own, killed with the test. It keeps its data over stops and starts, and
//! its settings are the ones that lose nothing: a commit is on the disk.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use perennial_proof::rig::clock::Clock;
use perennial_proof::rig::port::free_port;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::child::bind_to_us;

/// Longest wait for a server to say that it is ready, also after a crash.
const START: Duration = Duration::from_secs(30);

/// A server, running or not.
#[derive(Debug)]
pub struct Postgres {
    /// Where it listens, also while it does not run.
    pub port: u16,
    programs: PathBuf,
    data: PathBuf,
    child: Option<Child>,
    /// A clock of its own, and the library for it.
    clock: Option<(Clock, PathBuf)>,
}

impl Postgres {
    /// A running server with an empty cluster; `None` where it is not installed.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub async fn start() -> Result<Option<Self>> {
        let Some(programs) = installed() else {
            return Ok(None);
        };
        // Beside us: what a crashed run left may be a great many files.
        std::thread::spawn(sweep);
        let template = template(&programs).await?;
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let data = place().join(format!("{RUN}{}-{run}", std::process::id()));
        copy(&template, &data).await?;
        let mut server = Self {
            port: free_port()?,
            programs,
            data,
            child: None,
            clock: None,
        };
        server.run().await?;
        Ok(Some(server))
    }

    /// The address of one of its databases, for its superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Its first process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Makes an empty database, or a copy of another one that nobody uses; answers its address.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn database(&self, name: &str, copy_of: Option<&str>) -> Result<String> {
        create(self.port, name, copy_of).await
    }

    /// Starts it, on the same port and data every time, and waits until it takes connections.
    ///
    /// # Errors
    /// When it does not say in time that it is ready.
    pub async fn run(&mut self) -> Result<()> {
        let mut command = as_its_user(&self.programs.join("postgres"))?;
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=400",
            "shared_buffers=64MB",
            "log_min_messages=warning",
            "lc_messages=C",
        ] {
            command.args(["-c", setting]);
        }
        if let Some((clock, library)) = &self.clock {
            command.envs(clock.env(library));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        bind_to_us(&mut command);
        let mut child = command.spawn().context("could not start postgres")?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let mut said = Vec::new();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("ready to accept connections") {
                    return true;
                }
                said.push(line);
            }
            false
        };
        match tokio::time::timeout(START, ready).await {
            Ok(true) => {}
            _ => bail!("postgres did not become ready: {}", said.join("\n")),
        }
        // Whatever it says later has a reader, so that it never waits for one.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.child = Some(child);
        Ok(())
    }

    /// Gives it a clock of its own, by this library, from its next start on.
    ///
    /// # Errors
    /// When the clock cannot be written.
    pub fn with_clock(&mut self, library: PathBuf) -> Result<()> {
        self.clock = Some((Clock::new(self.data.with_extension("clock"))?, library));
        Ok(())
    }

    /// Its own clock, if it has one.
    #[must_use]
    pub fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref().map(|(clock, _)| clock)
    }

    /// Stops it as a crash would (`immediate`: no checkpoint, no word to its clients), and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn stop_immediate(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = child.id().context("postgres is gone")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGQUIT)?;
        let gone = tokio::time::timeout(START, child.wait()).await;
        gone.context("postgres does not stop")??;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children notice that it is gone; the next run removes what they leave.
        self.child = None;
        let _ = std::fs::remove_dir_all(&self.data);
        let _ = std::fs::remove_file(self.data.with_extension("clock"));
    }
}

/// One server for a whole test program, each test with a database of its own.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// Where it listens.
    pub port: u16,
}

impl Shared {
    /// The server, started by whoever comes first; `None` where it is not installed.
    ///
    /// # Errors
    /// When it is installed and did not start.
    pub fn get() -> Result<Option<Self>> {
        static SHARED: OnceLock<Result<Option<u16>, String>> = OnceLock::new();
        match SHARED.get_or_init(|| keep().map_err(|error| format!("{error:#}"))) {
            Ok(port) => Ok(port.map(|port| Self { port })),
            Err(error) => bail!("{error}"),
        }
    }

    /// As [`Postgres::database`].
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn database(&self, name: &str, copy_of: Option<&str>) -> Result<String> {
        create(self.port, name, copy_of).await
    }
}

/// Starts a server in a thread that lives as long as this program: the kernel ends the server with that thread.
fn keep() -> Result<Option<u16>> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let server = Postgres::start().await;
            let port = server.as_ref().map(|server| server.as_ref().map(|server| server.port));
            let _ = tell.send(port.map_err(|error| anyhow::anyhow!("{error:#}")));
            std::future::pending::<()>().await;
        });
    });
    told.recv().context("the keeper of postgres ended")?
}

async fn create(port: u16, name: &str, copy_of: Option<&str>) -> Result<String> {
    let mut admin = PgConnection::connect(&format!("postgres://postgres@127.0.0.1:{port}/postgres")).await?;
    let template = copy_of.map(|of| format!(" TEMPLATE \"{of}\"")).unwrap_or_default();
    admin
        .execute(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"{template}")))
        .await?;
    admin.close().await?;
    Ok(format!("postgres://postgres@127.0.0.1:{port}/{name}"))
}

/// The newest installed server's programs: the search path, or where Debian puts them.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    places.sort();
    let places = std::env::split_paths(&path).chain(places.into_iter().rev());
    places.into_iter().find(|place| {
        ["initdb", "postgres"]
            .iter()
            .all(|program| place.join(program).is_file())
    })
}

const RUN: &str = "postgres-run-";

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-env")
}

/// A program of Postgres, which refuses to be root: for root, as its own user.
fn as_its_user(program: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).current_dir("/");
    if let Some(user) = user()? {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(command)
}

fn user() -> Result<Option<User>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?.context("root needs a user `postgres` to run it as")?;
    Ok(Some(user))
}

/// A fresh cluster, made once per version.
async fn template(programs: &Path) -> Result<PathBuf> {
    let version = Command::new(programs.join("postgres"))
        .arg("--version")
        .output()
        .await?;
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.split_whitespace().nth(2).context("which version is this?")?;
    let ready = place().join(format!("postgres-{version}"));
    if ready.join("PG_VERSION").is_file() {
        return Ok(ready);
    }
    std::fs::create_dir_all(place())?;
    let making = tempfile::Builder::new().prefix("postgres-init-").tempdir_in(place())?;
    if let Some(user) = user()? {
        nix::unistd::chown(making.path(), Some(user.uid), Some(user.gid))?;
    }
    let data = making.path().join("data");
    let made = as_its_user(&programs.join("initdb"))?
        .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
        .arg(&data)
        .output()
        .await?;
    ensure!(
        made.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    // Another test program may have been faster.
    if std::fs::rename(&data, &ready).is_err() {
        ensure!(
            ready.join("PG_VERSION").is_file(),
            "the template cannot be put in place"
        );
    }
    Ok(ready)
}

async fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().await?;
    ensure!(copied.success(), "the template cannot be copied");
    Ok(())
}

/// Removes what test programs that are gone have left.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(place()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(RUN)?.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid| kill(Pid::from_raw(pid), None).is_err()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
