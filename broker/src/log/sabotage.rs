//! Rules that a test build can be told to forget, so that the proof is seen to notice. Without the feature `failpoints` all
//! of this is `false` at compile time.

fn forgotten(rule: &str) -> bool {
    let _ = rule;
    fail::fail_point!(rule, |_| true);
    false
}

/// Epochs are not looked at.
pub(crate) fn fence() -> bool {
    forgotten("sabotage.fence")
}

/// A session is given back although its log went on.
pub(crate) fn conditional_release() -> bool {
    forgotten("sabotage.conditional_release")
}

/// A repeated request is not recognised.
pub(crate) fn dedupe() -> bool {
    forgotten("sabotage.dedupe")
}
