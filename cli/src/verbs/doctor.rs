//! `perennial doctor`: the effective configuration, where each value came from, and what is missing.

mod pool;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use perennial_broker::bus::nats;
use perennial_broker::executors;
use perennial_broker::log::postgres::{self, LeftOpen, Postgres};
use perennial_engine::ports::{SandboxHost, SandboxHosts};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use super::Context;
use crate::args::ClusterArgs;
use crate::client::Client;
use crate::config::{self, Setting, Settings, environment};
use crate::error::{Error, chain};
use crate::exit::Exit;
use crate::output;

/// A transaction that waits for its client longer than this is no working one.
const IDLE: Duration = Duration::from_secs(60);
/// For a probe to answer.
const PROBE: Duration = Duration::from_secs(5);

/// Explain the effective configuration and what is missing
#[derive(Debug, Default, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Serialize)]
struct Line {
    setting: &'static str,
    value: String,
    from: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Something is missing that can be done without.
    Note,
    /// Something does not work.
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    detail: String,
}

/// Prints settings and checks; fails when something does not work.
pub async fn run(context: &Context) -> Result<Exit, Error> {
    let settings = effective(context);
    let mut checks = vec![data_dir(context)];
    let server = server(context).await;
    let reached = server.verdict == Verdict::Ok;
    checks.push(server);
    if reached {
        checks.extend(pool::examine(context).await);
    }
    checks.extend(cluster(&context.settings).await);
    checks.push(bubblewrap().await);
    checks.extend(sandboxes(&context.settings).await);
    checks.push(providers(context));
    checks.push(harness(&context.settings.claude.value, &CLAUDE).await);
    checks.push(harness(&context.settings.codex.value, &CODEX).await);
    checks.extend(traces(&context.settings));
    checks.extend(misspelt());
    let healthy = checks.iter().all(|check| check.verdict != Verdict::Bad);
    if context.json {
        output::line(&json!({"healthy": healthy, "settings": settings, "checks": checks}).to_string())?;
    } else {
        print(context, &settings, &checks)?;
    }
    Ok(if healthy { Exit::Done } else { Exit::Failed })
}

fn print(context: &Context, settings: &[Line], checks: &[Check]) -> Result<(), Error> {
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|line| vec![line.setting.to_owned(), line.value.clone(), line.from.clone()])
        .collect();
    output::table(&["SETTING", "VALUE", "FROM"], &rows)?;
    output::line("")?;
    for check in checks {
        let mark = match check.verdict {
            Verdict::Ok => context.style.good("ok  "),
            Verdict::Note => context.style.warn("note"),
            Verdict::Bad => context.style.bad("BAD "),
        };
        output::line(&format!(
            "{mark}  {}: {}",
            check.check,
            crate::render::sanitize(&check.detail)
        ))?;
    }
    Ok(())
}

