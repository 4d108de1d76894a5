//! Scripted model servers: what Anthropic and OpenAI are to a test. On a loopback port of their own, strict as the vendors
//! are: what a vendor would refuse gets status 400 and is kept as a violation. The server is the product's own
//! (`perennial rehearsal`); it is only made more talkative here, so that every conversation is a test of its replay.

pub mod validate;

use std::time::{Duration, Instant};

use anyhow::Result;
use perennial_rehearsal::Manner;
pub use perennial_rehearsal::reply::{Answer, Reply, Tokens};
pub use perennial_rehearsal::server::Received;
use perennial_rehearsal::server::{Server, Settings};
use tokio::net::TcpListener;

pub use validate::Issued;

/// Requests that are kept: more than any test makes.
const KEEP: usize = 1_000_000;

/// Whose API a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses, and Chat Completions beside it.
    OpenAi,
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct ModelServer {
    base_url: String,
    server: Server,
}

impl ModelServer {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no loopback port.
    pub async fn start(vendor: Vendor) -> Result<Self> {
        let manner = Manner {
            thoughtful: true,
            numbered: true,
        };
        Self::start_as(vendor, manner).await
    }

    /// Starts one of this manner.
    ///
    /// # Errors
    /// When there is no loopback port.
    pub async fn start_as(vendor: Vendor, manner: Manner) -> Result<Self> {
        let settings = Settings {
            keep: KEEP,
            manner,
            ..Settings::default()
        };
        let server = Server::start(TcpListener::bind(("127.0.0.1", 0)).await?, settings)?;
        let base_url = match vendor {
            Vendor::Anthropic => server.origin(),
            Vendor::OpenAi => format!("{}/v1", server.origin()),
        };
        Ok(Self { base_url, server })
    }

    /// What `ANTHROPIC_BASE_URL` or `OPENAI_BASE_URL` is to be.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// When the newest request was complete.
    #[must_use]
    pub fn last_arrival(&self) -> Option<Instant> {
        self.server.last_arrival()
    }

    /// Answers the next request that has no answer yet.
    pub fn push(&self, reply: impl Into<Reply>) {
        self.server.push(reply);
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.server.requests()
    }

    /// What a vendor would have refused, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.server.violations()
    }

    /// Waits until this many answers were left by the client before their end.
    ///
    /// # Errors
    /// When that takes more than ten seconds.
    pub async fn abandoned(&self, count: usize) -> Result<()> {
        let mut abandoned = self.server.abandoned();
        tokio::time::timeout(Duration::from_secs(10), abandoned.wait_for(|now| *now >= count)).await??;
        Ok(())
    }
}
