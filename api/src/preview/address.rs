//! The names of previews: `{port}--{executor}.{domain}`, where an executor is its id without what all of them begin with,
//! because names of hosts have no underscores.

use axum::http::Uri;
use perennial_schema::ExecutorId;
use uuid::Uuid;

use crate::host;

/// Where previews are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Previews {
    /// Below `localhost`, which browsers look for on their own machine, at the server's port.
    #[default]
    Loopback,
    /// Below a domain whose every name leads here, perhaps through a proxy.
    Below {
        /// `http` or `https`.
        scheme: String,
        /// The domain.
        domain: String,
        /// With its port, if it has one.
        authority: String,
    },
}

/// What is no address of previews.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be https://DOMAIN or http://DOMAIN, with a port or without one and nothing after it")]
pub struct NotAPreviewUrl;

/// A port of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub executor: ExecutorId,
    pub port: u16,
}

const LOOPBACK: &str = "localhost";

impl Previews {
    /// Below the domain of an address.
    ///
    /// # Errors
    /// When it is not `http(s)://DOMAIN[:PORT]`.
    pub fn below(url: &str) -> Result<Self, NotAPreviewUrl> {
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| NotAPreviewUrl)?;
        let parts = (uri.scheme_str(), uri.authority(), uri.path(), uri.query());
        let (Some(scheme @ ("http" | "https")), Some(authority), "" | "/", None) = parts else {
            return Err(NotAPreviewUrl);
        };
        if authority.as_str().contains(['@', '[']) || authority.host().parse::<std::net::IpAddr>().is_ok() {
            return Err(NotAPreviewUrl);
        }
        Ok(Self::Below {
            scheme: scheme.to_owned(),
            domain: authority.host().to_ascii_lowercase(),
            authority: authority.as_str().to_ascii_lowercase(),
        })
    }

    /// Which preview a `Host` names, if it names one.
    pub(super) fn site(&self, host: &str) -> Option<Site> {
        let name = host::name(host).to_ascii_lowercase();
        let domain = match self {
            Self::Loopback => LOOPBACK,
            Self::Below { domain, .. } => domain,
        };
        let label = name.strip_suffix(domain)?.strip_suffix('.')?;
        let (port, executor) = label.split_once("--")?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let id = Uuid::try_parse(executor).ok().map(ExecutorId::from_uuid)?;
        let site = Site { executor: id, port };
        // No name but this one: a site must not have two origins.
        (site.label() == label).then_some(site)
    }

    /// Where a browser finds a preview that was asked for at this server under a name; none when there is nothing below it.
    pub(crate) fn origin(&self, site: Site, asked_at: &str) -> Option<String> {
        let label = site.label();
        match self {
            Self::Below { scheme, authority, .. } => Some(format!("{scheme}://{label}.{authority}")),
            Self::Loopback if host::is_loopback(host::name(asked_at)) => {
                let port = asked_at.rsplit_once(':').map(|(_, port)| port);
                let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                Some(format!("http://{label}.{LOOPBACK}{port}"))
            }
            Self::Loopback => None,
        }
    }
}

impl Site {
    fn label(self) -> String {
        format!("{}--{}", self.port, self.executor.uuid().simple())
    }

    /// What its ticket is for.
    pub(super) fn opening(self) -> String {
        format!("previews/{}", self.port)
    }

    /// What its cookie is for.
    pub(super) fn visiting(self) -> String {
        format!("visits/{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890f3e7c6b7cc2a1d3f5e6a7b8c9d0";

    fn site() -> Site {
        let executor = ExecutorId::from_uuid(Uuid::try_parse(ID).unwrap());
        Site { executor, port: 3000 }
    }

    #[test]
    fn a_site_has_one_name() {
        let previews = Previews::Loopback;
        for host in [
            format!("3000--{ID}.localhost"),
            format!("3000--{ID}.localhost:7340"),
            format!("3000--{ID}.LOCALHOST:1").to_uppercase(),
        ] {
            assert_eq!(previews.site(&host), Some(site()), "{host}");
        }
        let dashed = site().executor.uuid().hyphenated();
        for host in [
            "localhost:7340".to_owned(),
            format!("{ID}.localhost"),
            format!("0--{ID}.localhost"),
            format!("03000--{ID}.localhost"),
            format!("+3000--{ID}.localhost"),
            format!("70000--{ID}.localhost"),
            format!("3000--{dashed}.localhost"),
            format!("a.3000--{ID}.localhost"),
            format!("3000--{ID}localhost"),
            format!("3000--{ID}.localhost.evil.example"),
            format!("3000--{ID}.box.example"),
        ] {
            assert_eq!(previews.site(&host), None, "{host}");
        }
        let previews = Previews::below("https://Box.example:8443/").unwrap();
        assert_eq!(previews.site(&format!("3000--{ID}.box.example:8443")), Some(site()));
        assert_eq!(previews.site(&format!("3000--{ID}.localhost")), None);
    }

    #[test]
    fn an_address_is_where_a_browser_finds_it() {
        let at = |previews: &Previews, asked| previews.origin(site(), asked);
        let loopback = Previews::Loopback;
        assert_eq!(
            at(&loopback, "127.0.0.1:7340"),
            Some(format!("http://3000--{ID}.localhost:7340"))
        );
        assert_eq!(at(&loopback, "[::1]"), Some(format!("http://3000--{ID}.localhost")));
        assert_eq!(at(&loopback, "box.lan:7340"), None);
        let below = Previews::below("https://box.example").unwrap();
        assert_eq!(
            at(&below, "127.0.0.1:1"),
            Some(format!("https://3000--{ID}.box.example"))
        );
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in [
            "",
            "box.example",
            "ftp://box.example",
            "https://",
            "https://box.example/path",
            "https://box.example?a",
            "https://me@box.example",
            "https://10.0.0.1",
            "https://[::1]",
        ] {
            assert_eq!(Previews::below(url), Err(NotAPreviewUrl), "{url}");
        }
    }
}
