//! Previews: what listens on a port of a machine, as a site of its own in a browser, under `{port}--{executor}.{domain}`.
//!
//! ```text
//! POST /v1/executors/{id}/previews ─▶ an address with a ticket ─▶ [`visit`]: a cookie of that site ─▶ [`carry`] ─▶ the tunnel
//! ```
//!
//! A site is another origin than the console's: its pages are a sandbox's, and nothing of ours reaches them. The cookie is good
//! for one port of one machine and is taken out before a request goes on, like everything else that looks like a credential of
//! this server ([`headers`]). A service sees a request as if somebody at the machine had made it.

mod address;
mod carry;
mod headers;
mod visit;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

pub(crate) use self::address::Site;
pub use self::address::{NotAPreviewUrl, Previews};
pub(crate) use self::visit::{Visits, opens};
use perennial_engine::ports::StoreError;

use crate::api::App;
use crate::error::ApiError;

/// Takes requests to the names of previews out of the way of everything else.
pub(crate) async fn divert(State(app): State<App>, request: Request, next: Next) -> Response {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let Some(site) = named.and_then(|host| app.config.previews.site(host)) else {
        return next.run(request).await;
    };
    let mut response = match serve(&app, site, request).await {
        Ok(response) => return response,
        Err(Refusal { status, message }) => (status, format!("{message}\n")).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Why a preview shows nothing, for a person at a browser.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::new(error.status, error.message)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

async fn serve(app: &App, site: Site, request: Request) -> Result<Response, Refusal> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(Refusal::new(status, "previews take no such requests"));
    }
    if request.uri().path() == visit::OPENING {
        return visit::begin(app, site, request.uri(), request.headers()).await;
    }
    let workspace = visit::admit(app, site, request.headers()).await?;
    if !is_its_own(request.method(), request.headers()) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this came from a page of another site; a preview is asked by its own pages",
        ));
    }
    carry::carry(app, site, workspace, request).await
}

/// Whether a request was made by a page of the site itself, or by somebody who opened an address. Pages of other previews of
/// the same domain are as foreign as any.
fn is_its_own(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let opened = || *method == Method::GET && text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate");
    let site = match text(HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin" | "none") | None => true,
        Some(_) => opened(),
    };
    let origin = match (text(axum::http::header::ORIGIN), text(HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => headers::authority(origin).is_some_and(|named| named.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    };
    site && origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("3000--x.localhost:7340"));
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        is_its_own(method, &map)
    }

    #[test]
    fn only_its_own_pages_ask_a_preview() {
        let origin = ("origin", "http://3000--x.localhost:7340");
        assert!(own(&Method::POST, &[origin, ("sec-fetch-site", "same-origin")]));
        assert!(own(&Method::GET, &[("sec-fetch-site", "none")]) && own(&Method::GET, &[]));
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(own(&Method::GET, &link) && !own(&Method::POST, &link));
        for site in ["same-site", "cross-site", "?"] {
            assert!(!own(&Method::GET, &[("sec-fetch-site", site)]), "{site}");
        }
        for origin in [
            "null",
            "http://3001--x.localhost:7340",
            "http://localhost:7340",
            "ws://3000--x.localhost:7340",
        ] {
            assert!(!own(&Method::GET, &[("origin", origin)]), "{origin}");
        }
    }
}
