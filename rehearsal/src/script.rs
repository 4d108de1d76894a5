//! The script language: text in, steps out. Pure; knows nothing of conversations or wires.
//!
//! One command a line; white space around it does not matter. Lines that are no commands are ignored when the text has at
//! least one command, so a script may carry prose. Only a `/` followed by lower-case letters begins a command: a path
//! (`/usr/bin`) is prose.
//!
//! Commands are played in order. A model step ends where its tools must be answered first: at `/then`, or at whatever
//! follows a run of `/tool` lines. `/then` after a step without tools starts nothing new: such a step would end the turn.

use std::time::Duration;

use perennial_schema::event::Raw;
use serde_json::value::RawValue;

/// Longest `/sleep`, in milliseconds.
pub const SLEEP_MS: u64 = 600_000;
/// Most `/tokens`.
pub const TOKENS: u64 = 100_000;
/// Longest pause between two tokens, in milliseconds.
pub const TOKEN_MS: u64 = 10_000;
/// Most failures of one `/fail`.
pub const FAILURES: u64 = 100;
/// Most commands of one script.
pub const COMMANDS: usize = 1_000;

/// What to type, in one line.
pub const USAGE: &str =
    "/say TEXT, /think TEXT, /tool NAME {json input}, /then, /sleep MS, /tokens N [MS_EACH], /fail STATUS [TIMES]";

/// A script: what each step of the model does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// In order.
    pub steps: Vec<Step>,
}

/// One step of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// HTTP statuses with which the first attempts fail, before any output.
    pub failures: Vec<u16>,
    /// What a successful attempt does.
    pub acts: Vec<Act>,
}

/// Something a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Says a text.
    Say(String),
    /// Thinks a text.
    Think(String),
    /// Writes this many tokens, pausing before each one.
    Tokens {
        /// How many.
        count: u64,
        /// Pause before each.
        each: Duration,
    },
    /// Waits.
    Sleep(Duration),
    /// Asks for a tool.
    Tool {
        /// Its name.
        name: String,
        /// A JSON object, verbatim.
        input: Raw,
    },
}

/// A line that looks like a command and is not a right one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} ({text}): {problem}")]
pub struct Malformed {
    /// 1, 2, …
    pub line: usize,
    /// The line, cut to a printable length.
    pub text: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl Step {
    /// Whether it asks for a tool, and so is followed by another step.
    #[must_use]
    pub fn has_tools(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Tool { .. }))
    }

    /// Whether it says anything.
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.acts
            .iter()
            .any(|act| matches!(act, Act::Say(_) | Act::Tokens { .. }))
    }

    pub(crate) fn ends_in_thought(&self) -> bool {
        let said = self.acts.iter().rev().find(|act| !matches!(act, Act::Sleep(_)));
        matches!(said, Some(Act::Think(_)))
    }
}

/// Reads a prompt. `None` when it has no command.
///
/// # Errors
/// The first malformed command line; nothing of such a script is played.
pub fn parse(text: &str) -> Result<Option<Script>, Malformed> {
    let mut script = Script::default();
    let mut step = Step::default();
    let mut commands = 0;
    for (index, line) in text.lines().enumerate() {
        let Some((word, rest)) = command(line) else { continue };
        let refuse = |problem: String| Malformed {
            line: index + 1,
            text: line.trim().chars().take(120).collect(),
            problem,
        };
        commands += 1;
        if commands > COMMANDS {
            return Err(refuse(format!("a script has at most {COMMANDS} commands")));
        }
        // What is not a tool cannot come before the answers of the tools above it.
        if word != "tool" && step.has_tools() {
            script.steps.push(std::mem::take(&mut step));
        }
        match word {
            "say" => step.acts.push(Act::Say(words("say", rest).map_err(refuse)?)),
            "think" => step.acts.push(Act::Think(words("think", rest).map_err(refuse)?)),
            "tool" => step.acts.push(tool(rest).map_err(refuse)?),
            "then" if rest.is_empty() => {}
            "then" => {
                return Err(refuse(
                    "/then takes nothing behind it; write the next command on its own line".into(),
                ));
            }
            "sleep" => step.acts.push(sleep(rest).map_err(refuse)?),
            "tokens" => step.acts.push(tokens(rest).map_err(refuse)?),
            "fail" => step.failures.extend(fail(rest).map_err(refuse)?),
            _ => return Err(refuse(format!("there is no command /{word}; write one of {USAGE}"))),
        }
    }
    if step != Step::default() {
        script.steps.push(step);
    }
    Ok((commands > 0).then_some(script))
}

/// A line's command word and the rest, if the line is a command.
fn command(line: &str) -> Option<(&str, &str)> {
    let line = line.trim().strip_prefix('/')?;
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    is_word.then(|| (word, rest.trim()))
}

fn words(command: &str, rest: &str) -> Result<String, String> {
    if rest.is_empty() {
        return Err(format!("/{command} needs a text: write /{command} TEXT"));
    }
    Ok(rest.to_owned())
}

fn tool(rest: &str) -> Result<Act, String> {
    let (name, json) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let name_is_valid = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !name_is_valid {
        return Err("/tool needs the name of a tool: write /tool NAME {json input}".into());
    }
    let json = if json.trim().is_empty() { "{}" } else { json.trim() };
    let input: Box<RawValue> = serde_json::from_str(json)
        .map_err(|error| format!("the input is not JSON ({error}): write /tool NAME {{json input}} on one line"))?;
    if !input.get().starts_with('{') {
        return Err("the input must be a JSON object: write /tool NAME {json input}".into());
    }
    Ok(Act::Tool {
        name: name.to_owned(),
        input: input.into(),
    })
}

