//! The command line: every verb on one screen. What a verb takes is defined beside the verb.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Flags;
use crate::exit;
use crate::servers::acp::AcpArgs;
use crate::servers::connect::ConnectArgs;
use crate::servers::executor::ExecutorArgs;
use crate::servers::rehearsal::RehearsalArgs;
use crate::servers::serve::ServeArgs;
use crate::servers::up::UpArgs;
use crate::servers::worker::WorkerArgs;
use crate::verbs::{
    agent, approvals, approve, attach, budget, call, completions, cp, deny, doctor, env, forward, key, mail, mcp,
    migrate, preview, prove, run, send, session, shell, usage, webhook, workers,
};

/// Durable agent sessions: a session survives the process that runs it.
#[derive(Debug, Parser)]
#[command(name = "perennial", version, propagate_version = true, after_help = exit::TABLE, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags every verb takes.
#[derive(Debug, Default, Args)]
pub struct Global {
    /// Print JSON (lists and streams: one value a line) on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the server keeps everything and clients find it [default: ~/.local/share/perennial]
    /// [env: PERENNIAL_DATA_DIR]
    #[arg(long, global = true, value_name = "PATH")]
    pub data_dir: Option<PathBuf>,
    /// The server to talk to instead of the data directory's, its key in PERENNIAL_KEY [env: PERENNIAL_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Configuration file [default: ~/.config/perennial/perennial.toml] [env: PERENNIAL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where the API listens.
#[derive(Debug, Default, Args)]
pub struct FrontArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:7340] [env: PERENNIAL_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// On a cluster: where its other processes reach this one, for machines that dial in here [default: where it listens]
    /// [env: PERENNIAL_ADVERTISE]
    #[arg(long, value_name = "URL")]
    pub advertise: Option<String>,
    /// The domain below which ports of machines are shown in browsers; all names below it lead here [default: localhost]
    /// [env: PERENNIAL_PREVIEW_URL]
    #[arg(long, value_name = "URL")]
    pub preview_url: Option<String>,
    /// Serve /metrics for Prometheus, /healthz and /readyz here, to whoever asks [default: only where the API is, for keys]
    /// [env: PERENNIAL_METRICS_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,
}

/// Who works, and how much for whom.
#[derive(Debug, Default, Args)]
pub struct PoolArgs {
    /// Work on at most so many sessions of a workspace at once, all workers together; give it to every process of a cluster
    /// [default: as many as there are slots] [env: PERENNIAL_WORKSPACE_SLOTS]
    #[arg(long, value_name = "N")]
    pub workspace_slots: Option<NonZeroU32>,
}

/// Worker processes that a server keeps.
#[derive(Debug, Default, Args)]
pub struct KeepArgs {
    /// Keep at least so many worker processes on this host [default: 0, if there is a --max] [env: PERENNIAL_MIN_WORKERS]
    #[arg(long, value_name = "N")]
    pub min: Option<u32>,
    /// On a cluster's database: start and stop worker processes on this host by how much there is to do, at most so many; one that
    /// dies is started again [default: none, others start them] [env: PERENNIAL_MAX_WORKERS]
    #[arg(long, value_name = "N")]
    pub max: Option<NonZeroU32>,
    /// Answer KEDA here, as an external scaler over gRPC, to whoever asks [default: nowhere] [env: PERENNIAL_KEDA_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub keda_listen: Option<String>,
}

/// How sessions are worked on.
#[derive(Debug, Default, Args)]
pub struct WorkArgs {
    /// Let tools change this host without asking even where they cannot be contained [env: PERENNIAL_ALLOW_LOCAL]
    #[arg(long)]
    pub allow_local: bool,
    /// How many sessions are worked on at a time [default: 64] [env: PERENNIAL_SLOTS]
    #[arg(long, value_name = "N")]
    pub slots: Option<NonZeroU32>,
    /// Ask another process's model gateway, so that this one needs no provider's key [env: PERENNIAL_GATEWAY_URL]
    #[arg(long, value_name = "URL")]
    pub gateway_url: Option<String>,
    /// Lease time to live
    #[arg(long, value_name = "MS", hide = true)]
    pub lease_ttl_ms: Option<NonZeroU64>,
    /// Time between lease renewals
    #[arg(long, value_name = "MS", hide = true)]
    pub renew_ms: Option<NonZeroU64>,
    /// Time between sweeps for ready sessions
    #[arg(long, value_name = "MS", hide = true)]
    pub sweep_ms: Option<NonZeroU64>,
}

