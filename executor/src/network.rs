//! Changes of this machine's network: another one is joined, an address goes, a route comes. Whoever dials home has a reason to dial
//! at once; whoever is on a line may find that the address it was made from is gone, long before silence says so.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::sleep;

/// Changes come in bursts: so long after the first one they are taken for one.
const SETTLES: Duration = Duration::from_millis(100);
/// Most that is taken of a burst.
const BURST: usize = 1024;

/// Hears of changes. Where they cannot be watched there are none.
#[derive(Debug)]
pub(crate) struct Network(Option<UdpSocket>);

impl Network {
    /// From now on. Needs a runtime.
    pub(crate) fn watch() -> Self {
        Self(told().ok())
    }

    /// The next change. What it is does not matter.
    pub(crate) async fn changed(&self) {
        let Some(told) = &self.0 else { return pending().await };
        let mut message = vec![0; 8192];
        match told.recv(&mut message).await {
            Ok(_) => {}
            // There was more than fits.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
            Err(_) => return pending().await,
        }
        sleep(SETTLES).await;
        for _ in 0..BURST {
            if told.try_recv(&mut message).is_err() {
                return;
            }
        }
    }

    /// When an address is not this machine's any more; what was sent from it is not answered there.
    pub(crate) async fn without(&self, address: SocketAddr) {
        loop {
            self.changed().await;
            if !is_ours(address) {
                return;
            }
        }
    }
}

/// The kernel's word on links, addresses and routes.
#[cfg(target_os = "linux")]
fn told() -> io::Result<UdpSocket> {
    use std::os::fd::AsRawFd as _;

    use nix::libc;
    use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};

    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let told = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let groups = libc::RTMGRP_LINK
        | libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV6_ROUTE;
    bind(told.as_raw_fd(), &NetlinkAddr::new(0, groups.unsigned_abs()))?;
    // It has datagrams, which is all that is asked of it.
    UdpSocket::from_std(told.into())
}

/// Not asked for here: the line's silence says it later.
#[cfg(not(target_os = "linux"))]
fn told() -> io::Result<UdpSocket> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether an address is one of this machine's now.
fn is_ours(address: SocketAddr) -> bool {
    match std::net::UdpSocket::bind((address.ip(), 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::process::Command;

    use tokio::time::timeout;

    use super::*;

    /// An address of this test's own; none where one may not add any.
    struct Address(String);

    impl Address {
        fn add(address: &str) -> Option<Self> {
            ip("add", address).then(|| Self(address.to_owned()))
        }

        fn at(&self) -> SocketAddr {
            let address: IpAddr = self.0.parse().unwrap();
            (address, 1).into()
        }
    }

    impl Drop for Address {
        fn drop(&mut self) {
            ip("del", &self.0);
        }
    }

    fn ip(what: &str, address: &str) -> bool {
        // Not in everybody's PATH, and not everybody's to use.
        let all = format!(
            "PATH=$PATH:/usr/sbin:/sbin; ip addr {what} {address}/32 dev lo || sudo -n ip addr {what} {address}/32 dev lo"
        );
        let done = Command::new("sh").args(["-c", &all]).output();
        done.is_ok_and(|done| done.status.success())
    }

    /// Of networks that are for examples: nobody has it.
    const EXAMPLE: &str = "192.0.2.77";

    #[tokio::test]
    async fn a_line_hears_that_its_address_went_and_who_dials_that_one_came() {
        let network = Network::watch();
        assert_eq!(network.0.is_some(), cfg!(target_os = "linux"));
        let Some(address) = Address::add(EXAMPLE).filter(|_| network.0.is_some()) else {
            return println!("NOT RUN: addresses cannot be added here");
        };
        let patience = Duration::from_secs(10);
        timeout(patience, network.changed()).await.unwrap();
        let at = address.at();
        assert!(is_ours(at));
        let here = network.without(([127, 0, 0, 1], 1).into());
        let gone = async {
            tokio::select! {
                () = network.without(at) => {}
                () = here => panic!("this machine has no loopback"),
            }
        };
        drop(address);
        timeout(patience, gone).await.unwrap();
        assert!(!is_ours(at));
    }

    #[test]
    fn an_address_of_another_machine_is_not_ours() {
        assert!(is_ours(([127, 0, 0, 1], 80).into()));
        assert!(!is_ours(([198, 51, 100, 7], 80).into()));
    }
}