fn sleep(rest: &str) -> Result<Act, String> {
    let ms = number(rest, 0..=SLEEP_MS).ok_or_else(|| format!("write /sleep MS with 0 to {SLEEP_MS} milliseconds"))?;
    Ok(Act::Sleep(Duration::from_millis(ms)))
}

fn tokens(rest: &str) -> Result<Act, String> {
    let problem =
        || format!("write /tokens N [MS_EACH] with 1 to {TOKENS} tokens and 0 to {TOKEN_MS} milliseconds each");
    let (count, each) = rest.split_once(char::is_whitespace).unwrap_or((rest, "0"));
    let count = number(count, 1..=TOKENS).ok_or_else(problem)?;
    let each = number(each, 0..=TOKEN_MS).ok_or_else(problem)?;
    Ok(Act::Tokens {
        count,
        each: Duration::from_millis(each),
    })
}

fn fail(rest: &str) -> Result<Vec<u16>, String> {
    let problem = || format!("write /fail STATUS [TIMES] with an HTTP status of 400 to 599 and 1 to {FAILURES} times");
    let (status, times) = rest.split_once(char::is_whitespace).unwrap_or((rest, "1"));
    let status = number(status, 400..=599)
        .and_then(|status| u16::try_from(status).ok())
        .ok_or_else(problem)?;
    let times = number(times, 1..=FAILURES)
        .and_then(|times| usize::try_from(times).ok())
        .ok_or_else(problem)?;
    Ok(vec![status; times])
}

fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    text.trim().parse().ok().filter(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        parse(text).unwrap().unwrap()
    }

    fn problem(text: &str) -> Malformed {
        parse(text).unwrap_err()
    }

    fn act(name: &str, input: &str) -> Act {
        Act::Tool {
            name: name.into(),
            input: RawValue::from_string(input.into()).unwrap().into(),
        }
    }

    #[test]
    fn prose_is_no_script() {
        for text in [
            "",
            "hello",
            "see /usr/bin",
            "/usr/bin is a path",
            "/ alone",
            "/Say x",
            "a /say b",
        ] {
            assert_eq!(parse(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn tools_in_a_row_are_one_step_and_what_follows_is_the_next() {
        let script = script("please:\n/say a\n  /tool bash {\"command\": \"ls\"}  \n/tool read\n/say b");
        let first = vec![
            Act::Say("a".into()),
            act("bash", "{\"command\": \"ls\"}"),
            act("read", "{}"),
        ];
        assert_eq!(script.steps.len(), 2);
        assert_eq!(script.steps[0].acts, first);
        assert_eq!(script.steps[1].acts, [Act::Say("b".into())]);
    }

    #[test]
    fn then_parts_tools_and_nothing_else() {
        let steps = |text| script(text).steps.len();
        assert_eq!(steps("/tool a\n/then\n/tool b"), 2);
        assert_eq!(steps("/tool a\n\n/then\n/then\n/tool b\n/then"), 2);
        assert_eq!(
            steps("/say a\n/then\n/say b"),
            1,
            "a step without tools would end the turn"
        );
        assert_eq!(steps("/tool a\n/sleep 1\n/tool b"), 2);
        assert_eq!(steps("/think a\n/tool a\n/think b\n/tool b"), 2);
        assert_eq!(steps("/then"), 0);
    }

    #[test]
    fn failures_belong_to_the_step_they_stand_in() {
        let script = script("/say a\n/fail 529 2\n/fail 401\n/tool x\n/fail 500\n/say b");
        assert_eq!(script.steps[0].failures, [529, 529, 401]);
        assert_eq!(script.steps[1].failures, [500]);
    }

    #[test]
    fn numbers_are_read_and_bounded() {
        let each = Duration::from_millis(3);
        assert_eq!(script("/tokens 5 3").steps[0].acts, [Act::Tokens { count: 5, each }]);
        assert_eq!(
            script("/tokens 5").steps[0].acts,
            [Act::Tokens {
                count: 5,
                each: Duration::ZERO
            }]
        );
        assert_eq!(
            script("/sleep 600000").steps[0].acts,
            [Act::Sleep(Duration::from_secs(600))]
        );
        for text in [
            "/sleep",
            "/sleep 600001",
            "/sleep -1",
            "/tokens 100001",
            "/tokens 0",
            "/tokens 1 x",
            "/fail 200",
            "/fail 500 0",
            "/fail",
        ] {
            assert!(problem(text).problem.starts_with("write /"), "{text}");
        }
    }

    #[test]
    fn a_malformed_line_is_named_with_its_remedy() {
        let bad = problem("/say a\n/tool bash {\"command\": }");
        assert_eq!(bad.line, 2);
        assert!(
            bad.to_string().contains("line 2 (/tool bash {\"command\": })") && bad.problem.contains("write /tool"),
            "{bad}"
        );
        assert!(problem("/tool bash [1]").problem.contains("object"));
        assert!(problem("/tool").problem.contains("name"));
        assert!(problem("/say").problem.contains("write /say TEXT"));
        assert!(problem("/think").problem.contains("write /think TEXT"));
        assert!(problem("/then x").problem.contains("own line"));
        assert!(problem("/help").problem.contains("/fail STATUS"));
        assert!(problem(&"/then\n".repeat(COMMANDS + 1)).problem.contains("at most"));
    }
}
