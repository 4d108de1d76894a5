//! F23: the folder of a machine's journal is put back to older state, as a restored snapshot does. The machine's journal is another one
//! from then on: what began and is forgotten is a doubt that the model is told of, and nothing runs twice.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use perennial_proof::proxy::{Faults, Proxy};
use serde_json::json;

use crate::drops::{count, say};
use crate::rig::{Device, PATIENCE, Stand, results};

/// When the folder is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// The machine's process dies in the call.
    Begun,
    /// The call has ended, and nobody has heard of it when the process dies.
    Unheard,
    /// The same, and the server dies too.
    ServerToo,
    /// Nothing runs.
    Idle,
    /// Under a process that runs: it knows what it has begun.
    Meanwhile,
}

struct Line {
    stand: Stand,
    device: Device,
    proxy: Proxy,
    session: String,
}

impl Line {
    async fn start() -> Result<Self> {
        let stand = Stand::start().await?;
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
        })
    }

    fn times(&self, line: &str) -> usize {
        self.device.ledger().iter().filter(|told| *told == line).count()
    }

    /// A snapshot, a call, and the snapshot put back; what the model was told.
    async fn put_back(&mut self, when: When, id: &str) -> Result<String> {
        // The session's own journal is there, as after an earlier call.
        self.stand
            .turn(&self.session, r#"/tool bash {"command":"true"}"#)
            .await?;
        let (journal, older) = (journal(&self.device.home)?, self.stand.dir.path().join(id));
        copy(&journal, &older)?;
        let command = format!(
            "echo {id}-begun >> ledger; while ! [ -e {id} ]; do sleep 0.01; done; echo {id}-ended >> ledger; echo {id}"
        );
        let script = format!("/tool bash {}", json!({ "command": command }));
        let after = self.stand.client().log(&self.session).await?.len() as u64;
        if when == When::Idle {
            std::fs::write(self.device.work.join(id), "")?;
        }
        self.stand.client().say(&self.session, &script).await?;
        self.device.ledger_has(&format!("{id}-begun")).await?;
        if when == When::Idle {
            self.stand.client().until_idle(&self.session, after, PATIENCE).await?;
        } else {
            let refuse = true;
            self.proxy.set(Faults {
                refuse,
                ..Faults::default()
            });
            self.proxy.drop_connections();
        }
        if matches!(when, When::Unheard | When::ServerToo) {
            std::fs::write(self.device.work.join(id), "")?;
            self.device.ledger_has(&format!("{id}-ended")).await?;
        }
        if when == When::ServerToo {
            self.stand.kill().await?;
        }
        if when == When::Meanwhile {
            copy(&older, &journal)?;
            std::fs::write(self.device.work.join(id), "")?;
        } else {
            self.device.process()?.kill().await?;
            copy(&older, &journal)?;
            self.device.start()?;
        }
        if when == When::ServerToo {
            self.stand.start_again().await?;
        }
        self.proxy.heal();
        // What is sent again all the same would not wait.
        std::fs::write(self.device.work.join(id), "")?;
        let (events, _) = self.stand.client().until_idle(&self.session, after, PATIENCE).await?;
        let mut told = results(&events);
        ensure!(told.len() == 1, "{id}: {told:?}");
        Ok(told.remove(0))
    }

    async fn judged(&mut self, when: When, id: &str) -> Result<()> {
        let told = self.put_back(when, id).await?;
        let doubt = told.contains("outcome of this call is unknown");
        let known = matches!(when, When::Idle | When::Meanwhile);
        ensure!(doubt != known, "{id}: {told}");
        ensure!(known || told.contains("put back to older state"), "{id}: {told}");
        let ran = (self.times(&format!("{id}-begun")), self.times(&format!("{id}-ended")));
        ensure!(
            ran == (1, usize::from(when != When::Begun)),
            "{id} ran {ran:?} times: {told}"
        );
        // The machine is there as before, and takes what comes under its new journal.
        let next = format!("{id}-next");
        let input = json!({"command": format!("echo {next} >> ledger; echo {next}")});
        let events = self.stand.turn(&self.session, &format!("/tool bash {input}")).await?;
        let told = results(&events);
        ensure!(told.len() == 1 && told[0].ends_with(&format!("{next}\n")), "{told:?}");
        ensure!(self.times(&next) == 1, "{next}");
        Ok(())
    }
}

/// The folder of a machine's journal.
fn journal(home: &Path) -> Result<PathBuf> {
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("journal_id").exists() {
            return Ok(folder);
        }
        let entries = std::fs::read_dir(&folder)?.flatten();
        folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    anyhow::bail!("there is no journal under {}", home.display())
}

/// Files of one folder become all files of another.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_journal_that_was_put_back_is_told_as_a_doubt() -> Result<()> {
    let mut line = Line::start().await?;
    let whens = [When::Begun, When::Unheard, When::ServerToo, When::Idle, When::Meanwhile];
    let trials = count(20);
    for trial in 0..trials {
        for when in whens {
            let id = format!("{when:?}-{trial}").to_lowercase();
            let judged = line.judged(when, &id).await;
            judged.with_context(|| format!("{}\n{}", line.device.program.log(), line.stand.up.log()))?;
        }
    }
    let mut ledger = line.device.ledger();
    let all = ledger.len();
    ledger.sort();
    ledger.dedup();
    ensure!(ledger.len() == all, "something ran twice");
    say(format_args!(
        "journals put back: {trials} each of {whens:?}; {} doubts, each told, 0 twice",
        3 * trials
    ));
    Ok(())
}

/// The rig is seen to notice: with a note that vouches for everything, what began begins again.
#[tokio::test]
async fn without_the_note_what_was_forgotten_runs_twice() -> Result<()> {
    let mut line = Line::start().await?;
    line.device
        .program
        .env
        .push(("PERENNIAL_SABOTAGE".to_owned(), "note".to_owned()));
    let told = line.put_back(When::Unheard, "twice").await?;
    ensure!(line.times("twice-begun") == 2, "nothing was noticed: {told}");
    Ok(())
}
