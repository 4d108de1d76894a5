//! What the process says on stdout: one JSON object a line, of bounded length.

use perennial_schema::event::Raw;
use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest line: the largest result we hand in, and as much again for what is around it.
pub(super) const LINE_BYTES: usize = 32 * 1024 * 1024;

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

/// A line that cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// Reading failed.
    #[error("reading from the process failed: {0}")]
    Read(#[from] std::io::Error),
    /// Too long.
    #[error("a line is longer than {LINE_BYTES} bytes")]
    TooLong,
    /// Not JSON, or not of a known shape.
    #[error("a line has an unknown shape: {0}")]
    Shape(serde_json::Error),
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
pub(super) fn parse(line: &[u8]) -> Result<Event, LineError> {
    let parsed: Line = serde_json::from_slice(line).map_err(LineError::Shape)?;
    Ok(match (parsed.kind.as_str(), parsed.subtype.as_str()) {
        ("system", "init") => Event::Init {
            tools: parsed.tools,
            servers: parsed.mcp_servers,
        },
        ("stream_event", _) if parsed.parent_tool_use_id.is_none() => parsed.event.map_or(Event::Other, Event::Stream),
        ("user", _) => parsed.message.map_or(Event::Other, |message| results(&message)),
        ("result", _) => Event::Result(serde_json::from_slice(line).map_err(LineError::Shape)?),
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

/// Reads lines; a future that is dropped half way loses nothing.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, line: Vec::new() }
    }

    /// The next event; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, LineError> {
        loop {
            let available = self.from.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            if self.line.len() + taken > LINE_BYTES {
                return Err(LineError::TooLong);
            }
            self.line.extend_from_slice(&available[..taken]);
            self.from.consume(taken);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                if !line.iter().all(u8::is_ascii_whitespace) {
                    return parse(&line).map(Some);
                }
            }
        }
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
        assert!(matches!(parse(b"Segmentation fault"), Err(LineError::Shape(_))));
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut_and_end_cleanly() {
        let text = b"{\"type\":\"a\"}\n\n{\"type\":\"b\"}\n{\"type\":\"cut";
        for size in [1, 3, text.len()] {
            let mut lines = Lines::new(tokio::io::BufReader::with_capacity(size, &text[..]));
            assert_eq!(lines.next().await.unwrap(), Some(Event::Other));
            assert_eq!(lines.next().await.unwrap(), Some(Event::Other));
            assert_eq!(lines.next().await.unwrap(), None, "half a line is no event");
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let text = vec![b'x'; LINE_BYTES + 1];
        let mut lines = Lines::new(&text[..]);
        assert!(matches!(lines.next().await, Err(LineError::TooLong)));
    }
}
