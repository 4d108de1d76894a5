//! Text from models, tools and other people made safe for a terminal.
//!
//! A control character could move the cursor, change the title or hide what follows. It is shown as a picture of itself
//! instead of dropped together with the sequence it begins: a parser that swallows sequences can be made to swallow text.

/// Replaces control and direction-changing characters; line breaks and tabs stay.
pub fn sanitize(text: &str) -> String {
    // CR LF is a line break; a lone CR would let a line overwrite itself.
    text.replace("\r\n", "\n").chars().filter_map(safe).collect()
}

fn safe(character: char) -> Option<char> {
    match character {
        '\n' | '\t' => Some(character),
        // U+2400 … are pictures of U+0000 …
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)),
        '\u{7f}' => Some('\u{2421}'),
        // C1: 8-bit forms of the same sequences.
        '\u{80}'..='\u{9f}' => Some('\u{fffd}'),
        // Marks that reorder what stands around them: a command could read otherwise than it runs.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        _ => Some(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, expect: &str) {
        assert_eq!(sanitize(given), expect);
    }

    #[test]
    fn terminal_sequences_lose_their_power() {
        check("\u{1b}[2J\u{1b}]0;title\u{7}x", "␛[2J␛]0;title␇x");
        check("\u{9b}31mred", "\u{fffd}31mred");
        check("100%\rdone", "100%␍done");
        check("a\u{8}\u{7f}", "a␈␡");
        check("rm \u{202e}cba\u{202c}", "rm cba");
    }

    #[test]
    fn plain_text_stays() {
        check("é ✓\tx\r\ny\n", "é ✓\tx\ny\n");
    }

    #[test]
    fn no_control_character_survives() {
        let all: String = (0..=0x9f).filter_map(char::from_u32).collect();
        assert!(
            sanitize(&all)
                .chars()
                .all(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        );
    }
}
