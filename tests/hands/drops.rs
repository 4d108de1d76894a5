//! F21 and F22: the tunnel is cut at random bytes, before and after a call is delivered, and the machine's process is killed in the
//! middle of calls. No call is lost, none runs twice, and every doubt is told.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_proof::proxy::{Cut, Proxy};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::rig::{Device, PATIENCE, Stand, results};

/// Full counts, or a tenth.
pub(crate) fn count(full: u64) -> u64 {
    if std::env::var_os("PERENNIAL_TORTURE").is_some() {
        full
    } else {
        full.div_ceil(10)
    }
}

pub(crate) fn seed(what: &str) -> StdRng {
    let chosen = std::env::var("PERENNIAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(perennial_proof::prove::fresh_seed);
    println!("\nseed {seed} ({what})");
    StdRng::seed_from_u64(seed)
}

/// A line of the result, on a line of its own.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    println!("\nring 2: {what}");
}

/// What is asked of the machine, and how it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Read,
    Idempotent,
    Once,
}

/// Where the tunnel is cut.
#[derive(Clone, Copy, Debug)]
enum Drop {
    /// After so many bytes to the machine.
    Asking(u64),
    /// After so many bytes from it.
    Answering(u64),
    /// After so many milliseconds, whatever travels.
    Silence(u64),
}

impl Drop {
    const fn name(self) -> &'static str {
        match self {
            Self::Asking(_) => "asking",
            Self::Answering(_) => "answering",
            Self::Silence(_) => "meanwhile",
        }
    }
}

const CLASSES: [Class; 3] = [Class::Read, Class::Idempotent, Class::Once];

/// A server whose way to its machine leads through a proxy.
struct Line {
    stand: Stand,
    device: Device,
    proxy: Proxy,
    session: String,
    trial: u64,
    /// Doubts that the model was told of.
    doubts: u64,
}

impl Line {
    async fn start() -> Result<Self> {
        let stand = Stand::start_with(&[("PERENNIAL_LOG", "info,perennial_router=debug")]).await?;
        let upstream = stand.url.strip_prefix("http://").context("an address")?;
        let proxy = Proxy::before(upstream).await?;
        let address = format!("http://{}", proxy.address());
        let device = stand.device("laptop", Some(address)).await?;
        let session = stand.session_on(&device).await?;
        Ok(Self {
            stand,
            device,
            proxy,
            session,
            trial: 0,
            doubts: 0,
        })
    }

    /// What the next call is, and what it is known by.
    fn script(&mut self, class: Class, nap: f64) -> (String, String) {
        self.trial += 1;
        let id = format!("trial-{}", self.trial);
        let script = match class {
            Class::Read => format!("/tool read {}", json!({"file_path": "there"})),
            Class::Idempotent => format!("/tool write {}", json!({"file_path": id, "content": id})),
            Class::Once => {
                let command =
                    format!("echo {id}-begun >> ledger; sleep {nap:.3}; echo {id}-ended >> ledger; echo {id}");
                format!("/tool bash {}", json!({"command": command}))
            }
        };
        (id, script)
    }

    /// What the model was told against what happened.
    fn judge(&mut self, class: Class, id: &str, events: &[Value], may_doubt: bool) -> Result<()> {
        let told = results(events);
        ensure!(told.len() == 1, "{id}: {} results: {told:?}", told.len());
        let doubt = told[0].contains("outcome of this call is unknown");
        let ledger = self.device.ledger();
        let times = |what: &str| ledger.iter().filter(|line| **line == format!("{id}-{what}")).count();
        match class {
            _ if doubt => {
                ensure!(may_doubt && class == Class::Once, "{id}: in doubt: {told:?}");
                ensure!(times("begun") <= 1 && times("ended") <= 1, "{id} ran twice: {ledger:?}");
                self.doubts += 1;
            }
            Class::Once => {
                // A shell that died is replaced, and its successor's first result says so before what it printed.
                ensure!(told[0].ends_with(&format!("{id}\n")), "{id}: {told:?}");
                ensure!(
                    (times("begun"), times("ended")) == (1, 1),
                    "{id} did not run once: {ledger:?}"
                );
            }
            Class::Idempotent => {
                let content = std::fs::read_to_string(self.device.work.join(id)).unwrap_or_default();
                ensure!(content == id, "{id} is {content:?}: {told:?}");
            }
            Class::Read => ensure!(told[0].contains("there"), "{id}: {told:?}"),
        }
        Ok(())
    }

