//! Ports for servers that come and go: the same one over all lives of a server, so that clients and proxies need not be told.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use rand::Rng as _;

/// How many to choose from.
const CHOICE: u16 = 12_000;
/// How often to try.
const TRIES: u32 = 1_000;
/// Where ports begin that connections are made from, if nobody says (Linux' own default, below all others).
const DIALLED_FROM: u16 = 32_768;

/// A port nobody listens at now, that this process gave nobody else, and that no connection is made from: a client that keeps
/// dialling while its server is away would otherwise end up with the server's own port.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let ports = below(dialled_from().unwrap_or(DIALLED_FROM));
    for _ in 0..TRIES {
        let port = rand::rng().random_range(ports.clone());
        let is_new = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if is_new && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("found no free port from {} to {}", ports.start, ports.end - 1)
}

fn below(first: u16) -> Range<u16> {
    let end = first.max(CHOICE);
    end.saturating_sub(CHOICE).max(1_024)..end
}

fn dialled_from() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_below_those_that_connections_are_made_from_and_given_once() {
        assert_eq!(below(32_768), 20_768..32_768);
        assert_eq!(below(1_025), 1_024..12_000, "a host that dials out from everywhere");
        let given: BTreeSet<u16> = (0..50).filter_map(|_| free_port().ok()).collect();
        assert_eq!(given.len(), 50);
        assert!(
            given
                .iter()
                .all(|port| *port < dialled_from().unwrap_or(DIALLED_FROM).max(CHOICE))
        );
    }
}
