//! Values that must not be recorded, blotted out of what commands print: variables whose names say that they hold secrets. Only
//! their exact bytes are found; whoever encodes one first is not stopped by this.

use indexmap::IndexMap;
use perennial_schema::content::Block;
use perennial_schema::environment::names_secret;
use perennial_schema::tool::Outcome;

use crate::limits::SECRET_BYTES;

const BLOT: &[u8] = b"[secret]";

/// What is blotted out, and what of a stream may still be the beginning of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blot {
    values: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Blot {
    /// The secrets among variables.
    pub(crate) fn of(variables: &IndexMap<String, String>) -> Self {
        let secret = variables
            .iter()
            .filter(|(name, value)| names_secret(name) && value.len() >= SECRET_BYTES);
        Self::values(secret.map(|(_, value)| value.clone().into_bytes()).collect())
    }

    pub(crate) fn values(mut values: Vec<Vec<u8>>) -> Self {
        // Of two that begin alike, the longer one.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self {
            values,
            held: Vec::new(),
        }
    }

    /// The same at the beginning of another stream.
    pub(crate) fn anew(&self) -> Self {
        Self::values(self.values.clone())
    }

    /// Whether everything passes.
    pub(crate) const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What of a stream can be passed on by now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.pass(false)
    }

    /// The rest of the stream.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.pass(true)
    }

    fn pass(&mut self, last: bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let (mut passed, mut at) = (Vec::with_capacity(held.len()), 0);
        while at < held.len() {
            let rest = &held[at..];
            let may_begin = |value: &Vec<u8>| value.len() > rest.len() && value.starts_with(rest);
            if !last && self.values.iter().any(may_begin) {
                // A shorter one may be there already; the longer one is told by what comes next.
                break;
            }
            if let Some(value) = self.values.iter().find(|value| rest.starts_with(value)) {
                passed.extend_from_slice(BLOT);
                at += value.len();
            } else {
                passed.push(held[at]);
                at += 1;
            }
        }
        self.held = held[at..].to_vec();
        passed
    }

    /// The same for a whole outcome.
    pub(crate) fn outcome(&self, mut outcome: Outcome) -> Outcome {
        if self.is_empty() {
            return outcome;
        }
        for block in &mut outcome.content {
            if let Block::Text { text } = block {
                let mut blot = self.anew();
                let mut passed = blot.push(text.as_bytes());
                passed.extend(blot.finish());
                *block = Block::text(String::from_utf8_lossy(&passed).into_owned());
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_blotted_out_in_whatever_pieces_it_comes() {
        let text = b"a hunter2hunter2 b hunter2hunter22 hunter2hunter hun";
        for step in 1..text.len() {
            let mut blot = Blot::values(vec![b"hunter2hunter2".to_vec(), b"hunter2hunter22".to_vec()]);
            let mut told: Vec<u8> = text.chunks(step).flat_map(|piece| blot.push(piece)).collect();
            told.extend(blot.finish());
            assert_eq!(
                String::from_utf8_lossy(&told),
                "a [secret] b [secret] hunter2hunter hun",
                "{step}"
            );
        }
    }

    #[test]
    fn only_what_looks_like_a_secret_is() {
        let variables = [("API_TOKEN", "tttttttt"), ("MODE", "mmmmmmmm"), ("SHORT_KEY", "k")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let blot = Blot::of(&variables.into());
        let outcome = blot.outcome(Outcome::text("tttttttt mmmmmmmm k", false));
        assert_eq!(outcome, Outcome::text("[secret] mmmmmmmm k", false));
    }
}