/// Who hears what is done.
#[derive(Debug, Default, Args)]
pub struct TraceArgs {
    /// Export traces to this OTLP/HTTP collector, without a word of what is said: http://127.0.0.1:4318 [default: nowhere]
    /// [env: PERENNIAL_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// What sandboxes are made of here.
#[derive(Debug, Default, Args)]
pub struct SandboxArgs {
    /// Make a container for each session of a `cloud` environment, in this Docker Engine: unix:///var/run/docker.sock
    /// [default: a folder of the worker's host, if no other server makes any] [env: PERENNIAL_DOCKER]
    #[arg(long, value_name = "SOCKET")]
    pub docker: Option<String>,
    /// The image of such a container when its environment names none [default: debian:stable-slim]
    /// [env: PERENNIAL_SANDBOX_IMAGE]
    #[arg(long, value_name = "IMAGE")]
    pub sandbox_image: Option<String>,
}

/// The servers a cluster shares.
#[derive(Debug, Default, Args)]
pub struct ClusterArgs {
    /// The cluster's Postgres (15 or later) [env: PERENNIAL_DATABASE_URL, or a file: PERENNIAL_DATABASE_URL_FILE]
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The same server without a pooler in between, for the death watch [default: the database URL]
    /// [env: PERENNIAL_DATABASE_DIRECT_URL]
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub database_direct_url: Option<String>,
    /// The schema its tables are in [default: public] [env: PERENNIAL_DATABASE_SCHEMA]
    #[arg(long, value_name = "NAME")]
    pub database_schema: Option<String>,
    /// The cluster's NATS; without one the database is polled [env: PERENNIAL_NATS_URL]
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub nats_url: Option<String>,
    /// What its subjects begin with [default: perennial] [env: PERENNIAL_NATS_PREFIX]
    #[arg(long, value_name = "NAME")]
    pub nats_prefix: Option<String>,
}

impl FrontArgs {
    fn set(&self, flags: &mut Flags) {
        flags.listen.clone_from(&self.listen);
        flags.advertise.clone_from(&self.advertise);
        flags.preview_url.clone_from(&self.preview_url);
        flags.metrics_listen.clone_from(&self.metrics_listen);
    }
}

impl PoolArgs {
    fn set(&self, flags: &mut Flags) {
        flags.workspace_slots = self.workspace_slots.map(Into::into);
    }
}

impl KeepArgs {
    fn set(&self, flags: &mut Flags) {
        flags.min_workers = self.min;
        flags.max_workers = self.max.map(Into::into);
        flags.keda_listen.clone_from(&self.keda_listen);
    }
}

impl WorkArgs {
    fn set(&self, flags: &mut Flags) {
        flags.allow_local = self.allow_local;
        flags.slots = self.slots.map(Into::into);
        flags.gateway_url.clone_from(&self.gateway_url);
        flags.lease_ttl_ms = self.lease_ttl_ms.map(Into::into);
        flags.renew_ms = self.renew_ms.map(Into::into);
        flags.sweep_ms = self.sweep_ms.map(Into::into);
    }
}

impl SandboxArgs {
    fn set(&self, flags: &mut Flags) {
        flags.docker.clone_from(&self.docker);
        flags.sandbox_image.clone_from(&self.sandbox_image);
    }
}

impl TraceArgs {
    fn set(&self, flags: &mut Flags) {
        flags.otlp_endpoint.clone_from(&self.otlp_endpoint);
    }
}

impl ClusterArgs {
    fn set(&self, flags: &mut Flags) {
        flags.database_url.clone_from(&self.database_url);
        flags.database_direct_url.clone_from(&self.database_direct_url);
        flags.database_schema.clone_from(&self.database_schema);
        flags.nats_url.clone_from(&self.nats_url);
        flags.nats_prefix.clone_from(&self.nats_prefix);
    }
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Up(UpArgs),
    Serve(ServeArgs),
    Worker(WorkerArgs),
    Executor(ExecutorArgs),
    Connect(ConnectArgs),
    Acp(AcpArgs),
    Call(call::CallArgs),
    Cp(cp::CpArgs),
    Forward(forward::ForwardArgs),
    Preview(preview::PreviewArgs),
    Shell(shell::ShellArgs),
    Run(run::RunArgs),
    Attach(attach::AttachArgs),
    Send(send::SendArgs),
    /// List sessions that are not archived, newest first
    Ps(session::list::ListArgs),
    Approvals(approvals::ApprovalsArgs),
    Approve(approve::ApproveArgs),
    Deny(deny::DenyArgs),
    /// Sessions
    #[command(subcommand)]
    Session(session::SessionVerb),
    /// Agents
    #[command(subcommand)]
    Agent(agent::AgentVerb),
    /// Environments: where the tools of a session run
    #[command(subcommand)]
    Env(env::EnvVerb),
    Usage(usage::UsageArgs),
    /// Budgets: how much of models may be used
    #[command(subcommand)]
    Budget(budget::BudgetVerb),
    /// Virtual keys of the model gateway
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Who is told of what happens
    #[command(subcommand)]
    Webhook(webhook::WebhookVerb),
    /// Mail between sessions, agents, queues and programs
    #[command(subcommand)]
    Mail(mail::MailVerb),
    Mcp(mcp::McpArgs),
    Workers(workers::WorkersArgs),
    Migrate(migrate::MigrateArgs),
    Doctor(doctor::DoctorArgs),
    Prove(prove::ProveArgs),
    Rehearsal(RehearsalArgs),
    Completions(completions::CompletionsArgs),
    /// Print the version
    Version,
}

impl Cli {
    /// The flags that are settings.
    pub fn flags(&self) -> Flags {
        let mut flags = Flags {
            config: self.global.config.clone(),
            data_dir: self.global.data_dir.clone(),
            url: self.global.url.clone(),
            ..Flags::default()
        };
        let (front, work, cluster) = match &self.verb {
            Verb::Up(up) => (Some(&up.front), Some(&up.work), Some(&up.cluster)),
            Verb::Serve(serve) => (Some(&serve.front), None, Some(&serve.cluster)),
            Verb::Worker(worker) => (None, Some(&worker.work), Some(&worker.cluster)),
            Verb::Migrate(migrate) => (None, None, Some(&migrate.cluster)),
            Verb::Doctor(doctor) => (None, None, Some(&doctor.cluster)),
            _ => (None, None, None),
        };
        match &self.verb {
            Verb::Up(up) => {
                up.sandbox.set(&mut flags);
                up.pool.set(&mut flags);
                up.keep.set(&mut flags);
                up.trace.set(&mut flags);
            }
            Verb::Serve(serve) => {
                serve.sandbox.set(&mut flags);
                serve.pool.set(&mut flags);
                serve.keep.set(&mut flags);
                flags.slots = serve.slots.map(Into::into);
                serve.trace.set(&mut flags);
            }
            Verb::Worker(worker) => {
                worker.pool.set(&mut flags);
                flags.metrics_listen.clone_from(&worker.metrics_listen);
                worker.trace.set(&mut flags);
            }
            _ => {}
        }
        if let Some(front) = front {
            front.set(&mut flags);
        }
        if let Some(work) = work {
            work.set(&mut flags);
        }
        if let Some(cluster) = cluster {
            cluster.set(&mut flags);
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every verb with its arguments, so that a change of the command line is seen in review.
    #[test]
    fn usage_of_every_verb() {
        fn walk(command: &mut clap::Command, lines: &mut Vec<String>) {
            let verbs: Vec<String> = command
                .get_subcommands()
                .map(|verb| verb.get_name().to_owned())
                .collect();
            if verbs.is_empty() {
                lines.push(command.render_usage().to_string().replace("Usage: ", ""));
            }
            for verb in verbs.iter().filter(|verb| *verb != "help") {
                if let Some(verb) = command.find_subcommand_mut(verb) {
                    walk(verb, lines);
                }
            }
        }
        let mut command = Cli::command();
        command.build();
        let mut lines = Vec::new();
        walk(&mut command, &mut lines);
        let usage = lines.join("\n") + "\n";
        assert_eq!(
            usage,
            include_str!("usage.txt"),
            "cli/src/usage.txt is not what --help says:\n{usage}"
        );
    }

    #[test]
    fn up_flags_reach_the_settings() {
        let cli = Cli::try_parse_from([
            "perennial",
            "up",
            "--listen",
            "127.0.0.1:0",
            "--allow-local",
            "--slots",
            "3",
        ]);
        let flags = cli.expect("valid").flags();
        assert_eq!(flags.listen.as_deref(), Some("127.0.0.1:0"));
        assert!(flags.allow_local);
        assert_eq!(flags.slots, Some(3));
    }
}
