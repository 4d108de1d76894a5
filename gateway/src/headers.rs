//! Headers on their way through. What belongs to one connection, and what says who the caller is, stays here; everything else
//! goes on as it came.

use http::header::{ACCEPT_ENCODING, CONNECTION, HeaderMap, HeaderName, HeaderValue};

/// Of one connection (RFC 9110 §7.6.1), beside those that `connection` names.
const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Who the caller is, where it comes from, and what is made anew for the next connection.
const CALLER: [&str; 19] = [
    "api-key",
    "authorization",
    // Where a caller is in its trace is its own affair and ours: a provider is on the other side of the boundary at which the
    // standard lets a trace end.
    "baggage",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "traceparent",
    "tracestate",
    "via",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-goog-api-key",
    "x-real-ip",
    "x-amz-security-token",
];

fn is_hop(name: &HeaderName, nominated: &[String]) -> bool {
    HOP.contains(&name.as_str()) || nominated.iter().any(|nominated| nominated == name.as_str())
}

fn nominated(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONNECTION).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

/// A request's headers as the provider gets them, without its key.
pub(crate) fn request(headers: &HeaderMap) -> HeaderMap {
    let nominated = nominated(headers);
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let ours = name.as_str().starts_with("x-perennial-");
        if !ours && !CALLER.contains(&name.as_str()) && !is_hop(name, &nominated) && name != ACCEPT_ENCODING {
            passed.append(name.clone(), value.clone());
        }
    }
    passed.insert(ACCEPT_ENCODING, readable(headers));
    passed
}

/// Of the encodings the caller takes, one whose usage can be read.
fn readable(headers: &HeaderMap) -> HeaderValue {
    let gzip = headers.get_all(ACCEPT_ENCODING).iter().any(|value| {
        let mut codings = value.to_str().unwrap_or_default().split(',');
        codings.any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.parse() == Ok(0.0_f32));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
    });
    HeaderValue::from_static(if gzip { "gzip" } else { "identity" })
}

/// An answer's headers as the caller gets them. One that holds a secret does not pass.
pub(crate) fn answer(headers: &HeaderMap, secret: Option<&str>) -> HeaderMap {
    let nominated = nominated(headers);
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let tells = secret.is_some_and(|secret| contains(value.as_bytes(), secret.as_bytes()));
        if !is_hop(name, &nominated) && !matches!(name.as_str(), "set-cookie" | "alt-svc") && !tells {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

/// Whether some bytes are within others.
pub(crate) fn contains(within: &[u8], what: &[u8]) -> bool {
    !what.is_empty() && memchr::memmem::find(within, what).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_what_is_of_the_call_goes_on() {
        let passed = request(&headers(&[
            ("authorization", "Bearer vk_1"),
            ("x-api-key", "vk_1"),
            ("cookie", "a=b"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("host", "evil"),
            ("transfer-encoding", "chunked"),
            ("x-perennial-budget", "bud_1"),
            ("anthropic-beta", "one"),
            ("anthropic-beta", "two"),
            ("x-stainless-lang", "js"),
            ("accept-encoding", "br, GZIP;q=0.5, deflate"),
        ]));
        let expected = [
            ("anthropic-beta", "one"),
            ("anthropic-beta", "two"),
            ("x-stainless-lang", "js"),
            ("accept-encoding", "gzip"),
        ];
        assert_eq!(passed, headers(&expected));
    }

    #[test]
    fn encodings_are_narrowed_to_what_can_be_read() {
        for (asked, sent) in [
            ("br, zstd", "identity"),
            ("gzip;q=0, br", "identity"),
            ("deflate, gzip", "gzip"),
        ] {
            assert_eq!(
                request(&headers(&[("accept-encoding", asked)]))["accept-encoding"],
                sent
            );
        }
        assert_eq!(request(&HeaderMap::new())["accept-encoding"], "identity");
    }

    #[test]
    fn answers_keep_theirs_but_for_cookies_and_secrets() {
        let passed = answer(
            &headers(&[
                ("content-type", "text/event-stream"),
                ("set-cookie", "a=b"),
                ("keep-alive", "timeout=5"),
                ("request-id", "req_1"),
                ("x-echo", "key is sk-secret!"),
            ]),
            Some("sk-secret"),
        );
        assert_eq!(
            passed,
            headers(&[("content-type", "text/event-stream"), ("request-id", "req_1")])
        );
    }
}
