//! Where a request of the console comes from (INVARIANTS S6): a page of another site, of another port, or a form must not act in
//! the name of whoever is logged in. Browsers say where a request was made, and pages cannot forge it.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;

use crate::error::ApiError;

pub(super) async fn check(request: Request, next: Next) -> Result<Response, ApiError> {
    if is_ours(request.method(), request.headers()) {
        Ok(next.run(request).await)
    } else {
        Err(ApiError::forbidden(
            "requests of the console come from its own pages; programs use /v1 with a key",
        ))
    }
}

fn is_ours(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"))
    };
    let safe = matches!(*method, Method::GET | Method::HEAD);
    let site = match text("sec-fetch-site") {
        Some("same-origin") => true,
        // An address typed by a person.
        Some("none") => safe,
        // Old browsers, and proxies that drop it.
        None => true,
        Some(_) => false,
    };
    let origin = match (text(ORIGIN.as_str()), text(HOST.as_str())) {
        (None, _) => safe,
        (Some(origin), Some(host)) => {
            let named = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            named.is_some_and(|named| named.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    };
    site && origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        map.insert(HOST, "127.0.0.1:7340".parse().unwrap());
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        is_ours(method, &map)
    }

    #[test]
    fn only_our_own_pages_act() {
        let own = ("origin", "http://127.0.0.1:7340");
        assert!(ours(&Method::POST, &[own, ("sec-fetch-site", "same-origin")]));
        assert!(ours(&Method::DELETE, &[own]));
        assert!(!ours(&Method::POST, &[]), "an unsafe request says where it was made");
        for origin in [
            "null",
            "http://evil.example",
            "http://127.0.0.1:9999",
            "http://127.0.0.1",
            "http://127.0.0.1:7340.evil.example",
            "file://127.0.0.1:7340",
        ] {
            assert!(!ours(&Method::POST, &[("origin", origin)]), "{origin}");
            assert!(!ours(&Method::GET, &[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "?"] {
            assert!(!ours(&Method::POST, &[own, ("sec-fetch-site", site)]), "{site}");
            assert!(!ours(&Method::GET, &[("sec-fetch-site", site)]), "{site}");
        }
        assert!(ours(&Method::GET, &[]) && ours(&Method::GET, &[("sec-fetch-site", "none")]));
        assert!(!ours(&Method::POST, &[own, ("sec-fetch-site", "none")]));
    }
}
