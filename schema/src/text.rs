//! Making foreign bytes safe to store: NUL, invalid UTF-8 and size (I16).

/// Decodes bytes from a tool as text: invalid UTF-8 and NUL become U+FFFD, so the result fits any text column.
#[must_use]
pub fn sanitize(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}")
    } else {
        text.into_owned()
    }
}

/// The end of a long text, cut at a character border.
#[must_use]
pub fn tail(text: &str, limit: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(limit))..]
}

/// Keeps the head and the tail of a long text, cut at character borders, with a line in between that says what is missing.
#[must_use]
pub fn head_and_tail(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let half = limit / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!(
        "{}\n[… {} bytes omitted …]\n{}",
        &text[..head],
        tail - head,
        &text[tail..]
    )
}

/// Whether a JSON text contains an escaped or literal NUL character; such text is refused at the API (text columns of some
/// databases cannot hold it).
#[must_use]
pub fn json_has_nul(json: &str) -> bool {
    json.contains('\0')
        || json.match_indices("\\u0000").any(|(at, _)| {
            // An odd number of backslashes before `u0000` makes it an escape; an even number is literal text.
            let slashes = json[..=at].bytes().rev().take_while(|b| *b == b'\\').count();
            slashes % 2 == 1
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_become_storable_text() {
        assert_eq!(sanitize(b"a\0b\xffc"), "a\u{FFFD}b\u{FFFD}c");
    }

    #[test]
    fn long_text_keeps_both_ends_at_character_borders() {
        let text = "é".repeat(1000);
        let cut = head_and_tail(&text, 101);
        assert!(cut.len() < 200 && cut.starts_with('é') && cut.ends_with('é'));
    }

    #[test]
    fn nul_escapes_are_told_from_backslashes() {
        assert!(json_has_nul(r#""\u0000""#));
        assert!(!json_has_nul(r#""\\u0000""#));
        assert!(json_has_nul(r#""\\\u0000""#));
    }
}