fn effective(context: &Context) -> Vec<Line> {
    fn line<T: ToString>(setting: &'static str, value: &Setting<T>) -> Line {
        Line {
            setting,
            value: value.value.to_string(),
            from: value.from.to_string(),
        }
    }
    fn text(setting: &'static str, value: impl Into<String>, from: &impl ToString) -> Line {
        Line {
            setting,
            value: value.into(),
            from: from.to_string(),
        }
    }
    fn shared(setting: &'static str, from: Option<&config::Origin>) -> Line {
        match from {
            Some(from) => text(setting, "(set)", from),
            None => text(setting, "(none)", &""),
        }
    }
    let settings = &context.settings;
    let file = settings
        .file
        .as_ref()
        .map_or("(none)".into(), |path| path.display().to_string());
    let program = |path: &Option<PathBuf>| match path {
        Some(path) => path.display().to_string(),
        None => "(not in PATH)".to_owned(),
    };
    let mut lines = vec![
        text("configuration file", file, &""),
        text(
            "data directory",
            settings.data_dir.value.display().to_string(),
            &settings.data_dir.from,
        ),
        shared(
            "database",
            settings.database.as_ref().map(|database| &database.url.from),
        ),
        shared("nats", settings.nats.as_ref().map(|nats| &nats.url.from)),
        line("listen", &settings.listen),
        line("allow local", &settings.allow_local),
        line("slots", &settings.slots),
        match &settings.pool.workspace_slots {
            Some(slots) => line("slots of a workspace", slots),
            None => text("slots of a workspace", "(all)", &config::Origin::Default),
        },
        line("lease ttl (ms)", &settings.lease_ttl_ms),
        line("lease renew (ms)", &settings.renew_ms),
        line("sweep (ms)", &settings.sweep_ms),
        text("default model", settings.model(), &settings.default_model.from),
        line("anthropic url", &settings.anthropic.base_url),
        line("openai url", &settings.openai.base_url),
        text("claude", program(&settings.claude.value), &settings.claude.from),
        text("codex", program(&settings.codex.value), &settings.codex.from),
    ];
    let secrets = [
        ("anthropic key", &settings.anthropic.key),
        ("openai key", &settings.openai.key),
        ("client key", &settings.key),
    ];
    for (name, secret) in secrets {
        lines.push(match secret {
            Some(secret) => text(name, "(set)", &secret.from),
            None => text(name, "(not set)", &""),
        });
    }
    if let Some(kept) = &settings.pool.kept {
        let workers = format!("{} to {}", kept.min, kept.max.value);
        lines.push(text("workers kept", workers, &kept.max.from));
    }
    lines.extend(
        settings
            .keda_listen
            .as_ref()
            .map(|address| line("keda listen", address)),
    );
    lines.extend(settings.advertise.as_ref().map(|url| line("advertise", url)));
    if let Some(sandbox) = &settings.sandbox {
        lines.push(line("docker", &sandbox.docker));
        lines.push(line("sandbox image", &sandbox.image));
    }
    lines.extend(settings.url.as_ref().map(|url| line("client url", url)));
    lines.extend(settings.gateway_url.as_ref().map(|url| line("gateway url", url)));
    lines.extend(settings.otlp.as_ref().map(|otlp| line("traces", &otlp.endpoint)));
    for (name, provider) in &settings.providers {
        let key = if provider.key.is_some() {
            "with a key"
        } else {
            "without a key"
        };
        let value = format!("{name}: {} at {}, {key}", provider.wire, provider.base_url.value);
        lines.push(text("model server", value, &provider.base_url.from));
    }
    lines
}

fn data_dir(context: &Context) -> Check {
    let dir = &context.settings.data_dir.value;
    // What does not exist yet will be created: its nearest existing ancestor decides.
    let existing = dir
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"));
    let probe = existing.join(format!(".perennial-doctor-{}", std::process::id()));
    let (verdict, detail) = match std::fs::write(&probe, b"") {
        Ok(()) => {
            std::fs::remove_file(&probe).ok();
            let state = if existing == dir { "writable" } else { "will be created" };
            (Verdict::Ok, format!("{} {state}", dir.display()))
        }
        Err(error) => (
            Verdict::Bad,
            format!("{} cannot be written: {error}", existing.display()),
        ),
    };
    Check {
        check: "data directory",
        verdict,
        detail,
    }
}

async fn server(context: &Context) -> Check {
    let (verdict, detail) = match reach(context).await {
        Ok(detail) => (Verdict::Ok, detail),
        // Not running is a state, not a fault; a configured one that does not answer is a fault.
        Err(error @ Error::NoServer { .. }) => (Verdict::Note, error.to_string().replace('\n', "; ")),
        Err(error) => (Verdict::Bad, chain(&error)),
    };
    Check {
        check: "server",
        verdict,
        detail,
    }
}

async fn reach(context: &Context) -> Result<String, Error> {
    let client: Client = context.client()?;
    let base = client.server()?.base;
    client.get("/readyz", &[]).await?;
    client.get("/v1/sessions", &[("limit", "1".to_owned())]).await?;
    Ok(format!("{base} is ready and takes the key"))
}

/// What a cluster shares; nothing when this is none.
async fn cluster(settings: &Settings) -> Vec<Check> {
    let Some(shared) = &settings.database else {
        return Vec::new();
    };
    let url = shared.url.value.expose_secret();
    let opened = postgres::Settings {
        schema: shared.schema.value.clone(),
        ..postgres::Settings::default()
    };
    let (database, more) = match Postgres::open(url, opened).await {
        Ok(store) => {
            let mut more = left_open(&store).await;
            more.extend(hosts(&executors::Postgres::new(&store)).await);
            store.shutdown().await;
            let right = "answers; its schema and its durability are right".to_owned();
            ((Verdict::Ok, right), Some(more))
        }
        Err(error) => ((Verdict::Bad, chain(&error)), None),
    };
    let (verdict, detail) = match &settings.nats {
        Some(nats) => bus(nats).await,
        None => (
            Verdict::Note,
            "no NATS: every process looks at the database every 200 ms instead, other nodes' previews are not seen, and a \
             fork on another host begins with an empty workspace (--nats-url)"
                .to_owned(),
        ),
    };
    let checks = vec![
        Check {
            check: "database",
            verdict: database.0,
            detail: database.1,
        },
        Check {
            check: "bus",
            verdict,
            detail,
        },
    ];
    checks.into_iter().chain(more.into_iter().flatten()).collect()
}

