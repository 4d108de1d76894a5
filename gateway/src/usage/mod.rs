//! Reading usage out of an answer as it passes: streams and whole answers, plain and gzip, on every wire. Never changes or
//! delays a byte, and what it cannot read it leaves alone.
//!
//! Of a stream only the few events that carry usage are parsed. The others are measured: when a stream is cut, what was
//! written so far is known by its length only, at four bytes a token.

mod inflate;
mod words;

use std::sync::LazyLock;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memmem::Finder;
use perennial_schema::model::Usage;

use self::inflate::Inflate;
use self::words::Words;
use crate::headers::contains;
use crate::limits::ANSWER_BYTES;
use crate::wire::Wire;

/// What an event of a stream is without the text in it, about.
const EVENT_FRAME: usize = 100;

/// What was read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Tokens, if anything told them.
    pub(crate) usage: Option<Usage>,
    /// Bytes the model wrote, about.
    pub(crate) written: u64,
    /// The answer said that it is over.
    pub(crate) whole: bool,
    /// An error in mid-answer.
    pub(crate) error: Option<String>,
}

/// An event with none of these words tells nothing. In text they would have a backslash before their quotes.
static TELLING: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["\"usage\"", "\"message_stop\"", "\"error\"", "\"response.failed\""].map(Finder::new));

/// Reads along.
#[derive(Debug)]
pub(crate) struct Tap {
    inflate: Option<Inflate>,
    reader: Reader,
}

#[derive(Debug)]
struct Reader {
    wire: Wire,
    form: Form,
    seen: Seen,
}

#[derive(Debug)]
enum Form {
    /// Server-sent events, and the line that is not over yet.
    Stream(Vec<u8>),
    /// One JSON value.
    Whole(Vec<u8>),
    /// Not to be read.
    Closed,
}

impl Tap {
    /// For an answer with these headers.
    pub(crate) fn new(wire: Wire, headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let (kind, encoding) = (text(CONTENT_TYPE), text(CONTENT_ENCODING).to_ascii_lowercase());
        let form = if kind.starts_with("text/event-stream") {
            Form::Stream(Vec::new())
        } else if kind.starts_with("application/json") {
            Form::Whole(Vec::new())
        } else {
            Form::Closed
        };
        let (inflate, form) = match encoding.trim() {
            "" | "identity" => (None, form),
            "gzip" | "x-gzip" => (Some(Inflate::new()), form),
            _ => (None, Form::Closed),
        };
        let seen = Seen::default();
        Self {
            inflate,
            reader: Reader { wire, form, seen },
        }
    }

    /// The answer is a stream.
    pub(crate) const fn streams(&self) -> bool {
        matches!(self.reader.form, Form::Stream(_))
    }

    /// The answer cannot be searched as it is.
    pub(crate) const fn is_compressed(&self) -> bool {
        self.inflate.is_some()
    }

    /// Reads the next piece. True when a compressed answer holds the secret.
    pub(crate) fn feed(&mut self, piece: &[u8], secret: Option<&str>) -> bool {
        let Some(inflate) = &mut self.inflate else {
            self.reader.feed(piece);
            return false;
        };
        let (reader, mut tells) = (&mut self.reader, false);
        let fed = inflate.feed(piece, |plain| {
            tells |= secret.is_some_and(|secret| contains(plain, secret.as_bytes()));
            reader.feed(plain);
        });
        if fed.is_err() {
            self.reader.form = Form::Closed;
        }
        tells
    }

    /// What was read so far.
    pub(crate) const fn so_far(&self) -> &Seen {
        &self.reader.seen
    }

    /// Nothing more comes: `clean` says that the answer ended as it should.
    pub(crate) fn end(&mut self, clean: bool) -> Seen {
        self.reader.end(clean);
        std::mem::take(&mut self.reader.seen)
    }
}

impl Reader {
    fn feed(&mut self, plain: &[u8]) {
        let overflows = |kept: &Vec<u8>| kept.len() + plain.len() > ANSWER_BYTES;
        match &mut self.form {
            Form::Closed => {}
            Form::Whole(kept) | Form::Stream(kept) if overflows(kept) => self.form = Form::Closed,
            Form::Whole(kept) => {
                self.seen.written += plain.len() as u64;
                kept.extend_from_slice(plain);
            }
            Form::Stream(kept) => {
                let mut rest = plain;
                while let Some(end) = memchr::memchr(b'\n', rest) {
                    let (line, after) = (&rest[..end], &rest[end + 1..]);
                    if kept.is_empty() {
                        read_line(self.wire, line, &mut self.seen);
                    } else {
                        kept.extend_from_slice(line);
                        read_line(self.wire, kept, &mut self.seen);
                        kept.clear();
                    }
                    rest = after;
                }
                kept.extend_from_slice(rest);
            }
        }
    }

