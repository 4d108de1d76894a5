//! `perennial prove`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use perennial_broker::log::postgres;
use perennial_proof::prove::{Cluster, House, Plan, Progress, Until, Verdict};

use super::Context;
use crate::error::{Error, chain};
use crate::exit::Exit;
use crate::output;

/// Sessions at work at the same time.
const SESSIONS: usize = 8;
/// Of a cluster.
const NODES: usize = 2;
/// Of a cluster.
const WORKERS: usize = 3;
/// Time between two lines of progress where nobody watches.
const REPORT: Duration = Duration::from_secs(10);

/// Kill, freeze and cut a private copy of this install while it works, and check everything it promised.
///
/// Starts its own processes on a data directory of its own: one, or with --database-url two nodes and three workers in a
/// schema and under subjects of their own, whose connections alone are cut. Nothing of yours is touched. Prints what was
/// tried, what was looked at and every promise that was broken; exit code 1 if there is one.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// How long faults are injected
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    pub minutes: f64,
    /// Choose faults and work as an earlier run did
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Prove a cluster, on this Postgres
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// The cluster's NATS; without one its nodes poll
    #[arg(long, value_name = "URL", requires = "database_url")]
    pub nats_url: Option<String>,
    /// Take a protection away and see that it is missed: no-fence, no-journal, no-conditional-release, no-dedupe
    #[cfg(feature = "failpoints")]
    #[arg(long, value_name = "WHICH", hide = true, value_parser = sabotage)]
    pub sabotage: Option<perennial_proof::prove::Sabotage>,
}

#[cfg(feature = "failpoints")]
fn sabotage(name: &str) -> Result<perennial_proof::prove::Sabotage, String> {
    perennial_proof::prove::Sabotage::by_name(name).ok_or_else(|| "no such protection".to_owned())
}

/// Proves, and says what came of it.
pub async fn run(context: &Context, args: ProveArgs) -> Result<Exit, Error> {
    let plan = plan(&args);
    let folder = std::env::temp_dir().join(format!("perennial-prove-{}-{}", plan.seed, std::process::id()));
    output::note(&format!("perennial prove: seed {}, in {}", plan.seed, folder.display()));
    let cluster = cluster(&args, plan.seed);
    let proving = prove(&plan, &folder, cluster.as_ref());
    let verdict = tokio::select! {
        verdict = proving => verdict,
        _ = tokio::signal::ctrl_c() => {
            std::fs::remove_dir_all(&folder).ok();
            return Ok(Exit::Interrupted);
        }
    };
    let verdict =
        verdict.map_err(|error| Error::Failed(format!("{error:#}\nits files are in {}", folder.display())))?;
    if context.json {
        let json = serde_json::to_string(&verdict).map_err(|error| Error::Failed(error.to_string()))?;
        output::line(&json)?;
    } else {
        output::raw(&verdict.table())?;
    }
    if !verdict.is_clean() {
        output::note(&format!("logs and data are kept in {}", folder.display()));
        if let Some(cluster) = cluster {
            output::note(&format!("and in the database, schema {}", cluster.schema));
        }
        return Ok(Exit::Failed);
    }
    std::fs::remove_dir_all(&folder).ok();
    if let Some(Cluster {
        database_url, schema, ..
    }) = cluster
    {
        let dropped = postgres::drop_schema(&database_url, &schema).await;
        dropped.map_err(|error| Error::Failed(format!("cannot remove the schema {schema}: {}", chain(&error))))?;
    }
    Ok(Exit::Done)
}

/// The cluster to prove, in a place of its own on its servers.
fn cluster(args: &ProveArgs, seed: u64) -> Option<Cluster> {
    let place = format!("perennial_prove_{seed:x}_{}", std::process::id());
    Some(Cluster {
        database_url: args.database_url.clone()?,
        schema: place.clone(),
        nats_url: args.nats_url.clone(),
        nats_prefix: place,
        nodes: NODES,
        workers: WORKERS,
        clocks: None,
    })
}

fn plan(args: &ProveArgs) -> Plan {
    Plan {
        seed: args
            .seed
            .unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0)),
        sessions: SESSIONS,
        until: Until::Elapsed(Duration::from_secs_f64(args.minutes.clamp(0.05, 100_000.0) * 60.0)),
        #[cfg(feature = "failpoints")]
        sabotage: args.sabotage,
        #[cfg(not(feature = "failpoints"))]
        sabotage: None,
        opening: None,
    }
}

async fn prove(plan: &Plan, folder: &Path, cluster: Option<&Cluster>) -> anyhow::Result<Verdict> {
    std::fs::create_dir_all(folder)?;
    let data_dir: PathBuf = folder.join("data");
    let house = match cluster {
        None => House::embedded(&data_dir, &environment(plan)).await?,
        Some(cluster) => House::cluster(&data_dir, cluster, &environment(plan)).await?,
    };
    let reporter = Reporter::default();
    let verdict = perennial_proof::prove::run(plan, house, &|progress| reporter.report(progress)).await;
    reporter.end();
    verdict
}

/// What the processes under test are told beside their flags.
#[cfg(feature = "failpoints")]
fn environment(plan: &Plan) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = plan
        .sabotage
        .map(perennial_proof::prove::sabotaged)
        .into_iter()
        .collect();
    environment.push(perennial_proof::prove::stalled(plan.sabotage));
    environment
}

#[cfg(not(feature = "failpoints"))]
fn environment(_plan: &Plan) -> Vec<(String, String)> {
    Vec::new()
}

/// Says how far it is: in place on a terminal, now and then elsewhere.
#[derive(Default)]
struct Reporter {
    last: std::sync::Mutex<Option<Duration>>,
}

impl Reporter {
    fn report(&self, progress: &Progress) {
        let struck: u64 = progress.struck.values().sum();
        let seconds = progress.elapsed.as_secs();
        let line = format!(
            "{:02}:{:02}  {struck} faults  {}",
            seconds / 60,
            seconds % 60,
            progress.doing
        );
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{line}");
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_none_or(|last| progress.elapsed >= last + REPORT) {
            *last = Some(progress.elapsed);
            output::note(&line);
        }
    }

    fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprintln!("\r\x1b[K");
        }
    }
}