/// Transactions that have been idle for a minute: what is dead beside them is waded through by every claim.
async fn left_open(store: &Postgres) -> Vec<Check> {
    let check = |verdict, detail| Check {
        check: "transactions left open",
        verdict,
        detail,
    };
    let said = |left: &LeftOpen| {
        let LeftOpen {
            pid,
            role,
            program,
            idle,
        } = left;
        let idle = idle.as_secs();
        format!("pid {pid} of {role} ({program:?}) for {idle} s")
    };
    match store.left_open(IDLE).await {
        Ok(left) if left.is_empty() => Vec::new(),
        Ok(left) => {
            let all: Vec<String> = left.iter().map(said).collect();
            let detail = format!(
                "{}: beside them nothing dead is cleared away and claims get slower; servers end them after \
                 PERENNIAL_IDLE_TRANSACTION_S where their role may (pg_signal_backend)",
                all.join(", ")
            );
            vec![check(Verdict::Note, detail)]
        }
        Err(error) => vec![check(Verdict::Bad, chain(&error))],
    }
}

/// Which processes of the cluster make sandboxes.
async fn hosts(store: &dyn SandboxHosts) -> Vec<Check> {
    let check = |(verdict, detail)| Check {
        check: "sandboxes of the cluster",
        verdict,
        detail,
    };
    let hosts = match store.sandbox_hosts().await {
        Ok(hosts) => hosts,
        Err(error) => return vec![check((Verdict::Bad, chain(&error)))],
    };
    if hosts.is_empty() {
        let none = "no server has a container engine (`serve --docker unix:///var/run/docker.sock`): a `cloud` environment is a folder of \
                    a worker's host, and one that names an image is refused";
        return vec![check((Verdict::Note, none.to_owned()))];
    }
    hosts.iter().map(|host| check(described(host))).collect()
}

fn described(host: &SandboxHost) -> (Verdict, String) {
    let (said, unseen) = (&host.host, host.unseen_for.as_secs());
    let engine = said.engine.as_deref().unwrap_or("a container engine");
    let home = &said.home;
    match &said.trouble {
        _ if host.lost() => (
            Verdict::Note,
            format!(
                "{home} was not heard of for {unseen} s: sandboxes of it are made anew when they are called, without their files"
            ),
        ),
        _ if !host.online() => (
            Verdict::Bad,
            format!(
                "{home} was not heard of for {unseen} s; after {} s its sandboxes are given up",
                said.lost_after.as_secs()
            ),
        ),
        Some(trouble) => (Verdict::Bad, format!("{home}: {trouble}")),
        None => (
            Verdict::Ok,
            format!("{engine} at {home}, image {}", said.defaults.image),
        ),
    }
}

async fn bus(settings: &config::Nats) -> (Verdict, String) {
    let mut asked = nats::Settings::new(settings.url.value.expose_secret());
    asked.prefix.clone_from(&settings.prefix.value);
    let bus = match nats::Nats::open(asked).await {
        Ok(bus) => bus,
        Err(error) => return (Verdict::Bad, chain(&error)),
    };
    let connected = bus.connected(PROBE).await;
    bus.close().await;
    if connected {
        (Verdict::Ok, "NATS answers".to_owned())
    } else {
        // Everything goes on without it, only slower.
        (
            Verdict::Bad,
            "NATS does not answer: nothing is lost without it, and everything is slower".to_owned(),
        )
    }
}

/// What makes sandboxes; nothing when nothing does.
async fn sandboxes(settings: &Settings) -> Option<Check> {
    let sandbox = settings.sandbox.as_ref()?;
    let (verdict, detail) = match crate::house::Sandboxes::examine(sandbox).await {
        Ok(engine) => (
            Verdict::Ok,
            format!("{engine} at {}, image {}", sandbox.docker.value, sandbox.image.value),
        ),
        Err(error) => (Verdict::Bad, format!("{error:#}")),
    };
    Some(Check {
        check: "sandboxes",
        verdict,
        detail,
    })
}