    fn end(&mut self, clean: bool) {
        match &self.form {
            Form::Whole(kept) => {
                self.seen.whole = clean;
                if let Some(words) = Words::read(kept) {
                    words.count(self.wire, &mut self.seen.usage);
                    self.seen.error = words.error();
                }
            }
            // Compatible servers may leave out the last word of this wire.
            Form::Stream(_) if self.wire == Wire::Chat => self.seen.whole |= clean,
            Form::Stream(_) | Form::Closed => {}
        }
    }
}

fn read_line(wire: Wire, line: &[u8], seen: &mut Seen) {
    let Some(data) = line.strip_prefix(b"data:") else {
        return;
    };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        seen.whole = true;
        return;
    }
    if !TELLING.iter().any(|word| word.find(data).is_some()) {
        seen.written += data.len().saturating_sub(EVENT_FRAME).max(4) as u64;
        return;
    }
    let Some(words) = Words::read(data) else { return };
    words.count(wire, &mut seen.usage);
    seen.whole |= words.are_last();
    seen.error = seen.error.take().or_else(|| words.error());
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(wire: Wire, kind: &str, encoding: &str, body: &[u8], size: usize, clean: bool) -> Seen {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        let mut tap = Tap::new(wire, &headers);
        for piece in body.chunks(size) {
            assert!(!tap.feed(piece, Some("sk-secret-key")));
        }
        tap.end(clean)
    }

    fn usage(input: u64, output: u64, read: u64, written: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_input_tokens: read,
            cache_creation_input_tokens: written,
        }
    }

    const MESSAGES: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,",
        "\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":2,\"output_tokens\":1}}}\n\n",
        "event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",",
        "\"text\":\"a long text that says \\\"usage\\\" and \\\"message_stop\\\" and goes on and on for more than a frame\"}}\r\n\r\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":20}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    const RESPONSES: &str = concat!(
        "data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":10,",
        "\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":7}}}\n\n",
    );
    const CHAT: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn streams_are_read_wherever_they_are_cut_into_pieces() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(MESSAGES.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        for size in [1, 7, 64, 10_000] {
            for (wire, body, expected) in [
                (Wire::Messages, MESSAGES, usage(10, 20, 5, 2)),
                (Wire::Responses, RESPONSES, usage(6, 7, 4, 0)),
                (Wire::Chat, CHAT, usage(8, 3, 1, 0)),
            ] {
                let seen = read(
                    wire,
                    "text/event-stream; charset=utf-8",
                    "identity",
                    body.as_bytes(),
                    size,
                    true,
                );
                assert_eq!(
                    (seen.usage, seen.whole, seen.error),
                    (Some(expected), true, None),
                    "{wire} {size}"
                );
            }
            let seen = read(Wire::Messages, "text/event-stream", "gzip", &gzip, size, true);
            assert_eq!((seen.usage, seen.whole), (Some(usage(10, 20, 5, 2)), true), "{size}");
        }
    }

    #[test]
    fn a_cut_stream_tells_what_it_told() {
        let cut = MESSAGES.find("event: message_delta").unwrap();
        let seen = read(
            Wire::Messages,
            "text/event-stream",
            "",
            &MESSAGES.as_bytes()[..cut],
            50,
            false,
        );
        assert_eq!((seen.usage, seen.whole), (Some(usage(10, 1, 5, 2)), false));
        assert!(seen.written > 50, "{}", seen.written);
        let seen = read(
            Wire::Responses,
            "text/event-stream",
            "",
            b"data: {\"type\":\"response.created\"}\n\n",
            9,
            true,
        );
        assert_eq!((seen.usage, seen.whole), (None, false));
        let unended = b"data: {\"choices\":[]}\n\n";
        assert!(read(Wire::Chat, "text/event-stream", "", unended, 9, true).whole);
        assert!(!read(Wire::Chat, "text/event-stream", "", unended, 9, false).whole);
    }

    #[test]
    fn whole_answers_and_errors_are_read() {
        let body = br#"{"id":"m","content":[],"usage":{"input_tokens":3,"output_tokens":4}}"#;
        let seen = read(Wire::Messages, "application/json", "", body, 5, true);
        assert_eq!((seen.usage, seen.whole), (Some(usage(3, 4, 0, 0)), true));
        let error =
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n";
        let seen = read(Wire::Messages, "text/event-stream", "", error, 5, true);
        assert_eq!((seen.error.as_deref(), seen.whole), (Some("overloaded_error"), false));
        let failed = b"data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n";
        let seen = read(Wire::Responses, "text/event-stream", "", failed, 5, true);
        assert_eq!((seen.error.as_deref(), seen.whole), (Some("server_error"), true));
        assert_eq!(read(Wire::Chat, "text/html", "", b"<usage>", 5, true), Seen::default());
        assert_eq!(
            read(Wire::Chat, "application/json", "br", b"{}", 5, true),
            Seen::default()
        );
    }

    #[test]
    fn a_secret_in_a_compressed_answer_is_noticed() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(b"{\"error\":\"wrong key sk-secret-key\"}").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        let mut tap = Tap::new(Wire::Chat, &headers);
        assert!(tap.feed(&gzip.finish().unwrap(), Some("sk-secret-key")));
    }
}
