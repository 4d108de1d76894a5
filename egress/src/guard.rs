//! Who may go where. A name is resolved once; unless all its addresses are public it is refused, so that no answer of a resolver
//! that changes its mind is ever connected to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::address::is_public;
use crate::limits::{ADDRESSES, PORTS, RESOLVE_TIME};
use crate::target::Target;

/// Why somebody does not get there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It could be taken for several things, or for none.
    #[error("this is no address of the web that is unmistakable")]
    Malformed,
    /// Neither `http` nor `https`.
    #[error("only http and https are spoken")]
    Scheme,
    /// A port where no web server is.
    #[error("port {0} is not reached from here")]
    Port(u16),
    /// Not among the hosts that the environment allows.
    #[error("{0} is not among the hosts that the environment allows (networking.allowed_hosts)")]
    NotAllowed(String),
    /// It leads into a network that is nobody else's business.
    #[error("{0} leads to an address that is not public")]
    NotPublic(String),
    /// No such name, or nobody says.
    #[error("{0} does not resolve")]
    Unresolved(String),
}

/// Which hosts somebody may reach, of those that are public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// All.
    All,
    /// These: names, and `*.name` for what is below a name.
    Hosts(Vec<String>),
}

impl Allowed {
    fn allows(&self, host: &str) -> bool {
        let Self::Hosts(patterns) = self else { return true };
        patterns.iter().any(|pattern| {
            let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
            match pattern.strip_prefix("*.") {
                Some(name) => host
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                None => host == pattern,
            }
        })
    }
}

/// Who knows names.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// The addresses of a name.
    async fn lookup(&self, host: &str) -> Vec<IpAddr>;
}

/// The resolver of this host.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> Vec<IpAddr> {
        let found = tokio::net::lookup_host((host, 0)).await;
        found
            .map(|addresses| addresses.map(|address| address.ip()).collect())
            .unwrap_or_default()
    }
}

