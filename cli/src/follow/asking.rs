//! Confirmations on a terminal: one question at a time, answered by a line.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal};

use tokio::sync::mpsc;

use crate::client::pending::PendingUse;
use crate::output;
use crate::render::{sanitize, summary};

/// The questions still open.
#[derive(Debug)]
pub(super) struct Asking {
    possible: bool,
    queue: VecDeque<PendingUse>,
    /// Lines from the terminal, once the first question was asked.
    lines: Option<mpsc::Receiver<String>>,
}

impl Asking {
    /// Questions are possible when `wanted` and somebody is there.
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            possible: wanted && std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
            queue: VecDeque::new(),
            lines: None,
        }
    }

    pub(super) const fn possible(&self) -> bool {
        self.possible
    }

    /// Asks about these.
    pub(super) fn ask(&mut self, pending: Vec<PendingUse>) {
        self.queue = pending.into();
        if self.lines.is_none() && !self.queue.is_empty() {
            self.lines = Some(read_lines());
        }
        self.prompt();
    }

    /// Asks no more.
    pub(super) fn stop(&mut self) {
        self.queue.clear();
    }

    /// Somebody answered this one, here or elsewhere.
    pub(super) fn answered(&mut self, id: &str) {
        let front = self.queue.front().is_some_and(|used| used.id == id);
        self.queue.retain(|used| used.id != id);
        if front {
            self.prompt();
        }
    }

    /// The next line typed while a question is open; none when the terminal is gone.
    pub(super) async fn line(&mut self) -> Option<String> {
        match &mut self.lines {
            Some(lines) if !self.queue.is_empty() => lines.recv().await,
            _ => std::future::pending().await,
        }
    }

    /// What a line says about the question that is open: id, allow, message. None asks again.
    pub(super) fn answer(&mut self, line: &str) -> Option<(String, bool, Option<String>)> {
        let verdict = parse(line);
        if verdict.is_none() {
            self.prompt();
        }
        let (allow, message) = verdict?;
        // The next question follows when the stream shows this answer.
        let used = self.queue.front()?;
        Some((used.id.clone(), allow, message))
    }

    fn prompt(&mut self) {
        // What was typed before the question was asked is no answer to it.
        while self.lines.as_mut().is_some_and(|lines| lines.try_recv().is_ok()) {}
        if let Some(used) = self.queue.front() {
            let what = format!("{} {}", sanitize(&used.name), summary(&used.name, &used.input));
            output::note(&format!("allow {what} ? [y / n / n REASON]"));
        }
    }
}

fn parse(line: &str) -> Option<(bool, Option<String>)> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match word.to_ascii_lowercase().as_str() {
        "y" | "yes" if rest.is_empty() => Some((true, None)),
        "n" | "no" => Some((false, Some(rest.trim().to_owned()).filter(|reason| !reason.is_empty()))),
        _ => None,
    }
}

/// A thread that reads lines: a read from a terminal cannot be given up, so no task may wait for one.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |line, expect: Option<(bool, Option<&str>)>| {
            let expect = expect.map(|(allow, reason)| (allow, reason.map(str::to_owned)));
            assert_eq!(parse(line), expect, "{line:?}");
        };
        check("y", Some((true, None)));
        check(" YES ", Some((true, None)));
        check("n", Some((false, None)));
        check("no not in my house", Some((false, Some("not in my house"))));
        check("", None);
        check("yes please", None);
        check("maybe", None);
    }
}
