//! The journal file: torn lines, order, durability.

use std::fs;
use std::path::Path;

use uuid::Uuid;

use super::*;

fn id(n: u128) -> EventId {
    EventId::from_uuid(Uuid::from_u128(n))
}

fn started(n: u128, epoch: u64) -> Started {
    Started {
        call_id: id(n),
        tool: "bash".into(),
        args_hash: format!("hash{n}"),
        epoch,
        effect: Effect::Once,
        process: Some(Process {
            pgid: 1_000_000_000,
            start_time: 7,
        }),
    }
}

fn stored(n: u128, text: &str) -> Stored {
    Stored {
        call_id: id(n),
        args_hash: format!("hash{n}"),
        outcome: Outcome::text(text, false),
    }
}

fn open(path: &Path) -> JournalFile {
    load(path).unwrap()
}

fn load(path: &Path) -> io::Result<JournalFile> {
    let mark = Mark::open(path.parent().unwrap())?;
    JournalFile::load(path.to_owned(), Arc::new(mark))
}

#[test]
fn what_was_written_is_known_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.jsonl");
    let mut journal = open(&path);
    assert!(!path.exists(), "a question alone leaves no file");
    journal.start(&started(1, 3)).unwrap();
    journal.finish(stored(1, "one\u{FFFD}\n\"")).unwrap();
    journal.start(&started(2, 3)).unwrap();
    journal.raise_epoch(9).unwrap();
    for journal in [journal, open(&path)] {
        assert_eq!(journal.epoch(), 9);
        assert_eq!(
            journal.known(id(1), "hash1").unwrap(),
            Known::Done(Outcome::text("one\u{FFFD}\n\"", false))
        );
        assert_eq!(journal.known(id(1), "other").unwrap(), Known::OtherArguments);
        assert_eq!(
            journal.known(id(2), "hash2").unwrap(),
            Known::Started { effect: Effect::Once }
        );
        assert_eq!(journal.known(id(3), "hash3").unwrap(), Known::Never);
        assert_eq!(journal.unfinished().len(), 1);
        assert!(journal.had_shell() && journal.is_stored());
    }
}

#[test]
fn a_torn_last_line_is_cut_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.jsonl");
    let mut journal = open(&path);
    journal.start(&started(1, 1)).unwrap();
    let whole = journal.len;
    journal.start(&started(2, 1)).unwrap();
    let bytes = fs::read(&path).unwrap();
    for cut in usize::try_from(whole).unwrap()..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let mut journal = open(&path);
        assert_eq!(journal.known(id(2), "hash2").unwrap(), Known::Never, "cut at {cut}");
        assert_eq!(fs::metadata(&path).unwrap().len(), whole);
        journal.start(&started(3, 1)).unwrap();
        assert_eq!(
            open(&path).known(id(3), "hash3").unwrap(),
            Known::Started { effect: Effect::Once }
        );
    }
}

#[test]
fn blocks_that_never_reached_the_disk_are_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.jsonl");
    open(&path).start(&started(1, 1)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let whole = bytes.len();
    bytes.extend([0; 300]);
    bytes.extend(b"}}\n");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(
        open(&path).known(id(1), "hash1").unwrap(),
        Known::Started { effect: Effect::Once }
    );
    assert_eq!(fs::metadata(&path).unwrap().len() as usize, whole);
}

#[test]
fn damage_in_the_middle_is_an_error_that_names_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.jsonl");
    let mut journal = open(&path);
    for n in 1..4 {
        journal.start(&started(n, 1)).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap().replacen("hash2\"", "hash2", 1);
    fs::write(&path, &text).unwrap();
    let error = load(&path).unwrap_err();
    assert!(
        error.to_string().contains("line 2 of the journal s.jsonl is damaged"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "evidence stays");
}

#[test]
fn a_result_the_disk_refused_is_known_and_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone/s.jsonl");
    fs::create_dir(dir.path().join("gone")).unwrap();
    let mut journal = open(&path);
    journal.start(&started(1, 1)).unwrap();
    // The folder is swapped for a file: reopening fails whoever we are.
    journal.file = None;
    fs::rename(dir.path().join("gone"), dir.path().join("away")).unwrap();
    fs::write(dir.path().join("gone"), "").unwrap();
    journal.finish(stored(1, "kept")).unwrap_err();
    assert!(!journal.is_stored());
    assert_eq!(
        journal.known(id(1), "hash1").unwrap(),
        Known::Done(Outcome::text("kept", false))
    );
    journal.start(&started(2, 1)).unwrap_err();
    assert_eq!(
        journal.known(id(2), "hash2").unwrap(),
        Known::Never,
        "what was not written was not started"
    );
    fs::remove_file(dir.path().join("gone")).unwrap();
    fs::rename(dir.path().join("away"), dir.path().join("gone")).unwrap();
    journal.start(&started(2, 1)).unwrap();
    assert_eq!(
        open(&path).known(id(1), "hash1").unwrap(),
        Known::Done(Outcome::text("kept", false))
    );
}
