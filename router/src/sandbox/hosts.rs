//! What a process knows of those that make sandboxes, and what that means to whoever waits for one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perennial_engine::ports::{Sandbox, SandboxHost, SandboxHosts, SandboxSpec};

use super::claims::Patience;
use crate::limits;

/// The hosts of the install, as they were a moment ago.
pub(crate) struct Hosts {
    store: Arc<dyn SandboxHosts>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    asked_at: Option<Instant>,
    hosts: Vec<SandboxHost>,
}

/// What is to be said to who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may come yet.
    Wait,
    /// Not now, and why.
    NotNow(String),
    /// It has failed: nobody will make it.
    Failed(String),
    /// It is lost with its host.
    Lost(String),
}

impl Hosts {
    pub(crate) fn new(store: Arc<dyn SandboxHosts>) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, unless that was a moment ago. When nobody can be asked, what was known holds.
    pub(crate) async fn refresh(&self) {
        let fresh = |known: &Known| {
            let most = if known.hosts.is_empty() {
                limits::NO_HOSTS_FRESH
            } else {
                limits::HOSTS_FRESH
            };
            known.asked_at.is_some_and(|at| at.elapsed() < most)
        };
        if !fresh(&self.known()) {
            self.ask().await;
        }
    }

    /// Asks.
    pub(crate) async fn ask(&self) {
        match self.store.sandbox_hosts().await {
            Ok(hosts) => {
                let mut known = self.known();
                (known.asked_at, known.hosts) = (Some(Instant::now()), hosts);
            }
            Err(error) => tracing::warn!(%error, "who makes sandboxes is not known now"),
        }
    }

    /// Whether there is any, whether it is there now or not.
    pub(crate) fn any(&self) -> bool {
        !self.known().hosts.is_empty()
    }

    /// What a sandbox is made of when its environment does not say: by the host that was heard of last.
    pub(crate) fn defaults(&self) -> Option<SandboxSpec> {
        self.known().hosts.first().map(|host| host.host.defaults.clone())
    }

    /// What who has waited so long for a sandbox is told.
    pub(crate) async fn verdict(&self, sandbox: &Sandbox, patience: Patience, waited: Duration) -> Verdict {
        if waited < limits::HOSTS_LOOK {
            return Verdict::Wait;
        }
        self.refresh().await;
        let known = self.known();
        let Some(instance) = sandbox.instance else {
            return nobody(&known.hosts, patience, waited);
        };
        let host = known.hosts.iter().find(|host| host.host.instance == instance);
        its_host(host, patience, waited)
    }
}

/// Of one that nobody has taken.
fn nobody(hosts: &[SandboxHost], patience: Patience, waited: Duration) -> Verdict {
    let online = || hosts.iter().filter(|host| host.online());
    if online().any(|host| host.host.trouble.is_none()) {
        return Verdict::Wait;
    }
    if let Some((host, trouble)) = online().find_map(|host| Some((host, host.host.trouble.as_ref()?))) {
        return match patience {
            Patience::ToCall => Verdict::NotNow(format!("cannot be made now: {trouble} (at {})", host.host.home)),
            Patience::ToSettle => Verdict::Wait,
        };
    }
    match hosts.first() {
        None => Verdict::Failed(format!("could not be made: {NO_HOST}")),
        Some(_) if waited < limits::HOSTS_WAIT => Verdict::Wait,
        Some(last) => Verdict::Failed(format!(
            "could not be made: no server with a container engine was heard of for {} s, the last was {}",
            last.unseen_for.as_secs(),
            last.host.home
        )),
    }
}

/// What to do when there is none.
pub(crate) const NO_HOST: &str =
    "no server of this install makes sandboxes (`perennial serve --docker unix:///var/run/docker.sock` does)";

