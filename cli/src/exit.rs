//! Exit codes: one table, printed by `--help` and repeated in the README.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `run` and `attach`: the turn ended normally.
    Done,
    /// An error: the verb could not do its work.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// The session waits for somebody: a confirmation or a custom tool's result.
    NeedsAction,
    /// The turn ended without an answer.
    EndedBadly,
    /// Interrupted with Ctrl-C.
    Interrupted,
    /// What a command that `call` ran exited with.
    Command(u8),
}

/// Printed below `--help`.
pub const TABLE: &str = "\
Exit codes:
  0    done; for run and attach: the turn ended normally
  1    error: the verb could not do its work
  2    wrong usage or configuration
  4    the session needs somebody's action (perennial approve, deny, or a custom tool's result)
  8    the turn ended without an answer (retries exhausted, refusal, budget reached, session archived or deleted)
  130  interrupted with Ctrl-C
call ends with what the command there exited with";

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NeedsAction => 4,
            Self::EndedBadly => 8,
            Self::Interrupted => 130,
            Self::Command(code) => code,
        }
    }

    /// What a `stop_reason` (its `type`) of `session.status_idle` means for who waited for the turn. A stop reason of a
    /// newer server is no normal end.
    pub fn of_stop_reason(kind: &str) -> Self {
        match kind {
            "end_turn" => Self::Done,
            "requires_action" => Self::NeedsAction,
            _ => Self::EndedBadly,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_code() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NeedsAction,
            Exit::EndedBadly,
            Exit::Interrupted,
        ];
        let named: Vec<u8> = TABLE
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        assert_eq!(named, all.map(Exit::code));
    }

    #[test]
    fn stop_reasons_map_to_codes() {
        let check = |kind, exit| assert_eq!(Exit::of_stop_reason(kind), exit, "{kind}");
        check("end_turn", Exit::Done);
        check("requires_action", Exit::NeedsAction);
        check("retries_exhausted", Exit::EndedBadly);
        check("budget_reached", Exit::EndedBadly);
        check("refusal", Exit::EndedBadly);
        check("something_newer", Exit::EndedBadly);
    }
}
