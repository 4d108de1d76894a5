//! `read`: text by lines, images as blocks. Streams, so that the size of a file does not matter.

use std::io::{BufRead, BufReader, Read, Seek};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use perennial_schema::content::{Block, Source};
use perennial_schema::text::sanitize;
use perennial_schema::tool::{Outcome, ReadInput};

use crate::limits::{IMAGE_BYTES, OUTPUT_BYTES};
use crate::workspace::Folder;

/// How much of a file tells what it is.
pub(crate) const START_BYTES: u64 = 8192;

/// Whether a file that begins like this is read by lines.
pub(crate) fn is_text(start: &[u8]) -> bool {
    image_type(start).is_none() && !start.contains(&0)
}

/// The same of a text that is no file.
pub(crate) fn text(input: &ReadInput, text: &str) -> Outcome {
    let shown = range(input.view_range).and_then(|(first, last)| {
        let lines = select(text.as_bytes(), first, last).map_err(|error| error.to_string())?;
        shown(&input.file_path, first, &lines)
    });
    shown.unwrap_or_else(|error| Outcome::text(error, true))
}

pub(super) fn run(input: &ReadInput, folder: &Folder) -> Result<Outcome, String> {
    let path = &input.file_path;
    let (first, last) = range(input.view_range)?;
    let mut file = folder.open_file(path)?.into_std();
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let mut start = Vec::new();
    file.by_ref()
        .take(START_BYTES)
        .read_to_end(&mut start)
        .map_err(failed)?;
    if let Some(media_type) = image_type(&start) {
        return image(path, media_type, start, file);
    }
    if start.contains(&0) {
        return Err(format!(
            "{path}: a binary file; use bash (file, xxd, strings) to look into it"
        ));
    }
    file.rewind().map_err(failed)?;
    let lines = select(BufReader::with_capacity(64 * 1024, file), first, last).map_err(failed)?;
    shown(path, first, &lines)
}

fn shown(path: &str, first: u64, lines: &Lines) -> Result<Outcome, String> {
    let mut shown = sanitize(&lines.bytes);
    shown.truncate(shown.floor_char_boundary(OUTPUT_BYTES));
    if lines.cut {
        let next = lines.at;
        shown.push_str(&format!(
            "\n[cut in line {next}; read on with view_range [{next}, -1], or use grep]"
        ));
    } else if shown.is_empty() {
        if first > 1 && lines.at < first {
            return Err(format!("{path}: has only {} lines", lines.at));
        }
        shown = "[empty]".into();
    }
    Ok(Outcome::text(shown, false))
}

fn range(view: Option<[i64; 2]>) -> Result<(u64, u64), String> {
    let Some([first, last]) = view else {
        return Ok((1, u64::MAX));
    };
    let wrong =
        || format!("view_range [{first}, {last}] is not a range: lines count from 1, the last may be -1 for the end");
    let from = u64::try_from(first)
        .ok()
        .filter(|first| *first >= 1)
        .ok_or_else(wrong)?;
    let to = if last == -1 {
        u64::MAX
    } else {
        u64::try_from(last).map_err(|_| wrong())?
    };
    if to < from { Err(wrong()) } else { Ok((from, to)) }
}

struct Lines {
    bytes: Vec<u8>,
    /// The line reading stopped in; at the end of the file, the number of lines.
    at: u64,
    cut: bool,
}

/// The lines from `first` to `last`, at most [`OUTPUT_BYTES`] of them. Lines may be of any length.
fn select(mut reader: impl BufRead, first: u64, last: u64) -> std::io::Result<Lines> {
    let mut lines = Lines {
        bytes: Vec::new(),
        at: 0,
        cut: false,
    };
    let mut new_line = true;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(lines);
        }
        if new_line {
            if lines.at == last {
                return Ok(lines);
            }
            lines.at += 1;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let part = &chunk[..end.unwrap_or(chunk.len())];
        if lines.at >= first {
            let room = OUTPUT_BYTES - lines.bytes.len();
            lines.bytes.extend_from_slice(&part[..part.len().min(room)]);
            if part.len() > room {
                lines.cut = true;
                return Ok(lines);
            }
        }
        new_line = end.is_some();
        let read = part.len();
        reader.consume(read);
    }
}

fn image_type(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Some("image/png"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

fn image(path: &str, media_type: &str, start: Vec<u8>, file: std::fs::File) -> Result<Outcome, String> {
    let mut bytes = start;
    // One byte more than allowed tells that there is more, whatever the file's size was said to be.
    let rest = IMAGE_BYTES + 1 - bytes.len() as u64;
    file.take(rest)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{path}: {error}"))?;
    if bytes.len() as u64 > IMAGE_BYTES {
        return Err(format!(
            "{path}: an image of more than {IMAGE_BYTES} bytes; scale it down first"
        ));
    }
    let source = Source::Base64 {
        media_type: media_type.into(),
        data: STANDARD.encode(&bytes),
    };
    Ok(Outcome {
        content: vec![Block::Image { source }],
        is_error: false,
        whole: None,
        exit_code: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, first: u64, last: u64) -> (String, u64, bool) {
        // A tiny buffer, so that lines span chunks.
        let lines = select(BufReader::with_capacity(3, text.as_bytes()), first, last).unwrap();
        (String::from_utf8(lines.bytes).unwrap(), lines.at, lines.cut)
    }

    #[test]
    fn lines_are_selected_whatever_the_chunks() {
        assert_eq!(lines("one\ntwo\nthree", 2, 2), ("two\n".into(), 2, false));
        assert_eq!(lines("one\ntwo\nthree", 2, u64::MAX), ("two\nthree".into(), 3, false));
        assert_eq!(
            lines("one\ntwo\nthree\n", 1, u64::MAX),
            ("one\ntwo\nthree\n".into(), 3, false)
        );
        assert_eq!(lines("one\n", 5, 9), (String::new(), 1, false));
        assert_eq!(lines("", 1, u64::MAX), (String::new(), 0, false));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (text, at, cut) = lines(&format!("a\n{}", "x".repeat(OUTPUT_BYTES)), 1, u64::MAX);
        assert_eq!((text.len(), at, cut), (OUTPUT_BYTES, 2, true));
    }

    #[test]
    fn ranges_are_checked() {
        assert_eq!(range(None), Ok((1, u64::MAX)));
        assert_eq!(range(Some([3, -1])), Ok((3, u64::MAX)));
        assert_eq!(range(Some([3, 3])), Ok((3, 3)));
        for wrong in [[0, 3], [-1, -1], [3, 2], [1, -2], [i64::MIN, i64::MAX]] {
            assert!(range(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
