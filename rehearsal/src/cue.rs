//! Where a conversation is, and what the script in its newest prompt does there.
//!
//! * **The script** is the newest thing the user said, whether or not it holds commands: a message that arrives while a
//!   script is being played takes its place (that is what steering means). Messages that enter the context together are
//!   one script. The grammar is in [`script`].
//! * **An interrupt** is not shown to a model. A script that was cut off before the model said anything stands unanswered
//!   before the next message, and the two are one script: the old lines are played first, as any model would read them.
//! * **The step** is the number of model steps after that message, so the same conversation always gets the same answer:
//!   a process that was killed goes on where the log says.
//! * **A summary** that is asked for in these words ([`SUMMARY`]) is given, whatever script stands above.
//! * A script always ends with a message: one is added when its last step says nothing or asks for tools.

use crate::script::{self, Act, Script, Step};

/// What ends a conversation that is to be summarised and not continued.
pub const SUMMARY: &str = "write a summary of this conversation";

/// What the conversation asks of the model now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cue {
    /// The newest thing the user said.
    pub prompt: String,
    /// Model steps since.
    pub step: usize,
    /// Tool results since, and how many of them are errors.
    pub results: (usize, usize),
    /// Messages in all.
    pub messages: usize,
}

impl Cue {
    /// What the model does now.
    #[must_use]
    pub fn play(&self) -> Step {
        if self.prompt.contains(SUMMARY) {
            return only(format!("a summary of {} messages.", self.messages));
        }
        match script::parse(&self.prompt) {
            Ok(Some(script)) => self.step_of(script),
            Ok(None) => only(self.introduction()),
            Err(malformed) => only(format!("I did not play this script. {malformed}.")),
        }
    }

    fn step_of(&self, mut script: Script) -> Step {
        let last = self.step + 1 >= script.steps.len();
        if self.step >= script.steps.len() {
            return only(self.closing());
        }
        let mut step = script.steps.swap_remove(self.step);
        let silent = last && !step.has_tools() && !step.has_words();
        // Vendors end no message with a thought, and refuse one that does.
        if silent || step.ends_in_thought() {
            step.acts.push(Act::Say(self.closing()));
        }
        step
    }

    fn closing(&self) -> String {
        match self.results {
            (0, _) => "the script is done.".into(),
            (1, 0) => "the script is done; its tool call was answered.".into(),
            (1, _) => "the script is done; its tool call was answered with an error.".into(),
            (calls, 0) => format!("the script is done; its {calls} tool calls were answered."),
            (calls, errors) => {
                format!("the script is done; its {calls} tool calls were answered, {errors} with an error.")
            }
        }
    }

    fn introduction(&self) -> String {
        let (messages, s) = (self.messages, if self.messages == 1 { "" } else { "s" });
        format!(
            "I am the rehearsal model, which needs no key and only follows scripts; I saw {messages} message{s}; type one \
             command a line ({}), or set ANTHROPIC_API_KEY or OPENAI_API_KEY and choose one of their models to talk to a \
             real one.",
            script::USAGE
        )
    }

    /// The user says something more.
    pub(crate) fn hear(&mut self, words: &str) {
        if self.step > 0 || self.prompt.is_empty() {
            *self = Self {
                prompt: words.to_owned(),
                messages: self.messages,
                ..Self::default()
            };
        } else {
            self.prompt.push('\n');
            self.prompt.push_str(words);
        }
    }

    pub(crate) const fn result(&mut self, is_error: bool) {
        self.results.0 += 1;
        self.results.1 += is_error as usize;
    }
}

fn only(text: String) -> Step {
    Step {
        failures: Vec::new(),
        acts: vec![Act::Say(text)],
    }
}

/// Four bytes are a token.
#[must_use]
pub fn tokens_of(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

/// Notes that harnesses put beside or in place of what the user said; no scripts.
const NOTES: [&str; 6] = [
    "<system-reminder>",
    "<environment_context>",
    "<turn_aborted>",
    "<user_instructions>",
    "<permissions instructions>",
    "[Request interrupted by user",
];

/// Whether a text is the user's and not a harness' note to the model.
pub(crate) fn is_words(text: &str) -> bool {
    let text = text.trim_start();
    !text.is_empty() && !NOTES.iter().any(|note| text.starts_with(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(prompt: &str, step: usize) -> Cue {
        Cue {
            prompt: prompt.into(),
            step,
            ..Cue::default()
        }
    }

    fn says(cue: &Cue) -> Vec<String> {
        let acts = cue.play().acts.into_iter();
        acts.filter_map(|act| match act {
            Act::Say(text) => Some(text),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn a_summary_is_given_whatever_is_unplayed() {
        let asked = format!("/tool bash {{}}\nStop here and {SUMMARY}.");
        assert_eq!(says(&cue(&asked, 0)), ["a summary of 0 messages."]);
    }

    #[test]
    fn a_thought_never_has_the_last_word() {
        assert_eq!(says(&cue("/think x", 0)), ["the script is done."]);
        assert_eq!(
            says(&cue("/say a\n/think x\n/sleep 1", 0)),
            ["a", "the script is done."]
        );
        assert_eq!(says(&cue("/think x\n/say a", 0)), ["a"]);
        assert!(says(&cue("/think x\n/tool a", 0)).is_empty());
    }

    #[test]
    fn what_is_said_in_mid_script_takes_over_and_what_is_said_together_is_one() {
        let mut cue = cue("/tool a", 1);
        cue.result(true);
        cue.hear("/say x");
        cue.hear("/say y");
        assert_eq!(
            (cue.prompt.as_str(), cue.step, cue.results),
            ("/say x\n/say y", 0, (0, 0))
        );
    }

    #[test]
    fn notes_of_harnesses_are_no_words() {
        assert!(is_words("/say x") && is_words("a <system-reminder>"));
        assert!(!is_words(" <system-reminder>today</system-reminder>") && !is_words("  "));
    }
}
