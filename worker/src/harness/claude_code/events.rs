//! What the process says on stdout: one JSON object a line.

use perennial_schema::event::Raw;
use serde::Deserialize;

/// An event, as far as we look at it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// Once per turn, before the first request.
    Init { tools: Vec<String>, servers: Vec<Server> },
    /// A raw event of the model's stream.
    Stream(Raw),
    /// The harness puts tool results into the conversation.
    ToolResults(Vec<String>),
    /// The turn is over.
    Result(Ending),
    /// Anything else.
    Other,
}

/// An MCP server as the harness sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) status: String,
}

/// How a turn ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Ending {
    pub(super) subtype: String,
    pub(super) is_error: bool,
    /// HTTP status of a failed model request.
    pub(super) api_error_status: Option<u16>,
    /// Text for people.
    pub(super) result: Option<String>,
}

impl Ending {
    /// Whether the turn ended as turns do.
    pub(super) fn is_fine(&self) -> bool {
        self.subtype == "success" && !self.is_error
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    #[serde(default)]
    tools: Vec<String>,
    #[serde(default)]
    mcp_servers: Vec<Server>,
    event: Option<Raw>,
    message: Option<Raw>,
}

#[derive(Deserialize)]
struct Said {
    content: Raw,
}

#[derive(Deserialize)]
struct Block {
    tool_use_id: Option<String>,
}

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> serde_json::Result<Event> {
    let parsed: Line = serde_json::from_slice(line)?;
    Ok(match (parsed.kind.as_str(), parsed.subtype.as_str()) {
        ("system", "init") => Event::Init {
            tools: parsed.tools,
            servers: parsed.mcp_servers,
        },
        ("stream_event", _) if parsed.parent_tool_use_id.is_none() => parsed.event.map_or(Event::Other, Event::Stream),
        ("user", _) => parsed.message.map_or(Event::Other, |message| results(&message)),
        ("result", _) => Event::Result(serde_json::from_slice(line)?),
        _ => Event::Other,
    })
}

fn results(message: &Raw) -> Event {
    // A plain string instead of blocks holds no results.
    let blocks: Vec<Block> = message
        .parse::<Said>()
        .and_then(|said| said.content.parse())
        .unwrap_or_default();
    let ids: Vec<_> = blocks.into_iter().filter_map(|block| block.tool_use_id).collect();
    if ids.is_empty() {
        Event::Other
    } else {
        Event::ToolResults(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let init = br#"{"type":"system","subtype":"init","tools":["mcp__router__bash"],"mcp_servers":[{"name":"router","status":"connected"}]}"#;
        let server = Server {
            name: "router".into(),
            status: "connected".into(),
        };
        let expected = Event::Init {
            tools: vec!["mcp__router__bash".into()],
            servers: vec![server],
        };
        assert_eq!(parse(init).unwrap(), expected);

        let stream = br#"{"type":"stream_event","event":{"type":"ping"},"parent_tool_use_id":null}"#;
        assert!(matches!(parse(stream).unwrap(), Event::Stream(event) if event.text() == r#"{"type":"ping"}"#));
        let nested = br#"{"type":"stream_event","event":{"type":"ping"},"parent_tool_use_id":"toolu_1"}"#;
        assert_eq!(parse(nested).unwrap(), Event::Other);

        let results = br#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"x"}]}}"#;
        assert_eq!(parse(results).unwrap(), Event::ToolResults(vec!["toolu_1".into()]));
        let text = br#"{"type":"user","message":{"role":"user","content":"hi"}}"#;
        assert_eq!(parse(text).unwrap(), Event::Other);

        let result = br#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"no"}"#;
        let expected = Ending {
            subtype: "success".into(),
            is_error: true,
            api_error_status: Some(429),
            result: Some("no".into()),
        };
        assert_eq!(parse(result).unwrap(), Event::Result(expected));
        assert_eq!(parse(br#"{"type":"brand_new","x":1}"#).unwrap(), Event::Other);
        assert!(parse(b"Segmentation fault").is_err());
    }
}
