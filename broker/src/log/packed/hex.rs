//! Ids and hashes inside a payload: long runs of hexadecimal digits are stored as the bytes they stand for, behind a byte that
//! no UTF-8 text has.

use std::borrow::Cow;

use super::fields::Broken;

const MARK: u8 = 0xff;
/// Digits of the shortest run that is looked for: those of an id.
const LEAST: usize = 32;
/// Pairs of digits behind one mark.
const PAIRS: usize = 255;

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Adds the text. A run has a digit at one of every [`LEAST`] places, so the others need not be looked at.
pub(super) fn shorten(out: &mut Vec<u8>, text: &[u8]) {
    let is_digit = |byte: &u8| value(*byte).is_some();
    let (mut done, mut probe) = (0, LEAST - 1);
    while probe < text.len() {
        if !is_digit(&text[probe]) {
            probe += LEAST;
            continue;
        }
        let before = text[done..probe].iter().rev().take_while(|byte| is_digit(byte)).count();
        // No more than one mark takes: a text of nothing but digits is looked at once.
        let ahead = text[probe..].iter().take(PAIRS * 2);
        let behind = ahead.take_while(|byte| is_digit(byte)).count();
        let (start, end) = (probe - before, probe + behind);
        if before + behind >= LEAST {
            let pairs = ((end - start) / 2).min(PAIRS);
            out.extend_from_slice(&text[done..start]);
            out.extend_from_slice(&[MARK, pairs as u8]);
            done = start + pairs * 2;
            let bytes = text[start..done].chunks_exact(2);
            out.extend(bytes.map(|pair| value(pair[0]).unwrap_or(0) << 4 | value(pair[1]).unwrap_or(0)));
            probe = done + LEAST - 1;
        } else {
            probe = end + LEAST;
        }
    }
    out.extend_from_slice(&text[done..]);
}

/// The text again.
pub(super) fn restore(stored: &[u8]) -> Result<Cow<'_, str>, Broken> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let not_utf8 = Broken("it is not UTF-8");
    if !stored.contains(&MARK) {
        return std::str::from_utf8(stored).map(Cow::Borrowed).map_err(|_| not_utf8);
    }
    let mut text = Vec::with_capacity(stored.len() + 128);
    let mut left = stored;
    while let Some(at) = left.iter().position(|byte| *byte == MARK) {
        text.extend_from_slice(&left[..at]);
        let (pairs, rest) = left[at + 1..].split_first().ok_or(Broken("it is cut short"))?;
        let (bytes, rest) = rest
            .split_at_checked(usize::from(*pairs))
            .ok_or(Broken("it is cut short"))?;
        for byte in bytes {
            text.push(DIGITS[usize::from(byte >> 4)]);
            text.push(DIGITS[usize::from(byte & 15)]);
        }
        left = rest;
    }
    text.extend_from_slice(left);
    String::from_utf8(text).map(Cow::Owned).map_err(|_| not_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back(text in "(x|[0-9a-f]{0,70}|é){0,40}") {
            let mut stored = Vec::new();
            shorten(&mut stored, text.as_bytes());
            prop_assert_eq!(restore(&stored).unwrap(), text);
        }

        #[test]
        fn every_long_run_is_found(before in "[g-z]{0,80}", digits in "[0-9a-f]{32,64}", after in "[g-z]{0,80}") {
            let text = format!("{before}{digits}{after}");
            let mut stored = Vec::new();
            shorten(&mut stored, text.as_bytes());
            prop_assert!(stored.len() + digits.len() / 2 <= text.len() + 3);
            prop_assert_eq!(restore(&stored).unwrap(), text);
        }
    }
}
