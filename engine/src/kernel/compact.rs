//! Compaction: what entered the context long ago is replaced by a summary, the latest of it stays word for word.
//!
//! The cut is a function of the state alone. It falls between whole entries (a step is one with its calls and results), so
//! what is left renders; inputs that wait in the queue are no entries yet, so none is ever covered unseen.

use perennial_schema::event::{Body, ContextCompacted, Draft, Empty};
use perennial_schema::model::Usage;

use super::author::Author;
use super::brain::Brain;
use super::decide::Rejection;
use super::message::Message;
use super::state::{Entry, State, StepPart};

/// Most entries that stay word for word.
const KEPT: usize = 8;
/// What stays is at most this part of the whole, one entry excepted.
const KEPT_PART: usize = 4;

impl State {
    /// Tokens of the context as of the last answer; zero when nobody has counted since it was compacted.
    #[must_use]
    pub const fn context_tokens(&self) -> u64 {
        self.context_tokens
    }

    /// The seq up to which the context can be replaced by a summary now, if there is anything to gain: for a model that has
    /// refused the context as it is.
    #[must_use]
    pub fn cut(&self) -> Option<u64> {
        self.cut_at().and_then(|count| self.last_seq(count))
    }

    /// The same, if it covers about a quarter of what the model counted (a byte for each token, where four are usual):
    /// a context that is large for other reasons, its tools or its last entry, would be compacted at every step.
    pub(super) fn worthwhile_cut(&self) -> Option<u64> {
        let count = self.cut_at()?;
        let covered: usize = self.entries[..count].iter().map(Entry::bytes).sum();
        let gain = u64::try_from(covered).unwrap_or(u64::MAX);
        if gain >= self.context_tokens {
            self.last_seq(count)
        } else {
            None
        }
    }

    /// What is to be summarised: the messages up to a cut.
    #[must_use]
    pub fn render_up_to(&self, up_to: u64) -> Vec<Message> {
        self.render_first(self.covered(up_to))
    }

    /// How many entries a summary replaces.
    fn cut_at(&self) -> Option<usize> {
        if !self.open.is_empty() || self.entries.is_empty() {
            return None;
        }
        let sizes: Vec<usize> = self.entries.iter().map(Entry::bytes).collect();
        let most = sizes.iter().sum::<usize>() / KEPT_PART;
        let mut kept = 0;
        let mut bytes = 0;
        for size in sizes.iter().rev().take(KEPT) {
            bytes += size;
            if kept > 0 && bytes > most {
                break;
            }
            kept += 1;
        }
        let mut count = self.entries.len() - kept;
        // Inputs that were named together have one seq.
        while count > 0 && self.entries[count - 1].seq() == self.entries[count].seq() {
            count -= 1;
        }
        let gain = self.entries[..count].iter().any(|entry| entry.seq().is_some());
        (gain && self.last_seq(count).is_some_and(|up_to| self.covered(up_to) == count)).then_some(count)
    }

    fn last_seq(&self, count: usize) -> Option<u64> {
        self.entries[..count].iter().filter_map(Entry::seq).max()
    }

    /// Entries at the beginning that entered the context up to a point. Calls that are still open stay, and so does all that
    /// follows them.
    fn covered(&self, up_to: u64) -> usize {
        let first_open = self
            .open
            .values()
            .map(|place| place.entry)
            .min()
            .unwrap_or(self.entries.len());
        self.entries[..first_open]
            .iter()
            .take_while(|entry| entry.seq().is_none_or(|seq| seq <= up_to))
            .count()
    }

    pub(super) fn compact(&mut self, compacted: &ContextCompacted) {
        let covered = self.covered(compacted.up_to);
        self.entries.splice(
            ..covered,
            [Entry::Summary {
                text: compacted.summary.clone(),
            }],
        );
        for place in self.open.values_mut() {
            place.entry = place.entry + 1 - covered;
        }
        self.context_tokens = 0;
        self.compacting |= self.request.is_some();
    }

    pub(super) fn start_compaction(
        &self,
        author: &Author<'_>,
        brain: Option<Brain<'_>>,
    ) -> Result<Vec<Draft>, Rejection> {
        self.may_begin()?;
        Ok(self.span_drafts(author, brain, true))
    }

    pub(super) fn finish_compaction(
        &self,
        author: &Author<'_>,
        summary: &str,
        up_to: u64,
        usage: Usage,
    ) -> Result<Vec<Draft>, Rejection> {
        let end = self.end_request_draft(author, usage, false)?;
        let compacted = ContextCompacted {
            summary: summary.to_owned(),
            up_to,
        };
        Ok(vec![
            author.draft(Body::ContextCompacted(compacted)),
            author.draft(Body::AgentThreadContextCompacted(Empty {})),
            end,
        ])
    }
}

impl Entry {
    /// Where it entered the context; a summary was always there.
    const fn seq(&self) -> Option<u64> {
        match self {
            Self::Input { seq, .. } => Some(*seq),
            Self::Step(step) => Some(step.seq),
            Self::Summary { .. } => None,
        }
    }

    /// About what it weighs.
    fn bytes(&self) -> usize {
        match self {
            Self::Input { content, .. } => content.text().len(),
            Self::Summary { text } => text.len(),
            Self::Step(step) => step.parts.iter().map(StepPart::bytes).sum(),
        }
    }
}

impl StepPart {
    fn bytes(&self) -> usize {
        match self {
            Self::Thinking(native) => native.as_ref().map_or(0, |native| native.block.text().len()),
            Self::Text(content) => content.text().len(),
            Self::Call(call) => {
                call.input.text().len() + call.result.as_ref().map_or(0, |result| result.content.text().len())
            }
        }
    }
}
