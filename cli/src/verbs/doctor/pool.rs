//! What the server sees of its install: who works, who should, and whether all are of one version.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Check, Verdict};
use crate::client::Client;
use crate::client::pages::typed;
use crate::error::{Error, chain};
use crate::verbs::Context;

/// A worker that was silent for so long has missed several of its renewals, in seconds. Soon it is out of the pool.
const SILENT: i64 = 20;
/// A pool is on one page.
const MOST: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Ready {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    bus: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Worker {
    id: String,
    name: String,
    version: String,
    state: String,
    sessions: u64,
    slots: u64,
    last_seen_at: DateTime<Utc>,
}

#[derive(Debug, Default, Deserialize)]
struct Scaling {
    ready_sessions: u64,
    #[serde(default)]
    over_slots_sessions: u64,
    oldest_ready_ms: u64,
    #[serde(default)]
    harnesses: Vec<Demand>,
}

#[derive(Debug, Deserialize)]
struct Demand {
    harness: String,
    ready_sessions: u64,
    oldest_ready_ms: u64,
    workers: u64,
}

/// What a server that answers says of its install.
pub(super) async fn examine(context: &Context) -> Vec<Check> {
    match ask(context).await {
        Ok(checks) => checks,
        // Another workspace's key sees nothing of this, and need not.
        Err(Error::Api { status: 403, .. }) => Vec::new(),
        Err(error) => vec![check("workers", Verdict::Bad, chain(&error))],
    }
}

async fn ask(context: &Context) -> Result<Vec<Check>, Error> {
    let client: Client = context.client()?;
    let ready: Ready = client.get("/readyz", &[]).await?.parse()?;
    let workers: Vec<Worker> = typed(&client.list("/v1/workers", &[], MOST).await?)?;
    let scaling: Scaling = client.get("/v1/scaling/default", &[]).await?.parse()?;
    let mut checks = vec![working(&workers, &scaling)];
    checks.extend(silent(&workers, Utc::now()));
    checks.extend(unserved(&workers, &scaling));
    checks.extend(over(&scaling));
    checks.push(versions(ready.version.as_deref(), &workers));
    checks.extend(ready.bus.as_deref().and_then(bus));
    Ok(checks)
}

fn check(check: &'static str, verdict: Verdict, detail: String) -> Check {
    Check { check, verdict, detail }
}

fn seconds(millis: u64) -> String {
    format!("{} s", millis / 1000)
}

fn working(workers: &[Worker], scaling: &Scaling) -> Check {
    let active: Vec<&Worker> = workers.iter().filter(|worker| worker.state == "active").collect();
    let (slots, sessions) = (
        active.iter().map(|worker| worker.slots).sum::<u64>(),
        workers.iter().map(|worker| worker.sessions).sum::<u64>(),
    );
    let waiting = scaling.ready_sessions - scaling.over_slots_sessions.min(scaling.ready_sessions);
    let others = workers.len() - active.len();
    let others = match others {
        0 => String::new(),
        _ => format!("; {others} more claim nothing, as they were told (`perennial workers`)"),
    };
    let (verdict, detail) = match (active.len(), waiting) {
        (0, 0) => (
            Verdict::Note,
            format!("none claims sessions, and none is wanted now{others}"),
        ),
        (0, waiting) => (
            Verdict::Bad,
            format!(
                "none claims sessions, and {waiting} wait, the longest for {}: start `perennial worker`, or a server with \
                 --max{others}",
                seconds(scaling.oldest_ready_ms)
            ),
        ),
        (count, waiting) => (
            Verdict::Ok,
            format!("{count} with {slots} slots drive {sessions} sessions, {waiting} wait{others}"),
        ),
    };
    check("workers", verdict, detail)
}

/// Those that should have been heard of.
fn silent(workers: &[Worker], now: DateTime<Utc>) -> Vec<Check> {
    let since = |worker: &Worker| (now - worker.last_seen_at).num_seconds();
    let silent = workers.iter().filter(|worker| since(worker) > SILENT);
    let told = silent.map(|worker| {
        let detail = format!(
            "{} ({}) was not heard of for {} s: it died or cannot reach the database, and its {} sessions go on elsewhere when its \
             lease is over",
            worker.id,
            worker.name,
            since(worker),
            worker.sessions
        );
        check("worker", Verdict::Bad, detail)
    });
    told.collect()
}

/// Harnesses that sessions wait for and no worker has.
fn unserved(workers: &[Worker], scaling: &Scaling) -> Vec<Check> {
    if workers.is_empty() {
        return Vec::new();
    }
    let missing = scaling
        .harnesses
        .iter()
        .filter(|demand| demand.workers == 0 && demand.ready_sessions > 0);
    let told = missing.map(|demand| {
        let detail = format!(
            "{} sessions wait for {}, the longest for {}, and no worker that claims has it: they fail half a minute after they became \
             ready, unless one is started",
            demand.ready_sessions,
            demand.harness,
            seconds(demand.oldest_ready_ms)
        );
        check("harness", Verdict::Bad, detail)
    });
    told.collect()
}

fn over(scaling: &Scaling) -> Option<Check> {
    let over = scaling.over_slots_sessions;
    (over > 0).then(|| {
        let detail =
            format!("{over} sessions wait because their workspaces have all the slots they get (--workspace-slots)");
        check("slots of workspaces", Verdict::Note, detail)
    })
}

/// Old and new may stand side by side; for how long is for whoever upgrades to know.
fn versions(server: Option<&str>, workers: &[Worker]) -> Check {
    let mine = env!("CARGO_PKG_VERSION");
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    found.entry(mine).or_default().push("this program".to_owned());
    if let Some(server) = server {
        found.entry(server).or_default().push("the server".to_owned());
    }
    for worker in workers {
        found.entry(&worker.version).or_default().push(worker.name.clone());
    }
    if found.len() == 1 {
        return check("versions", Verdict::Ok, format!("all {mine}"));
    }
    let told: Vec<String> = found
        .iter()
        .map(|(version, who)| match who.as_slice() {
            [first, second, third, rest @ ..] if !rest.is_empty() => {
                format!("{version}: {first}, {second}, {third} and {} more", rest.len())
            }
            who => format!("{version}: {}", who.join(", ")),
        })
        .collect();
    check(
        "versions",
        Verdict::Note,
        format!("several side by side: {}", told.join("; ")),
    )
}

/// The bus, as the server sees it.
fn bus(reach: &str) -> Option<Check> {
    let (verdict, detail) = match reach {
        "connected" => (Verdict::Ok, "the server is connected to NATS"),
        "disconnected" => (
            Verdict::Bad,
            "the server cannot reach its NATS: nothing is lost without it, and everything is slower",
        ),
        "polled" => (
            Verdict::Note,
            "the server has no NATS: processes look at the database every 200 ms instead (--nats-url)",
        ),
        // One process needs none.
        _ => return None,
    };
    Some(check("bus of the server", verdict, detail.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, version: &str, state: &str, silent: i64) -> Worker {
        Worker {
            id: format!("wrk_{name}"),
            name: name.to_owned(),
            version: version.to_owned(),
            state: state.to_owned(),
            sessions: 2,
            slots: 8,
            last_seen_at: now() - chrono::Duration::seconds(silent),
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
    }

    fn scaling(ready: u64, harness: &str, workers: u64) -> Scaling {
        Scaling {
            ready_sessions: ready,
            oldest_ready_ms: 12_500,
            harnesses: vec![Demand {
                harness: harness.to_owned(),
                ready_sessions: ready,
                oldest_ready_ms: 12_500,
                workers,
            }],
            ..Scaling::default()
        }
    }

    #[test]
    fn a_pool_that_cannot_do_what_waits_is_bad() {
        let none = working(&[], &scaling(3, "native", 0));
        assert!(
            none.verdict == Verdict::Bad && none.detail.contains("3 wait, the longest for 12 s"),
            "{none:?}"
        );
        assert_eq!(working(&[], &scaling(0, "native", 0)).verdict, Verdict::Note);
        let pool = [worker("a", "1", "active", 0), worker("b", "1", "cordoned", 0)];
        let some = working(&pool, &scaling(3, "native", 1));
        assert!(
            some.verdict == Verdict::Ok && some.detail.contains("1 with 8 slots drive 4 sessions"),
            "{some:?}"
        );
        assert_eq!(unserved(&pool, &scaling(3, "native", 1)).len(), 0);
        let missing = unserved(&pool, &scaling(3, "codex", 0));
        assert!(matches!(missing.as_slice(), [one] if one.verdict == Verdict::Bad && one.detail.contains("codex")));
        assert_eq!(unserved(&pool, &scaling(0, "codex", 0)).len(), 0);
    }

    #[test]
    fn who_is_silent_or_of_another_version_is_named() {
        let pool = [
            worker("a", env!("CARGO_PKG_VERSION"), "active", 3),
            worker("b", "0.0.9", "active", 30),
        ];
        let told = silent(&pool, now());
        assert!(
            matches!(told.as_slice(), [one] if one.detail.contains("wrk_b") && one.detail.contains("30 s")),
            "{told:?}"
        );
        let skewed = versions(Some(env!("CARGO_PKG_VERSION")), &pool);
        assert!(
            skewed.verdict == Verdict::Note && skewed.detail.contains("0.0.9: b"),
            "{skewed:?}"
        );
        assert_eq!(versions(None, &pool[..1]).verdict, Verdict::Ok);
    }
}
