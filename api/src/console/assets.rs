//! The console's files, made by `npm run build` and embedded in the binary (read from the folder in debug builds). Each is there
//! compressed and only so: brotli for browsers, gzip for the rest. Without a build a plain page says how to make one.

use std::io::Read as _;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use rust_embed::RustEmbed;

use crate::error::ApiError;
use crate::respond;

#[derive(RustEmbed)]
#[folder = "console/dist"]
#[allow_missing = true]
struct Files;

/// Scripts and styles of our own only; no inline code, no other host, no frame around or inside (S24).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";
const NOT_BUILT: &str = include_str!("not_built.html");

/// Whether the console was there when this binary was built.
#[must_use]
pub fn is_built() -> bool {
    Files::get("app/index.html.gz").is_some()
}

/// What no route answers: a file of the console, one of its pages where a person asks, or no route.
pub(crate) async fn page_or_no_route(request: Request) -> Result<Response, ApiError> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path().trim_start_matches('/');
    if reads && path.starts_with("assets/") {
        if let Some(response) = file(path, request.headers(), "public, max-age=31536000, immutable") {
            return Ok(response);
        }
    } else if reads && (path == "icon.svg" || path == "manifest.webmanifest") {
        if let Some(response) = file(path, request.headers(), "public, max-age=86400") {
            return Ok(response);
        }
    } else if reads && wants_page(path, request.headers()) {
        let page = file("index.html", request.headers(), "no-cache");
        return Ok(page.unwrap_or_else(placeholder));
    }
    Err(respond::no_route(request).await)
}

/// Addresses of pages are whatever the API has not: programs that ask there are told so, people get the console.
fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    let api = ["v1", "llm", "console", "metrics", "healthz", "readyz"];
    let first = path.split('/').next().unwrap_or_default();
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    !api.contains(&first) && accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

fn file(path: &str, headers: &HeaderMap, kept: &'static str) -> Option<Response> {
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let accepts = |coding: &str| {
        accepts.is_some_and(|all| {
            all.split(',')
                .any(|one| one.split(';').next().is_some_and(|one| one.trim() == coding))
        })
    };
    let (coding, body) = if let Some(brotli) = Files::get(&format!("app/{path}.br")).filter(|_| accepts("br")) {
        (Some("br"), Body::from(brotli.data.into_owned()))
    } else {
        let gzip = Files::get(&format!("app/{path}.gz"))?.data;
        if accepts("gzip") {
            (Some("gzip"), Body::from(gzip.into_owned()))
        } else {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*gzip).read_to_end(&mut plain).ok()?;
            (None, Body::from(plain))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    harden(headers, POLICY);
    Some(response)
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

fn placeholder() -> Response {
    let mut response = Response::new(Body::from(NOT_BUILT));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    harden(
        headers,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    response
}

fn harden(headers: &mut HeaderMap, policy: &'static str) {
    let all = [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ];
    for (name, value) in all {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// Answers behind the cookie are data: opened as a page, tool output neither runs nor loads anything.
pub(super) async fn inert(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    harden(
        response.headers_mut(),
        "default-src 'none'; sandbox; frame-ancestors 'none'",
    );
    response
}
