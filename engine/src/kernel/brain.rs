//! Who is asked: which harness speaks to which provider. When that changes, the log says so, once, in the commit that begins
//! the first request of the new one.

use perennial_schema::event::{Body, Draft, HarnessChanged};

use super::author::Author;
use super::state::{Entry, State, StepPart};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brain<'a> {
    /// `harness/provider`.
    pub name: &'a str,
    /// Whose native blocks it takes.
    pub provider: &'a str,
}

impl State {
    /// Who was asked last, `harness/provider`; none before the first request, and in logs that do not say.
    #[must_use]
    pub fn brain(&self) -> Option<&str> {
        self.brain.as_deref()
    }

    pub(super) fn harness_changed(&self, author: &Author<'_>, brain: Brain<'_>) -> Option<Draft> {
        let from = self.brain().filter(|from| *from != brain.name)?.to_owned();
        let changed = HarnessChanged {
            from,
            to: brain.name.to_owned(),
            dropped: self.foreign_natives(brain.provider),
        };
        Some(author.draft(Body::HarnessChanged(changed)))
    }

    /// Blocks in the context that only another provider takes.
    fn foreign_natives(&self, provider: &str) -> u64 {
        let steps = self.entries.iter().filter_map(|entry| match entry {
            Entry::Step(step) => Some(&step.parts),
            Entry::Input { .. } | Entry::Summary { .. } => None,
        });
        let foreign =
            |part: &&StepPart| matches!(part, StepPart::Thinking(Some(native)) if native.provider != provider);
        u64::try_from(steps.flatten().filter(foreign).count()).unwrap_or(u64::MAX)
    }
}
