//! The one file in a form (RFC 7578). Other fields are passed over.

use std::ops::Range;

const NAME_BYTES: usize = 255;

/// What a form says of its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) filename: String,
    pub(super) mime_type: String,
    /// Where in the body its content is.
    pub(super) content: Range<usize>,
}

/// Finds the field `file`.
pub(super) fn file(content_type: &str, body: &[u8]) -> Result<Form, &'static str> {
    let boundary = boundary(content_type).ok_or("expected a body of type multipart/form-data")?;
    let marker = format!("--{boundary}").into_bytes();
    let mut at = find(body, &marker, 0).ok_or("the form does not begin")? + marker.len();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Err("the form has no field of this name");
        }
        let head = at + rest.starts_with(b"\r\n").then_some(2).ok_or("the form is damaged")?;
        let start = find(body, b"\r\n\r\n", at).ok_or("the form is damaged")? + 4;
        let end = find(body, &[b"\r\n", marker.as_slice()].concat(), start - 2).ok_or("the form does not end")?;
        let text = std::str::from_utf8(&body[head.min(start)..start]).map_err(|_| "the form is damaged")?;
        if let Some((filename, mime_type)) = described(text) {
            return Ok(Form {
                filename: filename?,
                mime_type,
                content: start.min(end)..end,
            });
        }
        at = end + 2 + marker.len();
    }
}

/// Name and type, if it is the field that is looked for.
fn described(head: &str) -> Option<(Result<String, &'static str>, String)> {
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let disposition = header("content-disposition")?;
    if parameter(disposition, "name").as_deref() != Some("file") {
        return None;
    }
    let mime = header("content-type").unwrap_or("application/octet-stream");
    let mime = if mime.len() <= NAME_BYTES && mime.is_ascii() {
        mime
    } else {
        "application/octet-stream"
    };
    let name = parameter(disposition, "filename").unwrap_or_else(|| "file".into());
    // Some browsers told whole paths.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let wrong = matches!(name.as_str(), "" | "." | ".." | ".git")
        || name.len() > NAME_BYTES
        || name.chars().any(char::is_control);
    let name = if wrong {
        Err("the file's name is none")
    } else {
        Ok(name)
    };
    Some((name, mime.to_owned()))
}

fn boundary(content_type: &str) -> Option<String> {
    let kind = content_type.split(';').next()?.trim();
    let boundary = parameter(content_type, "boundary")?;
    let fits = kind.eq_ignore_ascii_case("multipart/form-data") && (1..=70).contains(&boundary.len());
    fits.then_some(boundary)
}

/// A parameter, quoted or not.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once(';') {
        let (key, text) = after.split_once('=')?;
        let (found, next) = match text.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = text.find(';').unwrap_or(text.len());
                (text[..end].trim().to_owned(), &text[end..])
            }
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(found);
        }
        rest = next;
    }
    None
}

/// Up to the quote that ends it, and what follows.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut told = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((told, &text[at + 1..])),
            '\\' => told.push(letters.next()?.1),
            letter => told.push(letter),
        }
    }
    None
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let rest = body.get(from..)?;
    memchr::memmem::find(rest, what).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=x-y";

    #[test]
    fn the_file_of_a_form_is_found() {
        let body = b"--x-y\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nagent\r\n\
            --x-y\r\ncontent-disposition: form-data; name=\"file\"; filename=\"C:\\\\dir\\\\a \\\"b\\\".csv\"\r\nContent-Type: text/csv\r\n\r\n1,2\r\n--x\r\n\r\n--x-y--\r\n";
        let form = file(TYPE, body).unwrap();
        assert_eq!(
            (form.filename.as_str(), form.mime_type.as_str()),
            ("a \"b\".csv", "text/csv")
        );
        assert_eq!(&body[form.content], b"1,2\r\n--x\r\n");
        let empty = b"--x-y\r\nContent-Disposition: form-data; name=file\r\n\r\n\r\n--x-y--";
        let form = file(TYPE, empty).unwrap();
        assert_eq!((form.filename.as_str(), form.content.len()), ("file", 0));
    }

    #[test]
    fn what_is_no_form_is_refused_wherever_it_ends() {
        let whole = b"--x-y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc\r\n--x-y--\r\n";
        assert!(file(TYPE, whole).is_ok());
        for end in 0..whole.len() - 6 {
            assert!(file(TYPE, &whole[..end]).is_err(), "{end}");
        }
        for kind in [
            "",
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "text/plain; boundary=x-y",
        ] {
            assert!(file(kind, whole).is_err(), "{kind}");
        }
        for name in ["..", ".git", "", "a/..", "a\u{1}"] {
            let body = format!(
                "--x-y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n\r\n--x-y--"
            );
            assert!(file(TYPE, body.as_bytes()).is_err(), "{name:?}");
        }
    }
}
