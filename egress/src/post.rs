//! Something said to an address that somebody else chose: once, with no redirect followed.

use bytes::BytesMut;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};

use crate::client::{Client, FetchError, failed};
use crate::guard::Allowed;
use crate::limits::{POST_TIME, REPLY_BYTES};
use crate::target::{Target, parse};

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of HTTP.
    pub status: u16,
    /// When to come again, if it says so in seconds.
    pub retry_after_seconds: Option<u64>,
    /// The beginning of the body.
    pub text: String,
}

impl Client {
    /// Posts JSON.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn post_json(&self, url: &str, headers: &[(&str, String)], body: String) -> Result<Reply, FetchError> {
        let posted = tokio::time::timeout(POST_TIME, self.posted(url, headers, body)).await;
        posted.map_err(|_| FetchError::Silent)?
    }

    async fn posted(&self, url: &str, headers: &[(&str, String)], body: String) -> Result<Reply, FetchError> {
        let url = parse(url)?;
        self.guard.look(&Target::of(&url)?, &Allowed::All)?;
        let request = self
            .http
            .post(url)
            .header(USER_AGENT, "perennial")
            .header(CONTENT_TYPE, "application/json");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, value));
        let mut response = request.body(body).send().await.map_err(failed)?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after_seconds = retry_after
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse().ok());
        let status = response.status().as_u16();
        let mut text = BytesMut::new();
        while text.len() < REPLY_BYTES
            && let Some(piece) = response.chunk().await.map_err(failed)?
        {
            let room = REPLY_BYTES - text.len();
            text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Ok(Reply {
            status,
            retry_after_seconds,
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }
}
