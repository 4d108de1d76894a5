//! What is done to an install while it works.

use std::fmt;

use serde::Serialize;

/// A fault. It is healed before the next one comes; what it caused need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL to a process that serves the API (in the embedded form to the only process), which is started again.
    KillServer,
    /// SIGKILL to a worker, which is started again.
    KillWorker,
    /// SIGKILL to the executor: calls that run are lost.
    KillExecutor,
    /// SIGKILL to a process that serves the API, a worker and the executor at the same moment.
    KillSeveral,
    /// SIGSTOP for longer than the lease lasts, then SIGCONT: a process that believes what is no longer true.
    Freeze,
    /// SIGTERM: the process winds down and is started again.
    Drain,
    /// Clients' streams are cut at a random byte.
    CutStreams,
    /// Our connections to the database are reset.
    CutDatabase,
    /// A connection is reset after a write was committed and before its writer knows.
    CutCommit,
    /// The database no longer answers, and nobody says so.
    SilenceDatabase,
    /// The database answers late.
    SlowDatabase,
    /// Our connections to the bus are reset.
    CutBus,
    /// The bus swallows everything.
    SilenceBus,
    /// The database is stopped without a checkpoint and started again.
    CrashDatabase,
    /// The bus is killed and started again.
    CrashBus,
    /// One worker no longer reaches the database, or no longer hears of it; everybody else does.
    IsolateWorker,
    /// A worker's clock is an hour ahead or behind, for longer than a lease lasts.
    JumpWorker,
    /// The database's clock is ten minutes behind, for longer than a lease lasts, and jumps ahead again.
    JumpDatabase,
    /// A worker is wound down and started again in another version: an older one, which does not know all events, or the newest.
    ReplaceWorker,
}

impl Fault {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 19] = [
        Self::KillServer,
        Self::KillWorker,
        Self::KillExecutor,
        Self::KillSeveral,
        Self::Freeze,
        Self::Drain,
        Self::CutStreams,
        Self::CutDatabase,
        Self::CutCommit,
        Self::SilenceDatabase,
        Self::SlowDatabase,
        Self::CutBus,
        Self::SilenceBus,
        Self::CrashDatabase,
        Self::CrashBus,
        Self::IsolateWorker,
        Self::JumpWorker,
        Self::JumpDatabase,
        Self::ReplaceWorker,
    ];

    /// In a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillServer => "server killed",
            Self::KillWorker => "worker killed",
            Self::KillExecutor => "executor killed",
            Self::KillSeveral => "server, worker and executor killed",
            Self::Freeze => "frozen past the lease",
            Self::Drain => "drained and restarted",
            Self::CutStreams => "streams cut",
            Self::CutDatabase => "database connections cut",
            Self::CutCommit => "cut between commit and reply",
            Self::SilenceDatabase => "database silent",
            Self::SlowDatabase => "database slow",
            Self::CutBus => "bus connections cut",
            Self::SilenceBus => "bus silent",
            Self::CrashDatabase => "database crashed",
            Self::CrashBus => "bus killed",
            Self::IsolateWorker => "one worker without the database",
            Self::JumpWorker => "a worker's clock set wrong",
            Self::JumpDatabase => "the database's clock set wrong",
            Self::ReplaceWorker => "worker replaced by another version",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A protection that is taken away in the processes under test, to see that its absence is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sabotage {
    /// The log takes writes of old leases.
    NoFence,
    /// The executor forgets what it ran.
    NoJournal,
    /// A session is laid to rest whatever arrived meanwhile.
    NoConditionalRelease,
    /// A repeated request is a new one.
    NoDedupe,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::NoFence,
        Self::NoJournal,
        Self::NoConditionalRelease,
        Self::NoDedupe,
    ];

    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoFence => "no-fence",
            Self::NoJournal => "no-journal",
            Self::NoConditionalRelease => "no-conditional-release",
            Self::NoDedupe => "no-dedupe",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sabotage| sabotage.name() == name)
    }

    /// What `PERENNIAL_SABOTAGE` calls it.
    pub(super) const fn hook(self) -> &'static str {
        match self {
            Self::NoFence => "fence",
            Self::NoJournal => "journal",
            Self::NoConditionalRelease => "conditional_release",
            Self::NoDedupe => "dedupe",
        }
    }

    /// The fault under which it matters.
    pub(super) const fn matters_under(self) -> Fault {
        match self {
            Self::NoFence => Fault::Freeze,
            Self::NoJournal => Fault::KillServer,
            Self::NoConditionalRelease | Self::NoDedupe => Fault::CutStreams,
        }
    }

    /// The promises whose violation gives it away.
    #[must_use]
    pub const fn gives_away(self) -> &'static [&'static str] {
        match self {
            Self::NoFence => &["I3", "I4", "I6"],
            Self::NoJournal => &["I5"],
            Self::NoConditionalRelease => &["I10"],
            Self::NoDedupe => &["I19"],
        }
    }
}