/// Vets targets.
#[derive(Clone)]
pub struct Guard {
    lookup: Arc<dyn Lookup>,
    /// Names that lead somewhere else, on any port: for tests, which have loopback alone.
    exceptions: Arc<BTreeMap<String, IpAddr>>,
    /// Hosts that may be anywhere, on any port: whoever runs the server says so.
    trusted: Arc<BTreeSet<String>>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("exceptions", &self.exceptions)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Over a resolver.
    #[must_use]
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self {
            lookup,
            exceptions: Arc::default(),
            trusted: Arc::default(),
        }
    }

    /// With names that lead to addresses which are not vetted. Only tests have a use for it.
    #[must_use]
    pub fn with_exceptions(self, exceptions: BTreeMap<String, IpAddr>) -> Self {
        Self {
            exceptions: Arc::new(exceptions),
            ..self
        }
    }

    /// With hosts, names or addresses, that whoever runs the server trusts wherever they are.
    #[must_use]
    pub fn trusting(self, hosts: impl IntoIterator<Item = String>) -> Self {
        let hosts = hosts
            .into_iter()
            .map(|host| host.trim_end_matches('.').to_ascii_lowercase());
        Self {
            trusted: Arc::new(hosts.collect()),
            ..self
        }
    }

    /// What can be said of a target without resolving it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn look(&self, target: &Target, allowed: &Allowed) -> Result<(), Refused> {
        if !allowed.allows(&target.host) {
            return Err(Refused::NotAllowed(target.host.clone()));
        }
        if self.exceptions.contains_key(&target.host) || self.trusted.contains(&target.host) {
            return Ok(());
        }
        if target.address.is_some_and(|address| !is_public(address)) {
            return Err(Refused::NotPublic(target.host.clone()));
        }
        if !PORTS.contains(&target.port) {
            return Err(Refused::Port(target.port));
        }
        Ok(())
    }

    /// The addresses of a name, of which none is not public.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Refused> {
        if let Some(address) = self.exceptions.get(host) {
            return Ok(vec![*address]);
        }
        let found = timeout(RESOLVE_TIME, self.lookup.lookup(host))
            .await
            .unwrap_or_default();
        if found.is_empty() || found.len() > ADDRESSES {
            return Err(Refused::Unresolved(host.to_owned()));
        }
        // One is enough: whoever mixes them is up to something.
        if !self.trusted.contains(host) && !found.iter().copied().all(is_public) {
            return Err(Refused::NotPublic(host.to_owned()));
        }
        Ok(found)
    }

    /// Where to connect to, in order of preference.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn vet(&self, target: &Target, allowed: &Allowed) -> Result<Vec<SocketAddr>, Refused> {
        self.look(target, allowed)?;
        let addresses = match target.address {
            Some(address) => vec![address],
            None => self.resolve(&target.host).await?,
        };
        Ok(addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, target.port))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Says something else each time.
    struct Fickle(AtomicUsize, Vec<Vec<IpAddr>>);

    #[async_trait]
    impl Lookup for Fickle {
        async fn lookup(&self, _host: &str) -> Vec<IpAddr> {
            let turn = self.0.fetch_add(1, Ordering::Relaxed);
            self.1[turn % self.1.len()].clone()
        }
    }

    fn guard(answers: &[&[&str]]) -> Guard {
        let parse = |address: &&str| address.parse().unwrap();
        let answers = answers.iter().map(|answer| answer.iter().map(parse).collect());
        Guard::new(Arc::new(Fickle(AtomicUsize::new(0), answers.collect())))
    }

    fn target(text: &str) -> Target {
        Target::of_authority(text).unwrap()
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_all_of_it_is_public() {
        let one = guard(&[&["1.1.1.1"], &["127.0.0.1"]]);
        let vetted = one.vet(&target("rebind.test:443"), &Allowed::All).await;
        assert_eq!(vetted, Ok(vec!["1.1.1.1:443".parse().unwrap()]));
        assert!(matches!(
            one.vet(&target("rebind.test:443"), &Allowed::All).await,
            Err(Refused::NotPublic(_))
        ));
        for mixed in [
            &["1.1.1.1", "10.0.0.1"][..],
            &["::1"],
            &["::ffff:127.0.0.1"],
            &["64:ff9b::a00:1"],
        ] {
            let refused = guard(&[mixed]).vet(&target("a.test:443"), &Allowed::All).await;
            assert!(matches!(refused, Err(Refused::NotPublic(_))), "{mixed:?}");
        }
        let nothing = guard(&[&[]]).vet(&target("a.test:443"), &Allowed::All).await;
        assert!(matches!(nothing, Err(Refused::Unresolved(_))));
    }

    #[tokio::test]
    async fn hosts_and_ports_that_are_not_allowed_are_refused_before_a_name_is_asked_for() {
        let asked = Arc::new(Fickle(AtomicUsize::new(0), vec![vec!["1.1.1.1".parse().unwrap()]]));
        let guard = Guard::new(asked.clone());
        let some = Allowed::Hosts(vec!["Example.com".into(), "*.pypi.org".into()]);
        for refused in [
            "evil.com:443",
            "notexample.com:443",
            "example.com.evil.com:443",
            "pypi.org:443",
            "xpypi.org:443",
            "1.1.1.1:443",
        ] {
            assert!(
                matches!(guard.vet(&target(refused), &some).await, Err(Refused::NotAllowed(_))),
                "{refused}"
            );
        }
        for (refused, all) in [("example.com:22", &some), ("example.com:25", &Allowed::All)] {
            assert!(
                matches!(guard.vet(&target(refused), all).await, Err(Refused::Port(_))),
                "{refused}"
            );
        }
        for literal in [
            "127.0.0.1:80",
            "2130706433:80",
            "0x7f000001:80",
            "[::1]:80",
            "169.254.169.254:80",
            "[fd00:ec2::254]:80",
        ] {
            assert!(
                matches!(
                    guard.vet(&target(literal), &Allowed::All).await,
                    Err(Refused::NotPublic(_))
                ),
                "{literal}"
            );
        }
        assert!(matches!(
            guard
                .vet(&target("127.0.0.1:80"), &Allowed::Hosts(vec!["127.0.0.1".into()]))
                .await,
            Err(Refused::NotPublic(_))
        ));
        assert_eq!(asked.0.load(Ordering::Relaxed), 0);
        for allowed in ["example.com:443", "EXAMPLE.COM.:80", "files.pypi.org:443"] {
            assert!(guard.vet(&target(allowed), &some).await.is_ok(), "{allowed}");
        }
    }
}
