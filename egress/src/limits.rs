//! Bounds of the way out.

use std::time::Duration;

/// Ports that are reached.
pub(crate) const PORTS: [u16; 4] = [80, 443, 8080, 8443];
/// Longest address.
pub(crate) const URL_BYTES: usize = 8 * 1024;
/// Addresses of one name that are looked at.
pub(crate) const ADDRESSES: usize = 64;
/// How long a name may take to resolve.
pub(crate) const RESOLVE_TIME: Duration = Duration::from_secs(10);
/// How long a connection may take.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Redirects that are followed.
pub(crate) const REDIRECTS: usize = 3;
/// How long a page may take in all.
pub(crate) const FETCH_TIME: Duration = Duration::from_secs(30);
/// Bytes of a page that are read.
pub(crate) const PAGE_BYTES: usize = 2 << 20;
/// Longest head of a request to the proxy.
pub(crate) const HEAD_BYTES: usize = 32 * 1024;
/// Headers of it.
pub(crate) const HEADERS: usize = 100;
/// How long it may take to come.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection through the proxy on which nothing moves for so long ends.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(300);
/// How long what is posted may take in all.
pub(crate) const POST_TIME: Duration = Duration::from_secs(15);
/// Bytes of the answer to it that are read.
pub(crate) const REPLY_BYTES: usize = 4 * 1024;
