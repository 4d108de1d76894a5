//! The scripted model as a provider of its own: in this process, on every wire, without a key, and for nothing. So whatever
//! dials this gateway can be tried before there is any other provider.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use perennial_rehearsal::validate;
use perennial_rehearsal::wire::Issued;
use perennial_rehearsal::{ID, Rehearsal};
use serde_json::{Value, json};

use crate::answer::{Cut, Pieces};
use crate::endpoint::Endpoint;
use crate::refusal::Refusal;
use crate::wire::Wire;

/// The provider.
#[derive(Debug, Default)]
pub(crate) struct Stage(Rehearsal);

/// Status, headers, body.
pub(crate) type Performance = (StatusCode, HeaderMap, Pieces);

const fn theirs(wire: Wire) -> perennial_rehearsal::Wire {
    match wire {
        Wire::Messages => perennial_rehearsal::Wire::Messages,
        Wire::Responses => perennial_rehearsal::Wire::Responses,
        Wire::Chat => perennial_rehearsal::Wire::Chat,
    }
}

impl Stage {
    /// Answers a request as its vendor would.
    pub(crate) async fn perform(&self, endpoint: Endpoint, body: &[u8]) -> Result<Performance, Refusal> {
        let wire = match endpoint {
            Endpoint::Models => return Ok(json_answer(&models())),
            Endpoint::CountTokens => return Ok(json_answer(&json!({"input_tokens": body.len() / 4}))),
            Endpoint::Model(wire) => wire,
        };
        let body: Value = serde_json::from_slice(body).map_err(|error| Refusal::invalid(error.to_string()))?;
        validate::check(theirs(wire), &body, &Issued::default()).map_err(Refusal::invalid)?;
        let response = self.0.answer(theirs(wire), &body);
        if !response.wait.is_zero() {
            tokio::time::sleep(response.wait).await;
        }
        let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        for (name, value) in &response.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        let pieces = response
            .play()
            .map(|piece| piece.map_err(|error| Cut::Broken(error.to_string())));
        Ok((status, headers, Box::pin(pieces)))
    }
}

fn models() -> Value {
    let model = json!({"id": ID, "type": "model", "object": "model", "display_name": ID, "owned_by": "perennial",
        "created": 0, "created_at": "1970-01-01T00:00:00Z"});
    json!({"object": "list", "data": [model], "has_more": false, "first_id": ID, "last_id": ID})
}

fn json_answer(body: &Value) -> Performance {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let piece = Bytes::from(body.to_string());
    let pieces = futures_util::stream::once(async move { Ok(piece) });
    (StatusCode::OK, headers, Box::pin(pieces))
}
