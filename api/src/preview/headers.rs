//! What of a request's and an answer's head goes on. A service is asked as at `localhost:PORT`, so that whatever looks at the
//! name it is called by, or at where a request was made, sees what it would see at the machine.

use axum::http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use perennial_schema::{ExecutorToken, VirtualKey};

use crate::accounts::Secret;

/// What the names of all our cookies begin with.
pub(super) const OURS: &str = "__Host-perennial";

/// Concern one connection, not the next.
const HOPS: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request's cookies.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// The host and port of an origin.
pub(super) fn authority(origin: &str) -> Option<&str> {
    let named = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))?;
    Some(named.split('/').next().unwrap_or(named))
}

/// The protocol a request wants to go on with, if it wants to.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let wanted = asked.any(|text| {
        text.split(',')
            .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
    });
    headers.get(UPGRADE).filter(|_| wanted).cloned()
}

/// A request's head, as the service at `port` sees it.
pub(super) fn towards_service(headers: &mut HeaderMap, port: u16) {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let upgrade = upgrade(headers);
    hop(headers);
    headers.remove(EXPECT);
    headers.remove(FORWARDED);
    let forwarded: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-"))
        .cloned()
        .collect();
    for name in forwarded {
        headers.remove(name);
    }
    without_credentials(headers);
    let here = format!("localhost:{port}");
    for name in [ORIGIN, REFERER] {
        let told = headers.get(&name).and_then(|value| value.to_str().ok());
        let Some((told, host)) = told.zip(host.as_deref()) else {
            continue;
        };
        let rest = told
            .split_once("://")
            .and_then(|(_, named)| named.strip_prefix(host))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match rest.map(|rest| HeaderValue::from_str(&format!("http://{here}{rest}"))) {
            Some(Ok(value)) => _ = headers.insert(name, value),
            _ => _ = headers.remove(name),
        }
    }
    if let Ok(value) = HeaderValue::from_str(&here) {
        headers.insert(HOST, value);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Ours go no further: cookies by their name, keys by how they look.
fn without_credentials(headers: &mut HeaderMap) {
    let kept: Vec<String> = cookies(headers)
        .filter(|(name, _)| !name.starts_with(OURS))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    headers.remove(COOKIE);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_str(&kept.join("; "))
    {
        headers.insert(COOKIE, value);
    }
    for name in [AUTHORIZATION, HeaderName::from_static("x-api-key")] {
        if headers.get_all(&name).iter().any(is_ours) {
            headers.remove(name);
        }
    }
}

fn is_ours(credential: &HeaderValue) -> bool {
    let text = String::from_utf8_lossy(credential.as_bytes());
    let mut words = text.split_ascii_whitespace();
    words.any(|word| {
        word.parse::<Secret>().is_ok()
            || Secret::parse_login(word).is_ok()
            || Secret::parse_environment(word).is_ok()
            || Secret::parse_work(word).is_ok()
            || word.parse::<VirtualKey>().is_ok()
            || word.parse::<ExecutorToken>().is_ok()
    })
}

/// An answer's head, as a browser at the preview sees it.
pub(super) fn towards_browser(headers: &mut HeaderMap, port: u16) {
    let upgrade = upgrade(headers);
    hop(headers);
    headers.remove(ALT_SVC);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    let set: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter_map(of_this_host).collect();
    headers.remove(SET_COOKIE);
    for cookie in set {
        headers.append(SET_COOKIE, cookie);
    }
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(Ok(value)) = target
        .and_then(|target| within(target, port))
        .map(|path| HeaderValue::from_str(&path))
    {
        headers.insert(LOCATION, value);
    }
}

/// A cookie for this site alone: one for the whole domain would reach the previews of others. None of ours is set by a service.
fn of_this_host(cookie: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = cookie.to_str() else {
        return None;
    };
    if text.trim_start().starts_with(OURS) {
        return None;
    }
    let is_domain = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("domain")
    };
    let mut parts = text.split(';');
    let mut kept = vec![parts.next().unwrap_or_default()];
    kept.extend(parts.filter(|part| !is_domain(part)));
    HeaderValue::from_str(&kept.join(";")).ok()
}

/// Where a redirection to the service itself leads; none when it leads elsewhere.
fn within(target: &str, port: u16) -> Option<String> {
    let named = target.strip_prefix("http://")?;
    let end = named.find(['/', '?', '#']).unwrap_or(named.len());
    let (authority, rest) = named.split_at(end);
    let host = match port {
        80 => authority.strip_suffix(":80").unwrap_or(authority),
        _ => authority.strip_suffix(&format!(":{port}"))?,
    };
    match host {
        "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]" if rest.starts_with('/') => Some(rest.to_owned()),
        "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]" => Some(format!("/{rest}")),
        _ => None,
    }
}

fn hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOPS) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn all<'a>(map: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        map.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn nothing_of_ours_reaches_a_service() {
        let key = Secret::generate().unwrap();
        let login = Secret::login().unwrap();
        let mut head = map(&[
            ("host", "3000--x.localhost:7340"),
            ("cookie", "a=1; __Host-perennial-preview=xk_1; b=2"),
            ("cookie", "__Host-perennial-7340=pl_1;c=3=3"),
            ("authorization", &format!("Bearer {}", key.expose())),
            ("x-api-key", login.expose()),
            ("x-forwarded-host", "elsewhere"),
            ("forwarded", "for=1.2.3.4"),
            ("proxy-authorization", "Basic eA=="),
        ]);
        towards_service(&mut head, 3000);
        assert_eq!(all(&head, "cookie"), ["a=1; b=2; c=3=3"]);
        assert_eq!(all(&head, "host"), ["localhost:3000"]);
        assert_eq!(head.len(), 2, "{head:?}");
        // What is the service's own stays.
        let mut head = map(&[
            ("authorization", "Bearer mine"),
            ("x-api-key", "theirs"),
            ("cookie", "__Host-perennial=x"),
        ]);
        towards_service(&mut head, 80);
        assert_eq!(
            (
                all(&head, "authorization"),
                all(&head, "x-api-key"),
                all(&head, "cookie").len()
            ),
            (vec!["Bearer mine"], vec!["theirs"], 0)
        );
    }

    #[test]
    fn a_service_is_asked_as_at_its_machine() {
        let origin = "http://3000--x.localhost:7340";
        let mut head = map(&[
            ("host", "3000--x.localhost:7340"),
            ("origin", origin),
            ("referer", &format!("{origin}/a?b")),
            ("connection", "keep-alive, Upgrade, x-mine"),
            ("upgrade", "websocket"),
            ("x-mine", "1"),
            ("te", "trailers"),
        ]);
        towards_service(&mut head, 3000);
        assert_eq!(all(&head, "origin"), ["http://localhost:3000"]);
        assert_eq!(all(&head, "referer"), ["http://localhost:3000/a?b"]);
        assert_eq!(
            (all(&head, "connection"), all(&head, "upgrade")),
            (vec!["upgrade"], vec!["websocket"])
        );
        assert_eq!(head.len(), 5, "{head:?}");
        // Where one came from is nobody's business.
        let mut head = map(&[
            ("host", "3000--x.localhost"),
            ("referer", "http://127.0.0.1:7340/sessions/1"),
        ]);
        towards_service(&mut head, 3000);
        assert!(!head.contains_key(REFERER));
    }

    #[test]
    fn answers_concern_their_own_site() {
        let mut head = map(&[
            ("set-cookie", "a=1; Path=/; Domain=localhost; HttpOnly"),
            ("set-cookie", "b=2;domain=.box.example"),
            ("set-cookie", "__Host-perennial-preview=mine; Secure; Path=/"),
            ("location", "http://localhost:3000/next?a=b"),
            ("alt-svc", "h3=\":443\""),
            ("connection", "close"),
        ]);
        towards_browser(&mut head, 3000);
        assert_eq!(all(&head, "set-cookie"), ["a=1; Path=/; HttpOnly", "b=2"]);
        assert_eq!(all(&head, "location"), ["/next?a=b"]);
        assert_eq!(head.len(), 3, "{head:?}");
    }

    #[test]
    fn redirections_elsewhere_stay() {
        assert_eq!(within("http://127.0.0.1:3000", 3000).as_deref(), Some("/"));
        assert_eq!(within("http://[::1]:3000?a", 3000).as_deref(), Some("/?a"));
        assert_eq!(within("http://localhost/", 80).as_deref(), Some("/"));
        for target in [
            "/next",
            "https://localhost:3000/",
            "http://localhost:3001/",
            "http://localhost/",
            "http://localhost:3000.evil.example/",
            "http://me@localhost:3000/",
        ] {
            assert_eq!(within(target, 3000), None, "{target}");
        }
    }
}