async fn bubblewrap() -> Check {
    const ARGUMENTS: [&str; 12] = [
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--unshare-pid",
        "--unshare-net",
        "--die-with-parent",
        "--",
        "true",
    ];
    let (verdict, detail) = match probe(Path::new("bwrap"), &ARGUMENTS).await {
        Ok(_) => (
            Verdict::Ok,
            "works: tools of local environments are contained".to_owned(),
        ),
        Err(reason) => (
            Verdict::Note,
            format!("{reason}; tools that change the host ask first (or run `up --allow-local`)"),
        ),
    };
    Check {
        check: "bubblewrap",
        verdict,
        detail,
    }
}

fn providers(context: &Context) -> Check {
    let settings = &context.settings;
    let names = [("anthropic", &settings.anthropic.key), ("openai", &settings.openai.key)];
    let keyed = names.iter().filter(|(_, key)| key.is_some()).map(|(name, _)| *name);
    let there: Vec<&str> = keyed.chain(settings.providers.keys().map(String::as_str)).collect();
    let (verdict, detail) = if let Some(url) = &settings.gateway_url {
        let detail = format!(
            "models are asked through the gateway at {}, which has the keys; `/llm` of this process has those for {}",
            url.value,
            if there.is_empty() {
                "rehearsal-1 only".to_owned()
            } else {
                there.join(", ")
            }
        );
        (Verdict::Ok, detail)
    } else if there.is_empty() {
        let detail = "no key here (ANTHROPIC_API_KEY, OPENAI_API_KEY): a server started like this uses rehearsal-1, a scripted model";
        (Verdict::Note, detail.to_owned())
    } else {
        let unpriced = if settings.prices.is_empty() {
            "; no prices are set, so a budget of money would refuse them all ([prices.\"MODEL\"])"
        } else {
            ""
        };
        let detail = format!(
            "{} by way of the gateway under /llm, which alone has their keys{unpriced}",
            there.join(", ")
        );
        (Verdict::Ok, detail)
    };
    Check {
        check: "model providers",
        verdict,
        detail,
    }
}

/// A program that only agents with its harness need.
struct Program {
    check: &'static str,
    name: &'static str,
    harness: &'static str,
    setting: &'static str,
}

const CLAUDE: Program = Program {
    check: "claude code",
    name: "claude",
    harness: "claude-code",
    setting: "PERENNIAL_CLAUDE_BIN",
};

const CODEX: Program = Program {
    check: "codex",
    name: "codex",
    harness: "codex",
    setting: "PERENNIAL_CODEX_BIN",
};

async fn harness(binary: &Option<PathBuf>, program: &Program) -> Check {
    let Program {
        check,
        name,
        harness,
        setting,
    } = program;
    let found = match binary {
        Some(binary) => probe(binary, &["--version"]).await,
        None => Err(format!("no {name} in PATH")),
    };
    let (verdict, detail) = match found {
        Ok(version) => (Verdict::Ok, version),
        Err(reason) => (
            Verdict::Note,
            format!("{reason}; needed only for agents with the {harness} harness ({setting} names the binary)"),
        ),
    };
    Check { check, verdict, detail }
}

/// Whether what was said of traces is any use.
fn traces(settings: &Settings) -> Option<Check> {
    let reason = settings.otlp.as_ref()?.unusable.clone()?;
    Some(Check {
        check: "traces",
        verdict: Verdict::Note,
        detail: format!("not exported: {reason}"),
    })
}

fn misspelt() -> Option<Check> {
    let environment = environment();
    let unknown: Vec<&str> = environment.unknown().collect();
    (!unknown.is_empty()).then(|| Check {
        check: "variables",
        verdict: Verdict::Note,
        detail: format!("not known to this build: {}", unknown.join(", ")),
    })
}

/// Runs a program; its first line of output, or why not.
async fn probe(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let name: PathBuf = program.to_owned();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PROBE, child)
        .await
        .map_err(|_| format!("{} does not answer", name.display()))?
        .map_err(|error| format!("{} does not run: {error}", name.display()))?;
    let first = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    if output.status.success() {
        Ok(first(&output.stdout))
    } else {
        Err(format!("{} fails: {}", name.display(), first(&output.stderr)))
    }
}
