//! JSON Schemas of tool inputs, as far as vendors look at them.

use serde_json::Value;

use super::{Checked, ensure};
use crate::wire::text;

const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
/// Members that are schemas.
const INNER: [&str; 5] = ["items", "additionalProperties", "not", "propertyNames", "contains"];
/// Members that are objects of schemas.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// Members that are arrays of schemas.
const SEVERAL: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
/// Vendors refuse what is deeper.
const DEPTH: usize = 32;

/// Checks a schema.
pub(super) fn check(schema: &Value) -> Checked {
    below(schema, "", 0)
}

fn below(schema: &Value, at: &str, depth: usize) -> Checked {
    ensure(depth < DEPTH, || format!("{at}: too deep"))?;
    let members = match schema {
        Value::Object(members) => members,
        Value::Bool(_) if depth > 0 => return Ok(()),
        _ => return Err(format!("{at}: not a schema")),
    };
    let is_type = |value: &Value| TYPES.contains(&text(value));
    if let Some(kind) = members.get("type") {
        let known = is_type(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().all(is_type));
        ensure(known, || format!("{at}/type: {kind} is not a type"))?;
    }
    if let Some(required) = members.get("required") {
        let names = required.as_array();
        ensure(names.is_some_and(|names| names.iter().all(Value::is_string)), || {
            format!("{at}/required: not an array of names")
        })?;
    }
    for name in NAMED {
        let Some(inner) = members.get(name) else { continue };
        let Value::Object(inner) = inner else {
            return Err(format!("{at}/{name}: not an object"));
        };
        for (key, schema) in inner {
            below(schema, &format!("{at}/{name}/{key}"), depth + 1)?;
        }
    }
    for name in SEVERAL {
        let Some(inner) = members.get(name) else { continue };
        let Value::Array(inner) = inner else {
            return Err(format!("{at}/{name}: not an array"));
        };
        for schema in inner {
            below(schema, &format!("{at}/{name}"), depth + 1)?;
        }
    }
    for name in INNER {
        if let Some(schema) = members.get(name) {
            below(schema, &format!("{at}/{name}"), depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_checked_to_their_ends() {
        let good = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties": {
            "a": {"type": ["string", "null"]}, "b": {"type": "array", "items": {"anyOf": [{"type": "integer"}, true]}}}});
        assert_eq!(check(&good), Ok(()));
        let bad = [
            ("/type", json!("dict"), "/type"),
            ("/required", json!("a"), "/required"),
            ("/properties", json!([]), "/properties"),
            ("/properties/a", json!("string"), "/properties/a: not a schema"),
            (
                "/properties/b/items/anyOf/0/type",
                json!("int"),
                "\"int\" is not a type",
            ),
        ];
        for (pointer, value, says) in bad {
            let mut schema = good.clone();
            *schema.pointer_mut(pointer).unwrap() = value;
            let problem = check(&schema).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
        let deep = (0..40).fold(json!({}), |inner, _| json!({"items": inner}));
        assert!(check(&deep).unwrap_err().contains("too deep"));
    }
}
