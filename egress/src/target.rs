//! A host and a port in one spelling: whatever is decided about it is decided about what is connected to.

use std::net::IpAddr;

use reqwest::Url;

use crate::guard::Refused;
use crate::limits::URL_BYTES;

/// Where somebody wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name in lower case and without a dot at its end, or an address.
    pub(crate) host: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

/// An address of the web, as it will be asked for.
///
/// # Errors
/// When it could mean more than one thing, or none.
pub(crate) fn parse(text: &str) -> Result<Url, Refused> {
    // The parser forgives what others take for the end of a host: line ends, tabs, backslashes.
    if text.len() > URL_BYTES
        || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80)
        || text.contains('\\')
    {
        return Err(Refused::Malformed);
    }
    // It also finds a host where there is none.
    let (_, rest) = text.split_once("://").ok_or(Refused::Malformed)?;
    if rest.starts_with('/') {
        return Err(Refused::Malformed);
    }
    let url = Url::parse(text).map_err(|_| Refused::Malformed)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refused::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() || has_userinfo(text) {
        return Err(Refused::Malformed);
    }
    Ok(url)
}

/// Also an empty one.
fn has_userinfo(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#'])
        .next()
        .is_some_and(|authority| authority.contains('@'))
}

impl std::str::FromStr for Target {
    type Err = Refused;

    /// Of an address of the web.
    fn from_str(url: &str) -> Result<Self, Refused> {
        Self::of(&parse(url)?)
    }
}

impl Target {
    /// Where a URL leads.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn of(url: &Url) -> Result<Self, Refused> {
        let port = url.port_or_known_default().ok_or(Refused::Malformed)?;
        let host = url.host_str().ok_or(Refused::Malformed)?;
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let address = literal.parse().ok();
        let host = literal.strip_suffix('.').unwrap_or(literal).to_ascii_lowercase();
        if host.is_empty() || host.ends_with('.') || host.len() > 253 {
            return Err(Refused::Malformed);
        }
        Ok(Self { host, address, port })
    }

    /// Of `host:port`, as a proxy is asked for.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn of_authority(text: &str) -> Result<Self, Refused> {
        let (host, port) = text.rsplit_once(':').ok_or(Refused::Malformed)?;
        let port: u16 = port.parse().map_err(|_| Refused::Malformed)?;
        if host.contains(['/', '?', '#', '@', '%']) || port == 0 {
            return Err(Refused::Malformed);
        }
        let url = parse(&format!("http://{host}:{port}/"))?;
        Self::of(&url).map(|target| Self { port, ..target })
    }

    /// As it is shown.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        let host = |text: &str| parse(text).and_then(|url| Target::of(&url)).map(|target| target.host);
        for (text, same) in [
            ("http://EXAMPLE.com./x", "example.com"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://0177.0.0.1/", "127.0.0.1"),
            ("http://127.0.0.1./", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://[::ffff:7f00:1]/", "::ffff:7f00:1"),
            ("http://%6c%6f%63alhost/", "localhost"),
            ("http://①②⑦.0.0.1/", "127.0.0.1"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(same), "{text}");
        }
        for text in [
            "",
            "example.com",
            "//example.com",
            "file:///etc/passwd",
            "gopher://h/",
            "http://",
            "http:///x",
            "http:example.com",
            "http://a@b/",
            "http://@b/",
            "http://a:b@c/",
            "http://a\\@b/",
            "http://a\n.b/",
            "http://a\0.b/",
            "http://a\t/",
            "http://a b/",
            "http://a%00b/",
            "http://a../",
            "http://[::1/",
            "http://a%2fb/",
            "javascript:x",
        ] {
            assert!(host(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        let target = Target::of_authority("Example.com:443").unwrap();
        assert_eq!((target.host(), target.port), ("example.com", 443));
        assert_eq!(
            Target::of_authority("[::1]:443").unwrap().address,
            Some("::1".parse().unwrap())
        );
        for text in [
            "example.com",
            "example.com:",
            "a@b:443",
            "a/b:443",
            "a:0",
            "a:99999",
            "a%2e:443",
            ":443",
            "a b:443",
            "a\0:443",
        ] {
            assert!(Target::of_authority(text).is_err(), "{text:?}");
        }
    }
}
