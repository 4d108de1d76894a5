//! A change's place as clients see it: opaque text that orders nothing for them and says to us where they are.

use std::fmt;
use std::str::FromStr;

use perennial_engine::ports::ChangeCursor;

/// `<commit>-<position>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub ChangeCursor);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.commit, self.0.position)
    }
}

/// Text that is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (commit, position) = text.split_once('-').ok_or(NoPlace)?;
        let number = |text: &str| -> Result<u64, NoPlace> {
            // What the stores count with: no cursor of theirs is greater.
            let number: i64 = text.parse().map_err(|_| NoPlace)?;
            u64::try_from(number).map_err(|_| NoPlace)
        };
        Ok(Self(ChangeCursor {
            commit: number(commit)?,
            position: number(position)?,
        }))
    }
}

impl Place {
    /// The place right before: whoever reads from there finds this change, or a newer one.
    pub(crate) fn before(self) -> Option<ChangeCursor> {
        let ChangeCursor { commit, position } = self.0;
        if let Some(position) = position.checked_sub(1) {
            return Some(ChangeCursor { commit, position });
        }
        let commit = commit.checked_sub(1)?;
        let position = i64::MAX.unsigned_abs();
        Some(ChangeCursor { commit, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_text_and_back() {
        assert_eq!(place("12-3").to_string(), "12-3");
        for text in ["", "12", "12-", "-3", "12-3-4", "a-b", "-1-2", "9223372036854775808-0"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }

    #[test]
    fn nothing_is_between_a_place_and_the_one_before() {
        assert_eq!(place("7-2").before(), Some(place("7-1").0));
        assert!(place("7-0").before() < Some(place("7-0").0));
        assert!(place("7-0").before() > Some(place("6-900").0));
        assert_eq!(place("0-0").before(), None);
    }
}
