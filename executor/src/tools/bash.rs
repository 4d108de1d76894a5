//! `bash`: what a command may be, and how its end reads. The shell itself is in [`crate::shell`].

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use perennial_schema::step::SetupInput;
use perennial_schema::tool::{BashInput, Outcome};

use crate::limits::{COMMAND_BYTES, SETUP_TIME, TIMEOUT_DEFAULT, TIMEOUT_MAX};
use crate::shell::{End, Finished};

/// A checked command.
#[derive(Debug)]
pub(crate) struct Command {
    /// None: only restart.
    pub(crate) text: Option<String>,
    pub(crate) restart: bool,
    pub(crate) timeout: Duration,
}

/// The script of a preparation, in a shell that it ends with.
pub(super) fn setup(input: &SetupInput) -> Result<Command, String> {
    let script = BashInput {
        command: Some(format!("set -e\n{}\nexit 0", input.script)),
        restart: Some(true),
        timeout_ms: None,
    };
    let command = check(script)?;
    let timeout = SETUP_TIME;
    Ok(Command { timeout, ..command })
}

pub(super) fn check(input: BashInput) -> Result<Command, String> {
    let restart = input.restart.unwrap_or(false);
    let text = input.command.filter(|text| !text.trim().is_empty());
    match &text {
        None if !restart => return Err("bash needs a command, or restart: true".into()),
        Some(text) if text.contains('\0') => {
            return Err("the command contains a NUL character, which bash cannot take".into());
        }
        Some(text) if text.len() > COMMAND_BYTES => {
            return Err(format!(
                "the command has {} bytes, the most is {COMMAND_BYTES}: write a script file and run that",
                text.len()
            ));
        }
        _ => {}
    }
    let timeout = input.timeout_ms.map_or(TIMEOUT_DEFAULT, Duration::from_millis);
    if timeout > TIMEOUT_MAX || timeout.is_zero() {
        return Err(format!("timeout_ms must be between 1 and {}", TIMEOUT_MAX.as_millis()));
    }
    Ok(Command { text, restart, timeout })
}

/// The outcome of a finished command; `note` tells about a fresh shell, `why` who cancelled.
pub(crate) fn outcome(note: Option<&str>, finished: &Finished, timeout: Duration, why: &str) -> Outcome {
    let earlier = [
        "[printed by background jobs since the last command]",
        &finished.earlier,
        "[end of that]",
    ];
    let earlier = earlier.into_iter().filter(|_| !finished.earlier.is_empty());
    let ended = describe(&finished.end, timeout, why);
    let parts = note.into_iter().chain(earlier).chain([finished.output.as_str()]);
    let text = lines(parts.chain(ended.as_deref()));
    Outcome {
        whole: finished.whole,
        exit_code: match &finished.end {
            End::Exited(code) => Some(*code),
            End::ShellExited(status) => status.code(),
            End::TimedOut | End::Cancelled | End::Broken(_) => None,
        },
        ..Outcome::text(text, failed(&finished.end))
    }
}

/// What is told of a command, each part on a line of its own.
pub(crate) fn lines<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(part);
    }
    if text.trim().is_empty() {
        text = "[no output]".into();
    }
    text
}

fn failed(end: &End) -> bool {
    match end {
        End::Exited(code) => *code != 0,
        End::ShellExited(status) => !status.success(),
        End::TimedOut | End::Cancelled | End::Broken(_) => true,
    }
}

const GONE: &str = "the shell is gone; the next command gets a fresh one";

fn describe(end: &End, timeout: Duration, why: &str) -> Option<String> {
    match end {
        End::Exited(0) => None,
        End::Exited(code) => Some(format!("[exit code {code}]")),
        End::ShellExited(status) => Some(match (status.code(), status.signal()) {
            (Some(code), _) => format!("[exit code {code}]\n[{GONE}]"),
            (None, signal) => format!("[killed by signal {}]\n[{GONE}]", signal.unwrap_or_default()),
        }),
        End::TimedOut => Some(format!(
            "[timed out after {} ms: the command, the shell and all they started were killed; the next command gets a fresh shell]",
            timeout.as_millis()
        )),
        End::Cancelled => Some(format!(
            "[cancelled ({why}): the command, the shell and all they started were killed; the next command gets a fresh shell]"
        )),
        End::Broken(error) => Some(format!("[the shell broke: {error}; what the command did is unknown]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(command: Option<&str>, restart: Option<bool>, timeout_ms: Option<u64>) -> BashInput {
        BashInput {
            command: command.map(str::to_owned),
            restart,
            timeout_ms,
        }
    }

    #[test]
    fn inputs_that_cannot_run_are_refused_with_a_remedy() {
        let long = "x".repeat(COMMAND_BYTES + 1);
        for (input, expect) in [
            (input(None, None, None), "needs a command"),
            (input(Some("  "), Some(false), None), "needs a command"),
            (input(Some("a\0b"), None, None), "NUL"),
            (input(Some(&long), None, None), "script file"),
            (input(Some("ls"), None, Some(600_001)), "between 1 and 600000"),
            (input(Some("ls"), None, Some(0)), "between 1 and 600000"),
            (input(Some("ls"), None, Some(u64::MAX)), "between 1 and 600000"),
        ] {
            let error = check(input).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
        assert!(check(input(None, Some(true), None)).unwrap().text.is_none());
    }

    #[test]
    fn the_end_is_on_a_line_of_its_own() {
        let finished = |output: &str, end| Finished {
            earlier: String::new(),
            output: output.into(),
            whole: None,
            end,
        };
        let text = |finished: Finished| outcome(None, &finished, Duration::from_millis(5), "why");
        let exited = |text: &str, code| Outcome {
            exit_code: Some(code),
            ..Outcome::text(text, code != 0)
        };
        assert_eq!(text(finished("", End::Exited(0))), exited("[no output]", 0));
        assert_eq!(text(finished("a", End::Exited(3))), exited("a\n[exit code 3]", 3));
        assert_eq!(text(finished("a\n", End::Exited(3))), exited("a\n[exit code 3]", 3));
        assert_eq!(text(finished("a\n", End::Exited(0))), exited("a\n", 0));
    }
}
