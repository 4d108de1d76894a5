//! Which `Host` headers are served: a web page that rebinds its own name to a loopback address must not reach a local server
//! (INVARIANTS S7).

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::Response;

use crate::api::App;
use crate::error::ApiError;

/// The names a server answers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Loopback names and addresses, and these.
    Only(Vec<String>),
    /// Loopback names and addresses.
    #[default]
    Loopback,
    /// Any: behind a proxy that checks.
    Any,
}

impl Hosts {
    pub(crate) fn serves(&self, host: &str) -> bool {
        let name = name(host);
        match self {
            Self::Any => true,
            Self::Loopback => is_loopback(name),
            Self::Only(names) => is_loopback(name) || names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)),
        }
    }
}

/// The host without its port and brackets.
pub(crate) fn name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

pub(crate) fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Refuses foreign names. A request without a `Host` passes: browsers, which rebinding needs, always send one.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Result<Response, ApiError> {
    for value in request.headers().get_all(HOST) {
        let host = value.to_str().unwrap_or("?");
        if !app.config.hosts.serves(host) {
            let shown: String = host.chars().take(80).collect();
            return Err(ApiError::forbidden(format!(
                "this server does not answer to the host name {shown:?}; use a loopback address, or allow the name in its configuration"
            )));
        }
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_served_and_others_refused() {
        for host in [
            "localhost",
            "LOCALHOST:7340",
            "127.0.0.1:7340",
            "127.9.9.9",
            "[::1]:7340",
            "[::1]",
        ] {
            assert!(Hosts::Loopback.serves(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:7340",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "?",
        ] {
            assert!(!Hosts::Loopback.serves(host), "{host}");
        }
        assert!(Hosts::Only(vec!["box.lan".into()]).serves("box.lan:80"));
        assert!(!Hosts::Only(vec!["box.lan".into()]).serves("evil.example"));
        assert!(Hosts::Any.serves("evil.example"));
    }
}
