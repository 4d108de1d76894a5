//! Colours, or none: only on a terminal, never with `NO_COLOR`.

use std::io::IsTerminal;

/// Whether stdout takes colours.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    color: bool,
}

impl Style {
    /// Colours when stdout is a terminal and `allowed`.
    pub fn of_stdout(allowed: bool) -> Self {
        Self {
            color: allowed && std::io::stdout().is_terminal(),
        }
    }

    /// No colours.
    #[cfg(test)]
    pub const fn plain() -> Self {
        Self { color: false }
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// A name.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// It went well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// It did not.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Somebody must look.
    pub fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
