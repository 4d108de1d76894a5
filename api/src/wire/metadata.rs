//! Metadata: up to 16 pairs of short text. Updates merge; a null deletes.

use indexmap::IndexMap;
use perennial_schema::limits::{METADATA_KEY_CHARS, METADATA_PAIRS, METADATA_VALUE_CHARS};

use crate::error::ApiError;

/// Pairs as stored.
pub(crate) type Pairs = IndexMap<String, String>;
/// Pairs of an update.
pub(crate) type Patch = IndexMap<String, Option<String>>;

/// Checks pairs.
///
/// # Errors
/// 400 naming the pair.
pub(crate) fn check(pairs: &Pairs) -> Result<(), ApiError> {
    let refuse = |path: String, problem: String| Err(ApiError::field(path, problem).code("invalid_metadata"));
    if pairs.len() > METADATA_PAIRS {
        return refuse(
            "metadata".into(),
            format!("{} pairs, at most {METADATA_PAIRS} are allowed", pairs.len()),
        );
    }
    for (key, value) in pairs {
        let shown: String = key.chars().take(METADATA_KEY_CHARS).collect();
        if key.is_empty() || key.chars().count() > METADATA_KEY_CHARS {
            return refuse(
                format!("metadata.{shown}"),
                format!("a key must have 1 to {METADATA_KEY_CHARS} characters"),
            );
        }
        if value.chars().count() > METADATA_VALUE_CHARS {
            return refuse(
                format!("metadata.{shown}"),
                format!("a value must have at most {METADATA_VALUE_CHARS} characters"),
            );
        }
    }
    Ok(())
}

/// Applies an update: given keys are set, null ones removed, the others stay. A null update removes all.
///
/// # Errors
/// 400 when the outcome is not allowed.
pub(crate) fn merge(mut pairs: Pairs, patch: Option<Option<Patch>>) -> Result<Pairs, ApiError> {
    match patch {
        None => return Ok(pairs),
        Some(None) => pairs.clear(),
        Some(Some(patch)) => {
            for (key, value) in patch {
                match value {
                    Some(value) => pairs.insert(key, value),
                    None => pairs.shift_remove(&key),
                };
            }
        }
    }
    check(&pairs)?;
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_merge_and_null_deletes() {
        let pairs = Pairs::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        let patch = Patch::from([("a".into(), None), ("c".into(), Some("3".into()))]);
        let merged = merge(pairs.clone(), Some(Some(patch))).unwrap();
        assert_eq!(
            merged,
            Pairs::from([("b".into(), "2".into()), ("c".into(), "3".into())])
        );
        assert!(merge(pairs.clone(), Some(None)).unwrap().is_empty());
        assert_eq!(merge(pairs.clone(), None).unwrap(), pairs);
    }

    #[test]
    fn bounds_hold() {
        let many: Pairs = (0..17).map(|n| (n.to_string(), String::new())).collect();
        for pairs in [
            many,
            Pairs::from([(String::new(), "x".into())]),
            Pairs::from([("k".repeat(65), "x".into())]),
            Pairs::from([("k".into(), "v".repeat(513))]),
        ] {
            assert!(check(&pairs).is_err());
        }
    }
}
