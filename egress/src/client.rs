//! Pages of the web, for an agent: vetted, bounded in redirects, time and size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, USER_AGENT};
use reqwest::redirect;

use crate::guard::{Allowed, Guard, Refused};
use crate::limits::{CONNECT_TIME, FETCH_TIME, PAGE_BYTES, POST_TIME, REDIRECTS};
use crate::target::{Target, parse};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not asked for.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It leads from one place to the next.
    #[error("it redirects more than {REDIRECTS} times")]
    Redirects,
    /// It did not come in time.
    #[error("it took longer than {} s", FETCH_TIME.as_secs())]
    Slow,
    /// What was posted was not answered in time.
    #[error("no answer within {} s", POST_TIME.as_secs())]
    Silent,
    /// The connection, or what was said on it.
    #[error("{0}")]
    Failed(String),
    /// This process cannot ask anybody.
    #[error("no client can be made: {0}")]
    Client(String),
}

/// What was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// After all redirects.
    pub url: String,
    /// Of HTTP.
    pub status: u16,
    /// Its type, without parameters, in lower case.
    pub content_type: String,
    /// As it came.
    pub body: Bytes,
    /// There is more of it than `body`.
    pub cut: bool,
}

/// Asks for pages.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) guard: Guard,
    pub(crate) http: reqwest::Client,
}

/// Every connection of the client is to an address that the guard gave out.
struct Vetted(Guard);

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().trim_end_matches('.').to_ascii_lowercase();
            let addresses = guard.resolve(&host).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

impl Client {
    /// Behind a guard.
    ///
    /// # Errors
    /// When the system's certificates cannot be used.
    pub fn new(guard: Guard) -> Result<Self, FetchError> {
        let http = reqwest::Client::builder()
            .dns_resolver(Arc::new(Vetted(guard.clone())))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIME)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(2)
            .build()
            .map_err(|error| FetchError::Client(error.to_string()))?;
        Ok(Self { guard, http })
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, url: &str, allowed: &Allowed) -> Result<Page, FetchError> {
        let fetched = tokio::time::timeout(FETCH_TIME, self.follow(url, allowed)).await;
        fetched.map_err(|_| FetchError::Slow)?
    }

    /// For a protocol that is spoken over HTTP: the address in one spelling, and who may ask it. Each connection is to an address that
    /// was vetted, and no redirect is followed.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn speak(&self, url: &str, allowed: &Allowed) -> Result<(String, reqwest::Client), Refused> {
        let url = parse(url)?;
        self.guard.look(&Target::of(&url)?, allowed)?;
        Ok((url.into(), self.http.clone()))
    }

    async fn follow(&self, url: &str, allowed: &Allowed) -> Result<Page, FetchError> {
        let mut url = parse(url)?;
        for _ in 0..=REDIRECTS {
            self.guard.look(&Target::of(&url)?, allowed)?;
            let request = self
                .http
                .get(url.clone())
                .header(USER_AGENT, "perennial")
                .header(ACCEPT, "text/*, application/json, */*;q=0.5");
            let mut response = request.send().await.map_err(failed)?;
            let leads = response
                .headers()
                .get(LOCATION)
                .filter(|_| response.status().is_redirection());
            if let Some(location) = leads {
                let location = location.to_str().map_err(|_| Refused::Malformed)?;
                let next = url.join(location).map_err(|_| Refused::Malformed)?;
                url = parse(next.as_str())?;
                continue;
            }
            let kind = response
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            let content_type = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let (mut body, mut cut) = (BytesMut::new(), false);
            while let Some(piece) = response.chunk().await.map_err(failed)? {
                let room = PAGE_BYTES - body.len();
                body.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() > room {
                    cut = true;
                    break;
                }
            }
            return Ok(Page {
                url: url.into(),
                status: response.status().as_u16(),
                content_type,
                body: body.freeze(),
                cut,
            });
        }
        Err(FetchError::Redirects)
    }
}

/// The whole chain: the reason is at its end, and ours are among them.
pub(crate) fn failed(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut told = String::new();
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return FetchError::Refused(refused.clone());
        }
        if !told.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&error.to_string());
        source = error.source();
    }
    FetchError::Failed(told)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::SystemLookup;

    /// Answers by path.
    async fn serve(listener: TcpListener, port: u16) {
        while let Ok((mut line, _)) = listener.accept().await {
            let mut bytes = [0; 4096];
            let read = line.read(&mut bytes).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let to = |place: &str| {
                format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            };
            let answer = match text.split(' ').nth(1).unwrap_or_default() {
                "/once" => to("/page"),
                "/round" => to("/round"),
                "/metadata" => to("http://169.254.169.254/latest"),
                "/local" => to(&format!("http://127.0.0.1:{port}/page")),
                "/other" => to(&format!("http://other.test:{port}/page")),
                "/file" => to("file:///etc/passwd"),
                "/large" => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(PAGE_BYTES + 9)),
                _ => "HTTP/1.1 200 OK\r\ncontent-type: Text/HTML; charset=utf-8\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi".to_owned(),
            };
            let _ = line.write_all(answer.as_bytes()).await;
        }
    }

    #[tokio::test]
    async fn a_page_is_fetched_and_each_redirect_is_vetted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(serve(listener, port));
        let here = ["page.test", "other.test"].map(|name| (name.to_owned(), "127.0.0.1".parse().unwrap()));
        let guard = Guard::new(Arc::new(SystemLookup)).with_exceptions(BTreeMap::from(here));
        let client = Client::new(guard).unwrap();
        let some = Allowed::Hosts(vec!["page.test".into(), "169.254.169.254".into(), "127.0.0.1".into()]);
        let fetch = async |path: &str| client.fetch(&format!("http://page.test:{port}/{path}"), &some).await;
        for path in ["page", "once"] {
            let page = fetch(path).await.unwrap();
            assert_eq!(
                (page.status, page.content_type.as_str(), &page.body[..], page.cut),
                (200, "text/html", &b"hi"[..], false)
            );
            assert!(page.url.ends_with("/page"));
        }
        let large = fetch("large").await.unwrap();
        assert!(large.cut && large.body.len() == PAGE_BYTES);
        assert!(matches!(fetch("round").await, Err(FetchError::Redirects)));
        for (path, refused) in [
            ("metadata", Refused::NotPublic("169.254.169.254".into())),
            ("local", Refused::NotPublic("127.0.0.1".into())),
            ("other", Refused::NotAllowed("other.test".into())),
            ("file", Refused::Malformed),
        ] {
            let told = fetch(path).await.unwrap_err();
            assert!(
                matches!(&told, FetchError::Refused(why) if *why == refused),
                "{path}: {told:?}"
            );
        }
        // A name of this host, by the resolver of this host.
        let told = client.fetch("http://localhost:8080/", &Allowed::All).await.unwrap_err();
        assert!(matches!(&told, FetchError::Refused(Refused::NotPublic(_))), "{told:?}");
        serving.abort();
    }
}
