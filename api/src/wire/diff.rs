//! Changes of a repository as clients read them, out of what git printed (`executor::diff`).

use serde::Serialize;

/// `session_diff`.
#[derive(Debug, Serialize)]
pub(crate) struct Diff<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    path: &'a str,
    /// The commit (of an empty repository: the tree) it begins at.
    base: &'a str,
    /// The commit it ends at; none means the files.
    head: Option<&'a str>,
    files: Vec<File>,
    /// What is not UTF-8 is replaced here, and not in the patch of `Accept: text/x-patch`.
    #[serde(serialize_with = "lossy")]
    patch: &'a [u8],
}

#[derive(Debug, PartialEq, Serialize)]
struct File {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_path: Option<String>,
    status: &'static str,
    /// Lines; none of a binary file.
    additions: Option<u64>,
    deletions: Option<u64>,
}

fn lossy<S: serde::Serializer>(patch: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(patch))
}

impl<'a> Diff<'a> {
    /// None when it is not what the executor prints.
    pub(crate) fn read(kind: &'static str, path: &'a str, printed: &'a [u8]) -> Option<Self> {
        let end = printed.iter().position(|byte| *byte == b'\n')?;
        let mut head = std::str::from_utf8(&printed[..end]).ok()?.split(' ');
        let (base, to) = (head.next()?, head.next()?);
        let (listed, patched): (usize, usize) = (head.next()?.parse().ok()?, head.next()?.parse().ok()?);
        let rest = &printed[end + 1..];
        if listed.checked_add(patched) != Some(rest.len()) {
            return None;
        }
        let (list, patch) = rest.split_at(listed);
        Some(Self {
            kind,
            path,
            base,
            head: (to != "-").then_some(to),
            files: files(list)?,
            patch,
        })
    }

    /// As git printed it.
    pub(crate) const fn patch_bytes(&self) -> &[u8] {
        self.patch
    }
}

/// Records of `--raw -z`, then of `--numstat -z` in the same order.
fn files(list: &[u8]) -> Option<Vec<File>> {
    let mut words = list
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .peekable();
    let mut files = Vec::new();
    while let Some(raw) = words.next_if(|word| word.starts_with(':')) {
        let letter = raw.rsplit(' ').next()?.chars().next()?;
        let first = words.next()?;
        let (previous_path, path) = match letter {
            'R' | 'C' => (Some(first), words.next()?),
            _ => (None, first),
        };
        files.push(File {
            path,
            previous_path,
            status: match letter {
                'A' => "added",
                'D' => "deleted",
                'R' => "renamed",
                'C' => "copied",
                'T' => "type_changed",
                _ => "modified",
            },
            additions: None,
            deletions: None,
        });
    }
    for file in &mut files {
        let counts = words.next()?;
        let mut counts = counts.splitn(3, '\t');
        file.additions = counts.next()?.parse().ok();
        file.deletions = counts.next()?.parse().ok();
        // Of a renamed file its two names come by themselves.
        if counts.next()?.is_empty() {
            words.next()?;
            words.next()?;
        }
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_prints_is_read() {
        let list =
            b":000000 100644 0 1 A\0new\nline\0:100644 100644 1 2 R086\0old\0moved\0:100644 100644 1 2 M\0image\0\
                     3\t0\tnew\nline\x001\t1\t\0old\0moved\0-\t-\timage\0";
        let printed = [format!("abc - {} 5\n", list.len()).as_bytes(), list, b"patch"].concat();
        let diff = Diff::read("session_diff", ".", &printed).unwrap();
        assert_eq!((diff.base, diff.head, diff.patch_bytes()), ("abc", None, &b"patch"[..]));
        let told: Vec<_> = diff
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.status, file.additions))
            .collect();
        assert_eq!(
            told,
            [
                ("new\nline", "added", Some(3)),
                ("moved", "renamed", Some(1)),
                ("image", "modified", None)
            ]
        );
        assert_eq!(diff.files[1].previous_path.as_deref(), Some("old"));
        assert!(
            Diff::read("session_diff", ".", b"abc - 0 0\n")
                .unwrap()
                .files
                .is_empty()
        );
        for wrong in [
            &b""[..],
            b"abc",
            b"abc - 1 1\n",
            b"abc - 9999999999999999999 1\nx",
            &printed[..printed.len() - 1],
        ] {
            assert!(Diff::read("session_diff", ".", wrong).is_none(), "{wrong:?}");
        }
    }
}
