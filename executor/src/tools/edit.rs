//! `edit`: replaces text that occurs exactly once, or everywhere when asked.

use std::io::Read;

use perennial_schema::tool::EditInput;

use super::write::replace;
use crate::limits::EDIT_BYTES;
use crate::workspace::Folder;

pub(super) fn run(input: &EditInput, folder: &Folder) -> Result<String, String> {
    let (new, said) = text(input, &load(folder, &input.file_path)?)?;
    replace(folder, &input.file_path, new.as_bytes())?;
    Ok(said)
}

/// The text after it, and what is said when it is done.
pub(crate) fn text(input: &EditInput, text: &str) -> Result<(String, String), String> {
    let path = &input.file_path;
    let (new, count) = edited(text, input).map_err(|error| format!("{path}: {error}"))?;
    if new.len() as u64 > EDIT_BYTES {
        return Err(format!("{path}: would grow beyond {EDIT_BYTES} bytes"));
    }
    let times = if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    };
    Ok((new, format!("replaced {times} in {path}")))
}

fn load(folder: &Folder, path: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = folder.open_file(path)?;
    file.take(EDIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{path}: {error}"))?;
    if bytes.len() as u64 > EDIT_BYTES {
        return Err(format!("{path}: larger than {EDIT_BYTES} bytes; use bash (sed)"));
    }
    String::from_utf8(bytes).map_err(|_| format!("{path}: not UTF-8 text; use bash (sed, perl)"))
}

fn edited(text: &str, input: &EditInput) -> Result<(String, usize), String> {
    let (old, new) = (&input.old_string, &input.new_string);
    if old.is_empty() {
        return Err("old_string is empty; use write to make a file".into());
    }
    if old == new {
        return Err("old_string and new_string are the same".into());
    }
    match text.matches(old.as_str()).count() {
        0 => Err("old_string does not occur; it must match exactly, spaces and line ends included".into()),
        count if count > 1 && !input.replace_all.unwrap_or(false) => Err(format!(
            "old_string occurs {count} times; give more text around it, or set replace_all"
        )),
        count => Ok((text.replace(old.as_str(), new), count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, old: &str, new: &str, all: bool) -> Result<(String, usize), String> {
        let input = EditInput {
            file_path: "f".into(),
            old_string: old.into(),
            new_string: new.into(),
            replace_all: Some(all),
        };
        edited(text, &input)
    }

    #[test]
    fn exactly_once_or_all() {
        assert_eq!(check("a b a", "b", "c", false), Ok(("a c a".into(), 1)));
        assert_eq!(check("a b a", "a", "c", true), Ok(("c b c".into(), 2)));
        assert!(check("a b a", "a", "c", false).unwrap_err().contains("occurs 2 times"));
        assert!(check("a", "x", "c", true).unwrap_err().contains("does not occur"));
        assert!(check("a", "", "c", true).unwrap_err().contains("empty"));
        assert!(check("a", "a", "a", false).unwrap_err().contains("the same"));
    }
}
