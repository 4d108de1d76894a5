//! The way to a provider: one client for all, without redirects (they would carry a key to another place), without
//! decompression (bytes go on as they come), and with a limit on silence but none on the whole.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::{Client, Response, Url};

use crate::limits::IDLE_CONNECTIONS;
use crate::refusal::{Kind, Refusal};

/// How long a provider may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// Before the answer begins, and between two pieces of it. There is no limit on the whole.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(300),
        }
    }
}

/// The client. Made on first use: loading the system's certificates takes time and memory that a server without a provider
/// need not spend.
#[derive(Debug)]
pub(crate) struct Upstream {
    timeouts: Timeouts,
    client: OnceLock<Client>,
}

impl Upstream {
    pub(crate) const fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Result<&Client, Refusal> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .http1_only()
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.idle)
            .redirect(reqwest::redirect::Policy::none())
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Refusal::new(Kind::Setup, "the gateway has no HTTP client.").detail(chain(&error)))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Sends a request and waits for the beginning of the answer.
    pub(crate) async fn send(
        &self,
        name: &str,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Refusal> {
        let shown = url.as_str().split('?').next().unwrap_or_default().to_owned();
        let mut request = self.client()?.request(method, url).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        request.send().await.map_err(|error| {
            let (kind, what) = if error.is_connect() {
                (Kind::Unreachable, "cannot be reached")
            } else if error.is_timeout() {
                (Kind::Silent, "did not answer in time")
            } else {
                (Kind::Unreachable, "broke off before it answered")
            };
            let left = !error.is_connect() && !error.is_builder();
            let mut refusal = Refusal::new(kind, format!("the provider {name:?} {what}"));
            refusal.left = left;
            refusal.detail(format!("at {shown}: {}", chain(&error.without_url())))
        })
    }
}

/// An error with its causes: the outermost of them seldom says why.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