    /// How often each was the answer to a question about a call whose line was lost.
    fn asked(&self) -> BTreeMap<&'static str, u64> {
        let log = self.stand.up.log();
        let of = |was: &'static str| {
            let word = format!("was=\"{was}\"");
            let lines = log.lines().filter(|line| line.contains("a call was asked for"));
            (was, lines.filter(|line| line.contains(&word)).count() as u64)
        };
        ["running", "done", "unknown", "lost"].map(of).into()
    }

    /// The log pairs what was asked and what was told, and no ledger line is twice there.
    async fn finally(&self, trials: u64) -> Result<()> {
        let log = self.stand.client().log(&self.session).await?;
        let of = |kind: &str| log.iter().filter(|event| event["type"] == kind).count() as u64;
        ensure!(
            (of("agent.tool_use"), of("agent.tool_result")) == (trials, trials),
            "{} uses and {} results of {trials}",
            of("agent.tool_use"),
            of("agent.tool_result")
        );
        let mut ledger = self.device.ledger();
        let all = ledger.len();
        ledger.sort();
        ledger.dedup();
        ensure!(ledger.len() == all, "something ran twice");
        Ok(())
    }
}

#[tokio::test]
async fn no_call_is_lost_or_run_twice_when_the_tunnel_drops() -> Result<()> {
    let (trials, mut random) = (count(500), seed("tunnel drops"));
    let mut line = Line::start().await?;
    let mut met = BTreeMap::<(Class, &str), u64>::new();
    for _ in 0..trials {
        // A call is some five hundred bytes from the server, its result some two hundred from the machine.
        let (drop, classes, nap) = match random.random_range(0..5) {
            0 | 1 => (Drop::Asking(random.random_range(1..500)), &CLASSES[..], 0.0..0.04),
            2 | 3 => (Drop::Answering(random.random_range(1..220)), &CLASSES[..], 0.0..0.04),
            _ => (Drop::Silence(random.random_range(0..150)), &CLASSES[2..], 0.1..0.4),
        };
        let class = *classes.choose(&mut random).context("a class")?;
        let (id, script) = line.script(class, random.random_range(nap));
        let before = line.proxy.counters();
        let (client, session) = (line.stand.client(), line.session.clone());
        let after = client.log(&session).await?.len() as u64;
        match drop {
            Drop::Asking(bytes) => line.proxy.cut(Cut::Answer { bytes }),
            Drop::Answering(bytes) => line.proxy.cut(Cut::Request { bytes }),
            Drop::Silence(_) => line.proxy.heal(),
        }
        client.say(&session, &script).await?;
        if let Drop::Silence(millis) = drop {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            line.proxy.drop_connections();
        }
        let (events, _) = client.until_idle(&session, after, PATIENCE).await?;
        let now = line.proxy.counters();
        *met.entry((class, drop.name())).or_default() += now.cut - before.cut + now.dropped - before.dropped;
        // Its journal was there all the time: nothing is in doubt.
        line.judge(class, &id, &events, false)
            .with_context(|| format!("{drop:?}\n{}", line.stand.up.log()))?;
    }
    line.proxy.heal();
    line.finally(trials).await?;
    let cuts: u64 = met.values().sum();
    let asked = line.asked();
    say(format_args!(
        "tunnel drops: {cuts} of {trials} calls were cut ({met:?}); asked for after it: {asked:?}; 0 lost, 0 twice, 0 in doubt"
    ));
    ensure!(cuts > trials / 2, "most cuts met nothing: the rig is vacuous");
    // Before it was delivered, while it ran, and after its end.
    for was in ["unknown", "running", "done"] {
        ensure!(asked[was] > 0, "no cut call was ever {was:?}: the rig is vacuous");
    }
    Ok(())
}

/// The process of the machine is killed at random moments of a call; its next life answers from the journal.
#[tokio::test]
async fn no_doubt_is_kept_quiet_when_the_executor_dies() -> Result<()> {
    let (trials, mut random) = (count(120), seed("executor deaths"));
    let mut line = Line::start().await?;
    for trial in 0..trials {
        // What runs for long is what is mostly in the way of a death.
        let class = *[Class::Once, Class::Once, Class::Idempotent, Class::Read]
            .choose(&mut random)
            .context("a class")?;
        // One that is met for certain.
        let (class, nap) = if trial == 0 {
            (Class::Once, 0.5)
        } else {
            (class, random.random_range(0.0..0.1))
        };
        let (id, script) = line.script(class, nap);
        let after = line.stand.client().log(&line.session).await?.len() as u64;
        line.stand.client().say(&line.session, &script).await?;
        if trial == 0 || (class == Class::Once && random.random_bool(0.5)) {
            line.device.ledger_has(&format!("{id}-begun")).await?;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
        line.device.process()?.kill().await?;
        line.device.start()?;
        let (events, _) = line.stand.client().until_idle(&line.session, after, PATIENCE).await?;
        line.judge(class, &id, &events, true)
            .with_context(|| line.stand.up.log())?;
    }
    line.finally(trials).await?;
    let (asked, doubts) = (line.asked(), line.doubts);
    say(format_args!(
        "executor deaths: {trials} kills in calls; asked for after it: {asked:?}; {doubts} in doubt, each told, 0 lost, 0 twice"
    ));
    ensure!(doubts > 0, "nothing was ever in doubt: the rig is vacuous");
    // A doubt is told for each call that was started and lost, and for no other.
    ensure!(
        asked["lost"] >= doubts,
        "{doubts} doubts of {} lost calls",
        asked["lost"]
    );
    Ok(())
}