fn its_host(host: Option<&SandboxHost>, patience: Patience, waited: Duration) -> Verdict {
    let Some(host) = host else {
        return Verdict::Lost("is lost with its files: the server that made it is not there any more".into());
    };
    let (home, unseen) = (&host.host.home, host.unseen_for.as_secs());
    if host.lost() {
        return Verdict::Lost(format!(
            "is lost with its files: its server {home} was not heard of for {unseen} s"
        ));
    }
    if host.online() {
        return match (&host.host.trouble, patience) {
            (Some(trouble), Patience::ToCall) => {
                Verdict::NotNow(format!("cannot be reached now: {trouble} (at {home})"))
            }
            _ => Verdict::Wait,
        };
    }
    if waited < limits::GUEST_WAIT {
        return Verdict::Wait;
    }
    Verdict::NotNow(format!(
        "cannot be reached now: its server {home} was not heard of for {unseen} s; after {} s it is given up, with its files",
        host.host.lost_after.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use perennial_engine::ports::NewSandboxHost;
    use perennial_schema::environment::Cpus;
    use perennial_schema::{ExecutorId, OwnerId};
    use uuid::Uuid;

    use super::*;

    const LONG: Duration = Duration::from_secs(120);

    fn host(unseen: u64, trouble: Option<&str>) -> SandboxHost {
        SandboxHost {
            host: NewSandboxHost {
                instance: ExecutorId::from_uuid(Uuid::from_u128(1)),
                node: OwnerId::from_uuid(Uuid::from_u128(2)),
                home: "box:/data".into(),
                engine: None,
                trouble: trouble.map(str::to_owned),
                defaults: SandboxSpec {
                    image: "debian".into(),
                    cpu: Cpus::thousandths(1000),
                    memory: 1,
                    disk: None,
                    idle_timeout: 1,
                },
                lost_after: Duration::from_secs(600),
            },
            unseen_for: Duration::from_secs(unseen),
        }
    }

    #[test]
    fn one_that_nobody_takes_is_waited_for_as_long_as_somebody_may() {
        use Patience::{ToCall, ToSettle};
        let (well, ill, away) = (host(1, None), host(1, Some("it does not answer")), host(100, None));
        assert_eq!(nobody(&[ill.clone(), well], ToCall, LONG), Verdict::Wait);
        let told = nobody(&[ill.clone(), away.clone()], ToCall, LONG);
        assert_eq!(
            told,
            Verdict::NotNow("cannot be made now: it does not answer (at box:/data)".into())
        );
        assert_eq!(nobody(&[ill], ToSettle, LONG), Verdict::Wait);
        assert_eq!(
            nobody(std::slice::from_ref(&away), ToCall, Duration::from_secs(2)),
            Verdict::Wait
        );
        let told = nobody(&[away], ToCall, LONG);
        assert!(
            matches!(&told, Verdict::Failed(why) if why.contains("for 100 s, the last was box:/data")),
            "{told:?}"
        );
        assert!(matches!(nobody(&[], ToCall, LONG), Verdict::Failed(_)));
    }

    #[test]
    fn one_whose_host_is_away_is_lost_in_the_end() {
        use Patience::{ToCall, ToSettle};
        for patience in [ToCall, ToSettle] {
            assert_eq!(its_host(Some(&host(1, None)), patience, LONG), Verdict::Wait);
            assert_eq!(
                its_host(Some(&host(30, None)), patience, Duration::from_secs(30)),
                Verdict::Wait
            );
            let told = its_host(Some(&host(100, None)), patience, LONG);
            assert!(
                matches!(&told, Verdict::NotNow(why) if why.contains("after 600 s it is given up")),
                "{told:?}"
            );
            for gone in [None, Some(host(600, None))] {
                let told = its_host(gone.as_ref(), patience, Duration::from_secs(2));
                assert!(
                    matches!(&told, Verdict::Lost(why) if why.starts_with("is lost with its files")),
                    "{told:?}"
                );
            }
        }
        let ill = host(1, Some("no engine"));
        assert!(matches!(its_host(Some(&ill), ToCall, LONG), Verdict::NotNow(_)));
        assert_eq!(its_host(Some(&ill), ToSettle, LONG), Verdict::Wait);
    }
}
