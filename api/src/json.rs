//! One pass over a request body's JSON text before anything parses it.
//!
//! Parts of a body are kept as raw text and never decoded here, so the parser's own checks (nesting, surrogates) would not
//! see them. This scan does, in constant memory and without recursion. It is not a validator: the parser still is.

use perennial_schema::limits::JSON_DEPTH;

/// Refuses what must never reach the log: deep nesting, NUL, lone surrogates.
///
/// # Errors
/// A message for the client.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            0 => return Err(nul()),
            b'{' | b'[' => {
                depth += 1;
                if depth > JSON_DEPTH {
                    return Err(format!("the body is nested deeper than {JSON_DEPTH} levels"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string(bytes, at + 1)?,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Walks a string from behind its opening quote; gives back where its closing quote is (or the end).
fn string(bytes: &[u8], mut at: usize) -> Result<usize, String> {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at),
            0 => return Err(nul()),
            b'\\' if bytes.get(at + 1) == Some(&b'u') => {
                match unit(bytes, at) {
                    Some(0) => return Err(nul()),
                    Some(0xD800..=0xDBFF) => match unit(bytes, at + 6) {
                        Some(0xDC00..=0xDFFF) => at += 6,
                        _ => return Err(lone()),
                    },
                    Some(0xDC00..=0xDFFF) => return Err(lone()),
                    _ => {}
                }
                at += 2;
            }
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(at)
}

/// The code unit of a `\uXXXX` escape that begins at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

fn nul() -> String {
    "the body contains a NUL character (\\u0000), which cannot be stored; remove it".into()
}

fn lone() -> String {
    "the body contains a lone surrogate escape (\\ud800…\\udfff without its pair), which is not text; remove it".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_passes() {
        for text in [
            r#"{"a":[1,"x\\u0000","\ud83d\ude00","\"{[[["]}"#,
            "",
            "[",
            "\"\\",
            "\"\\u12",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn unstorable_json_is_refused() {
        for text in [
            "\"\\u0000\"",
            "\"\0\"",
            "\0",
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800A""#,
            r#""\\\u0000""#,
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded_outside_strings_only() {
        assert!(check(&"[".repeat(JSON_DEPTH)).is_ok());
        assert!(check(&"[".repeat(JSON_DEPTH + 1)).is_err());
        assert!(check(&"[".repeat(1_000_000)).is_err());
        assert!(check(&format!("\"{}\"", "[".repeat(10_000))).is_ok());
    }
}
