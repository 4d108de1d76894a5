//! The owner of a machine, asked on its terminal before each call (`connect --ask`).

use std::io::{BufRead as _, Write as _};
use std::pin::Pin;

use perennial_executor::Ask;
use perennial_schema::frame::{Call, Workspace};
use perennial_schema::stream::Purpose;
use tokio::sync::{Mutex, mpsc};

use crate::render::sanitize;

/// Characters of a call's input that are shown.
const SHOWN_CHARS: usize = 4000;
/// Lines typed ahead that wait.
const LINES: usize = 16;

/// Whoever sits at the terminal. One question at a time.
#[derive(Debug)]
pub struct Owner {
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Owner {
    /// Reads answers from stdin from now on.
    pub fn at_terminal() -> Self {
        let (typed, lines) = mpsc::channel(LINES);
        // A thread, not a task: a read of a terminal cannot be given up, and it ends with the process.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if typed.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            lines: Mutex::new(lines),
        }
    }
}

impl Owner {
    async fn says_yes(&self, question: String) -> bool {
        let mut lines = self.lines.lock().await;
        // What was typed before the question is no answer to it.
        while lines.try_recv().is_ok() {}
        if write!(std::io::stderr(), "{question}").is_err() {
            return false;
        }
        // The end of the terminal is a no.
        lines.recv().await.is_some_and(|line| is_yes(&line))
    }
}

impl Ask for Owner {
    fn allows<'a>(&'a self, call: &'a Call) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(self.says_yes(question(call)))
    }

    fn opens<'a>(&'a self, purpose: &'a Purpose) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        let wish = sanitize(&purpose.describe());
        Box::pin(self.says_yes(format!("\nsomebody at the server wants to {wish}\nallow it? [y/N] ")))
    }
}

/// All of it, as far as a person reads; what is not shown is said.
fn question(call: &Call) -> String {
    let place = match &call.workspace {
        Workspace::Session => "its own folder".to_owned(),
        Workspace::Dir { path } => path.clone(),
    };
    let input = call.input.text();
    let shown: String = input.chars().take(SHOWN_CHARS).collect();
    let hidden = input.chars().count() - shown.chars().count();
    let more = if hidden > 0 {
        format!("\n  … and {hidden} characters that are not shown")
    } else {
        String::new()
    };
    format!(
        "\n{} in {}:\n  {}{more}\nallow it? [y/N] ",
        sanitize(&call.tool),
        sanitize(&place),
        sanitize(&shown)
    )
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use perennial_schema::event::Raw;
    use perennial_schema::tool::Effect;
    use perennial_schema::{EventId, SessionId};
    use uuid::Uuid;

    use super::*;

    fn call(input: &str) -> Call {
        Call {
            session: SessionId::from_uuid(Uuid::from_u128(1)),
            epoch: 1,
            call_id: EventId::from_uuid(Uuid::from_u128(2)),
            tool: "bash".into(),
            input: serde_json::from_str::<Raw>(input).expect("json"),
            args_hash: String::new(),
            effect: Effect::Once,
            workspace: Workspace::Dir { path: "/work".into() },
            variables: Default::default(),
            secret: None,
            progress: false,
        }
    }

    #[test]
    fn a_question_shows_what_will_run_and_no_tricks() {
        let asked = question(&call(r#"{"command":"rm -r x"}"#));
        assert!(asked.contains("bash in /work") && asked.contains("rm -r x"), "{asked}");
        let mut tricky = call("{}");
        tricky.tool = "read\u{1b}[2K".into();
        assert!(!question(&tricky).contains('\u{1b}'));
        let long = format!(r#"{{"command":"{}"}}"#, "x".repeat(SHOWN_CHARS));
        assert!(question(&call(&long)).contains("14 characters that are not shown"));
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (line, yes) in [("y", true), (" YES ", true), ("", false), ("yeah", false), ("n", false)] {
            assert_eq!(is_yes(line), yes, "{line:?}");
        }
    }
}
