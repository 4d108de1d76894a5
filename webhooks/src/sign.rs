//! Signatures of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` under the bytes behind `whsec_`.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_schema::{Secret, WebhookId, WorkspaceId};

/// What every secret begins with.
const PREFIX: &str = "whsec_";

/// A secret of 256 random bits.
#[must_use]
pub fn fresh_secret() -> Secret {
    let bytes: [u8; 32] = rand::random();
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// What a receiver's secret is sealed for: it opens nothing else.
#[must_use]
pub fn about(workspace: WorkspaceId, webhook: WebhookId) -> String {
    format!("webhook {workspace} {webhook}")
}

/// `webhook-signature`; none when the secret is none of ours.
pub(crate) fn signature(secret: &Secret, id: &str, seconds: i64, body: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret.expose().strip_prefix(PREFIX)?).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the reference implementations.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let signed = signature(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(
            signed.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        assert_eq!(signature(&Secret::new("other".into()), "a", 0, ""), None);
        assert_ne!(fresh_secret(), fresh_secret());
    }
}
