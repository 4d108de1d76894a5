//! What the app-server says: JSON-RPC, one message a line, without its `jsonrpc` member.

use perennial_schema::event::Raw;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// A message, as far as we look at it.
#[derive(Debug)]
pub(super) enum Message {
    /// The answer to a request of ours.
    Answer { id: u64, result: Result<Answer, String> },
    /// Something of one thread.
    OfThread { thread: Uuid, said: Said },
    /// A request we have no answer for; it is refused.
    Unknown { id: Value },
    /// Anything else.
    Other,
}

/// What the answer to a request of ours says, as far as we look at it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Answer {
    /// The turn that was started.
    #[serde(default)]
    turn: Turn,
}

impl Answer {
    /// The turn that was started; empty when none was.
    pub(super) fn turn(self) -> String {
        self.turn.id
    }
}

/// What a thread says.
#[derive(Debug)]
pub(super) enum Said {
    /// It wants a tool; the answer goes to `request`.
    Call { request: Value, call_id: String },
    /// A turn of it is over; why, if it failed.
    Ended { turn: String, why: Option<String> },
}

/// Messages that nobody here reads; Codex is asked not to send them.
pub(super) const UNHEARD: [&str; 18] = [
    "account/rateLimits/updated",
    "error",
    "item/agentMessage/delta",
    "item/completed",
    "item/reasoning/summaryPartAdded",
    "item/reasoning/summaryTextDelta",
    "item/reasoning/textDelta",
    "item/started",
    "remoteControl/status/changed",
    "thread/closed",
    "thread/deleted",
    "thread/readState/changed",
    "thread/settings/updated",
    "thread/started",
    "thread/status/changed",
    "thread/tokenUsage/updated",
    "turn/started",
    "warning",
];

#[derive(Deserialize)]
struct Line {
    id: Option<Value>,
    #[serde(default)]
    method: String,
    params: Option<Raw>,
    result: Option<Raw>,
    error: Option<Failure>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Failure {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    thread_id: Uuid,
    #[serde(default)]
    call_id: String,
    #[serde(default)]
    turn: Turn,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Turn {
    #[serde(default)]
    id: String,
    #[serde(default)]
    error: Option<Failure>,
}

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> Result<Message, serde_json::Error> {
    let Line {
        id,
        method,
        params,
        result,
        error,
    } = serde_json::from_slice(line)?;
    let params = || {
        let params = params.as_ref().map(Raw::parse::<Params>);
        params.unwrap_or_else(|| Err(serde::de::Error::custom("no params")))
    };
    Ok(match (id, method.as_str()) {
        (Some(id), "") => match id.as_u64() {
            Some(id) => Message::Answer {
                id,
                result: match error {
                    Some(error) => Err(error.message),
                    // Most answers say nothing to us, whatever their shape.
                    None => Ok(result.and_then(|result| result.parse().ok()).unwrap_or_default()),
                },
            },
            None => Message::Other,
        },
        (Some(request), "item/tool/call") => {
            let Params { thread_id, call_id, .. } = params()?;
            Message::OfThread {
                thread: thread_id,
                said: Said::Call { request, call_id },
            }
        }
        (Some(id), _) => Message::Unknown { id },
        (None, "turn/completed") => {
            let Params { thread_id, turn, .. } = params()?;
            Message::OfThread {
                thread: thread_id,
                said: Said::Ended {
                    turn: turn.id,
                    why: turn.error.map(|error| error.message),
                },
            }
        }
        _ => Message::Other,
    })
}

/// A request as a line.
pub(super) fn request(id: u64, method: &str, params: &Value) -> String {
    json!({"id": id, "method": method, "params": params}).to_string()
}

/// A notification as a line.
pub(super) fn notification(method: &str) -> String {
    json!({"method": method}).to_string()
}

/// A tool's result as the answer to the call.
pub(super) fn result(request: &Value, text: &str) -> String {
    let content = json!([{"type": "inputText", "text": text}]);
    // A failure is in the words: this API has no mark for it.
    json!({"id": request, "result": {"contentItems": content, "success": true}}).to_string()
}

/// The answer to a request we do not know.
pub(super) fn refusal(request: &Value) -> String {
    json!({"id": request, "error": {"code": -32601, "message": "not available here"}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let thread = Uuid::from_u128(7);
        let call = json!({"id": 0, "method": "item/tool/call", "params": {"threadId": thread, "turnId": "t", "callId": "c", "tool": "bash", "arguments": {}}});
        let parsed = parse(call.to_string().as_bytes()).unwrap();
        assert!(
            matches!(&parsed, Message::OfThread { thread: of, said: Said::Call { call_id, .. } } if *of == thread && call_id == "c"),
            "{parsed:?}"
        );
        let failed = json!({"method": "turn/completed", "params": {"threadId": thread, "turn": {"id": "t", "items": [], "status": "failed", "error": {"message": "no"}}}});
        let parsed = parse(failed.to_string().as_bytes()).unwrap();
        assert!(
            matches!(&parsed, Message::OfThread { said: Said::Ended { turn, why: Some(why) }, .. } if turn == "t" && why == "no"),
            "{parsed:?}"
        );
        let fine = parse(br#"{"id":3,"result":{"thread":{}}}"#).unwrap();
        assert!(matches!(fine, Message::Answer { id: 3, result: Ok(_) }), "{fine:?}");
        let started =
            parse(br#"{"id":5,"result":{"turn":{"id":"t","items":[],"status":"inProgress","error":null}}}"#).unwrap();
        let Message::Answer {
            id: 5,
            result: Ok(started),
        } = started
        else {
            panic!("{started:?}")
        };
        assert_eq!(started.turn(), "t");
        let refused = parse(br#"{"id":4,"error":{"code":-1,"message":"bad"}}"#).unwrap();
        assert!(
            matches!(&refused, Message::Answer { id: 4, result: Err(why) } if why == "bad"),
            "{refused:?}"
        );
        let asks = parse(br#"{"id":"x","method":"item/fileChange/requestApproval","params":{}}"#).unwrap();
        assert!(matches!(asks, Message::Unknown { .. }), "{asks:?}");
        assert!(matches!(
            parse(br#"{"method":"new","params":{}}"#).unwrap(),
            Message::Other
        ));
        assert!(parse(b"no").is_err());
    }
}
