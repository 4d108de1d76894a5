//! Tool cards: one line for the call, a few for its result.

use serde_json::Value;

use super::sanitize;

/// Longest summary of an input, in characters.
const SUMMARY_CHARS: usize = 160;
/// Lines of a result that are shown; `session events` has the rest.
const RESULT_LINES: usize = 12;
/// Longest line of a result, in characters.
const RESULT_CHARS: usize = 200;

/// What a call does, in one line: the command, the path, the pattern, or the input itself.
pub fn summary(tool: &str, input: &Value) -> String {
    let member = match tool {
        "bash" => "command",
        "read" | "write" | "edit" => "file_path",
        "glob" | "grep" => "pattern",
        _ => "",
    };
    let text = input[member].as_str().map_or_else(|| input.to_string(), str::to_owned);
    cut(&sanitize(&text).replace('\n', " ⏎ "), SUMMARY_CHARS)
}

/// The first lines of a result.
pub(super) fn result_lines(content: &Value) -> Vec<String> {
    let text = sanitize(&plain(content));
    let mut lines = text.trim_end().lines();
    let mut shown: Vec<String> = lines
        .by_ref()
        .take(RESULT_LINES)
        .map(|line| cut(line, RESULT_CHARS))
        .collect();
    let left = lines.count();
    if left > 0 {
        shown.push(format!("… {left} more lines"));
    }
    if shown.is_empty() {
        shown.push("(no output)".to_owned());
    }
    shown
}

/// The text of content blocks; others by their type.
pub fn plain(content: &Value) -> String {
    let block = |block: &Value| match block["text"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("[{}]", block["type"].as_str().unwrap_or("unknown block")),
    };
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    blocks.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn summaries_show_what_matters() {
        let check = |tool, input, expect: &str| assert_eq!(summary(tool, &input), expect);
        check("bash", json!({"command": "ls\nrm\u{1b}[1A"}), "ls ⏎ rm␛[1A");
        check("read", json!({"file_path": "a.txt"}), "a.txt");
        check("bash", json!({"restart": true}), r#"{"restart":true}"#);
        check("weather", json!({"city": "Oslo"}), r#"{"city":"Oslo"}"#);
        assert_eq!(
            summary("bash", &json!({"command": "x".repeat(500)})).chars().count(),
            SUMMARY_CHARS + 1
        );
    }

    #[test]
    fn results_are_cut() {
        let text = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let lines = result_lines(&json!([{"type": "text", "text": text}]));
        assert_eq!(lines.len(), RESULT_LINES + 1);
        assert_eq!(lines.last().map(String::as_str), Some("… 8 more lines"));
        assert_eq!(result_lines(&json!([])), ["(no output)"]);
        assert_eq!(result_lines(&json!([{"type": "image"}])), ["[image]"]);
    }
}
