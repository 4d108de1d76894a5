//! One worker process: how it is started, told to end, and seen to.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use futures_util::future::select_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_schema::OwnerId;
use secrecy::ExposeSecret;
use tokio::process::{Child, ChildStdin, Command};

use crate::config::{Origin, Settings, TRACES_PATH};
use crate::house::brains;

/// What concerns this server alone.
const NOT_INHERITED: [&str; 6] = [
    "PERENNIAL_LISTEN",
    "PERENNIAL_METRICS_LISTEN",
    "PERENNIAL_KEDA_LISTEN",
    "PERENNIAL_MIN_WORKERS",
    "PERENNIAL_MAX_WORKERS",
    "PERENNIAL_DOCKER",
];

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It claims.
    Working,
    /// It was told to claim nothing more, and finishes what it drives.
    Spared,
    /// It was told to end, then.
    Stopping(Instant),
}

/// A worker process.
pub(super) struct Process {
    child: Child,
    /// It ends when this does.
    _input: Option<ChildStdin>,
    pub(super) pid: u32,
    /// As the pool knows it.
    pub(super) name: String,
    /// What it claims as, once the pool has heard of it.
    pub(super) owner: Option<OwnerId>,
    pub(super) since: Instant,
    pub(super) step: Step,
}

impl Process {
    /// Has it drain and end.
    pub(super) fn stop(&mut self) {
        if matches!(self.step, Step::Stopping(_)) {
            return;
        }
        self.step = Step::Stopping(Instant::now());
        // Not reaped yet, so the number is still its own.
        if let (Some(_), Ok(pid)) = (self.child.id(), i32::try_from(self.pid)) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
    }

    /// Ends it.
    pub(super) fn kill(&mut self) {
        self.child.start_kill().ok();
    }
}

/// The next one that ends, and how. Never without any.
pub(super) async fn reaped(processes: &mut [Process]) -> (usize, std::io::Result<ExitStatus>) {
    if processes.is_empty() {
        return std::future::pending().await;
    }
    let ends = processes.iter_mut().map(|process| Box::pin(process.child.wait()));
    let (status, index, _) = select_all(ends).await;
    (index, status)
}

/// How workers are started.
pub(super) struct Program {
    path: PathBuf,
    /// This server's settings, where they may have come from its command line.
    environment: Vec<(&'static str, String)>,
}

impl Program {
    /// Like this server.
    pub(super) fn of(settings: &Settings) -> std::io::Result<Self> {
        let mut environment = vec![
            ("PERENNIAL_DATA_DIR", settings.data_dir.value.display().to_string()),
            ("PERENNIAL_SLOTS", settings.slots.value.to_string()),
            ("PERENNIAL_ALLOW_LOCAL", settings.allow_local.value.to_string()),
            ("PERENNIAL_LEASE_TTL_MS", settings.lease_ttl_ms.value.to_string()),
            ("PERENNIAL_RENEW_MS", settings.renew_ms.value.to_string()),
            ("PERENNIAL_SWEEP_MS", settings.sweep_ms.value.to_string()),
        ];
        let mut also = |name, value: Option<String>| environment.extend(value.map(|value| (name, value)));
        also(
            "PERENNIAL_CONFIG",
            settings.file.as_ref().map(|file| file.display().to_string()),
        );
        also(
            "PERENNIAL_WORKSPACE_SLOTS",
            (settings.pool.workspace_slots.as_ref()).map(|slots| slots.value.to_string()),
        );
        also(
            "PERENNIAL_GATEWAY_URL",
            settings.gateway_url.as_ref().map(|url| url.value.clone()),
        );
        // From the file or the environment they have it themselves.
        let told = settings
            .otlp
            .as_ref()
            .filter(|otlp| matches!(otlp.endpoint.from, Origin::Flag(_)));
        also(
            "PERENNIAL_OTLP_ENDPOINT",
            told.and_then(|otlp| otlp.endpoint.value.strip_suffix(TRACES_PATH))
                .map(str::to_owned),
        );
        if let Some(database) = &settings.database {
            also(
                "PERENNIAL_DATABASE_URL",
                Some(database.url.value.expose_secret().to_owned()),
            );
            let direct = database.direct_url.as_ref();
            also(
                "PERENNIAL_DATABASE_DIRECT_URL",
                direct.map(|url| url.value.expose_secret().to_owned()),
            );
            also("PERENNIAL_DATABASE_SCHEMA", database.schema.value.clone());
        }
        if let Some(nats) = &settings.nats {
            also("PERENNIAL_NATS_URL", Some(nats.url.value.expose_secret().to_owned()));
            also("PERENNIAL_NATS_PREFIX", Some(nats.prefix.value.clone()));
        }
        Ok(Self {
            path: std::env::current_exe()?,
            environment,
        })
    }

    /// Starts one.
    pub(super) fn start(&self) -> std::io::Result<Process> {
        let mut command = Command::new(&self.path);
        command.args(["worker", "--kept"]);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        // In a group of its own: Ctrl-C is for this server, which then has its workers drain.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        Ok(Process {
            _input: child.stdin.take(),
            child,
            pid,
            name: brains::name(pid),
            owner: None,
            since: Instant::now(),
            step: Step::Working,
        })
    }
}
