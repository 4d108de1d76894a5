//! What vets the way out of this server's sandboxes and models.

use std::sync::Arc;

use perennial_egress::{Guard, SystemLookup};

/// Over the resolver of this host.
pub fn guard() -> Guard {
    exceptions(Guard::new(Arc::new(SystemLookup)))
}

/// Names that lead to loopback, `NAME=ADDRESS,…`: tests have nothing else. Never in a release.
#[cfg(feature = "failpoints")]
fn exceptions(guard: Guard) -> Guard {
    let told = std::env::var("PERENNIAL_TEST_EGRESS").unwrap_or_default();
    let pairs = told.split(',').filter_map(|pair| {
        let (name, address) = pair.split_once('=')?;
        Some((name.to_owned(), address.parse().ok()?))
    });
    guard.with_exceptions(pairs.collect())
}

#[cfg(not(feature = "failpoints"))]
const fn exceptions(guard: Guard) -> Guard {
    guard
}
