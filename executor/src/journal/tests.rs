//! The journal's folder: whose it is, what goes, and what happens to one that was put back to older state.

use super::mark::Note;
use super::*;

/// Memory of a machine, if this one has any to lend.
fn memory() -> Option<tempfile::TempDir> {
    let made = tempfile::tempdir_in("/dev/shm").ok()?;
    let note = Note::open(made.path(), ExecutorId::from_uuid(Uuid::nil())).unwrap();
    note.is_some().then_some(made)
}

fn open(data: &Path, given: Option<ExecutorId>) -> io::Result<Journal> {
    let mut journal = Journal::open(data, given, None)?;
    journal.keep_name()?;
    Ok(journal)
}

fn noted(data: &Path, memory: &tempfile::TempDir) -> Journal {
    let mut journal = Journal::open(data, None, Some(memory.path())).unwrap();
    journal.keep_name().unwrap();
    journal
}

fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

/// One more line.
fn write(journal: &Journal, epoch: u64) {
    journal.session(session(1)).unwrap().raise_epoch(epoch).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Put back to what it was before a line that was acted on, at whatever time of a life or between two: another journal.
#[test]
fn a_journal_that_was_put_back_is_another_one() {
    let Some(memory) = memory() else {
        return println!("NOT RUN: no folder in memory");
    };
    let data = tempfile::tempdir().unwrap();
    let open = || noted(data.path(), &memory);
    let (dir, older) = (data.path().join("executor/journal"), data.path().join("older"));
    let journal = open();
    let id = journal.journal_id;
    write(&journal, 1);
    drop(journal);
    copy(&dir, &older);
    // Killed and started again it is the same, however often.
    let journal = open();
    assert_eq!(journal.journal_id, id);
    drop(journal);
    copy(&older, &dir);
    let journal = open();
    assert_eq!(journal.journal_id, id, "nothing was written meanwhile");
    write(&journal, 2);
    drop(journal);
    copy(&older, &dir);
    // Whoever dies before what that life left is ended has not taken its name away.
    drop(Journal::open(data.path(), None, Some(memory.path())).unwrap());
    let journal = open();
    assert_ne!(journal.journal_id, id);
    assert!(journal.earlier().contains(&id));
    // Its own past is a new one: the older copy is not of it, however far it had come.
    let second = journal.journal_id;
    copy(&dir, &data.path().join("second"));
    drop(journal);
    copy(&older, &dir);
    let journal = open();
    assert!(![id, second].contains(&journal.journal_id));
    assert_eq!(journal.earlier(), [id, second]);
}

/// What was swept does not make an older folder look as far as it had come.
#[test]
fn a_journal_from_before_a_sweep_is_another_one() {
    let Some(memory) = memory() else {
        return println!("NOT RUN: no folder in memory");
    };
    let data = tempfile::tempdir().unwrap();
    let open = || noted(data.path(), &memory);
    let (dir, older) = (data.path().join("executor/journal"), data.path().join("older"));
    let journal = open();
    let id = journal.journal_id;
    for epoch in 1..100 {
        journal.session(session(2)).unwrap().raise_epoch(epoch).unwrap();
    }
    copy(&dir, &older);
    journal.forget(session(2)).unwrap();
    assert_eq!(
        journal.sweep(SystemTime::now() + 2 * JOURNAL_AGE, |_| false).unwrap(),
        1
    );
    drop(journal);
    let journal = open();
    assert_eq!(journal.journal_id, id, "swept, it goes on");
    write(&journal, 1);
    drop(journal);
    copy(&older, &dir);
    assert_ne!(open().journal_id, id);
}

/// Nobody vouches for what happened before the machine was started.
#[test]
fn without_a_note_every_life_is_another_journal() {
    let Some(memory) = memory() else {
        return println!("NOT RUN: no folder in memory");
    };
    let data = tempfile::tempdir().unwrap();
    let open = || noted(data.path(), &memory).journal_id;
    let first = open();
    assert_eq!(open(), first);
    for note in fs::read_dir(memory.path()).unwrap().flatten() {
        fs::remove_file(note.path()).unwrap();
    }
    let second = open();
    assert_ne!(second, first);
    assert_eq!(open(), second);
    // The same folder elsewhere is a copy.
    let elsewhere = tempfile::tempdir().unwrap();
    copy(
        &data.path().join("executor/journal"),
        &elsewhere.path().join("executor/journal"),
    );
    fs::copy(
        data.path().join("executor/executor_id"),
        elsewhere.path().join("executor/executor_id"),
    )
    .unwrap();
    let copied = noted(elsewhere.path(), &memory);
    assert_ne!(copied.journal_id, second);
    assert_ne!(open(), second, "nor does the note vouch for both");
}

#[test]
fn put_back_under_a_running_process_it_answers_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (dir, older) = (data.path().join("executor/journal"), data.path().join("older"));
    let journal = open(data.path(), None).unwrap();
    write(&journal, 1);
    copy(&dir, &older);
    write(&journal, 2);
    for entry in fs::read_dir(&older).unwrap().flatten() {
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let error = journal.session(session(1)).unwrap_err();
    assert!(error.to_string().contains("stands before"), "{error}");
    fs::rename(&dir, data.path().join("away")).unwrap();
    copy(&older, &dir);
    let error = journal.session(session(2)).unwrap_err();
    assert!(error.to_string().contains("another folder"), "{error}");
}

#[test]
fn an_executor_survives_and_a_second_opener_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let first = open(data.path(), None).unwrap();
    let id = first.executor_id;
    let second = open(data.path(), None).unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    assert_eq!(open(data.path(), None).unwrap().executor_id, id);
}

#[test]
fn what_was_forgotten_goes_after_some_days() {
    let data = tempfile::tempdir().unwrap();
    let journal = open(data.path(), None).unwrap();
    for n in 1..=4_u32 {
        journal
            .session(session(n.into()))
            .unwrap()
            .raise_epoch(n.into())
            .unwrap();
    }
    let now = SystemTime::now();
    let long_ago = now - JOURNAL_AGE;
    let old = |path: PathBuf| File::options().write(true).open(path).unwrap().set_modified(long_ago);
    // Session 1 long ago, 2 long ago and used since, 3 just now, 4 never.
    for n in 1..=3 {
        journal.forget(session(n)).unwrap();
    }
    for n in 1..=2 {
        old(journal.mark(session(n))).unwrap();
    }
    old(journal.path(session(1))).unwrap();
    // One that never had a journal has nothing to forget.
    journal.forget(session(5)).unwrap();
    assert!(!journal.mark(session(5)).exists());
    let epoch = |n| journal.session(session(n)).unwrap().epoch();
    assert_eq!(journal.sweep(now, |it| it == session(1)).unwrap(), 0);
    assert_eq!(journal.sweep(now, |_| false).unwrap(), 1);
    assert_eq!([1, 2, 3, 4].map(epoch), [0, 2, 3, 4]);
    assert!(!journal.mark(session(1)).exists() && journal.mark(session(3)).exists());
    assert_eq!(journal.sweep(now, |_| false).unwrap(), 0);
}

#[test]
fn a_journal_is_one_executors() {
    let data = tempfile::tempdir().unwrap();
    let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let open = |id| open(data.path(), Some(ExecutorId::from_uuid(id)));
    assert_eq!(open(mine).unwrap().executor_id.uuid(), mine);
    assert_eq!(open(other).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(open(mine).unwrap().executor_id.uuid(), mine);
}

#[test]
fn a_deleted_journal_is_another_journal_of_the_same_executor() {
    let data = tempfile::tempdir().unwrap();
    let first = open(data.path(), None).unwrap();
    let (executor, journal) = (first.executor_id, first.journal_id);
    drop(first);
    fs::remove_dir_all(data.path().join("executor/journal")).unwrap();
    let second = open(data.path(), None).unwrap();
    assert_eq!(second.executor_id, executor);
    assert_ne!(second.journal_id, journal);
}

#[test]
fn a_damaged_identity_is_an_error_not_a_new_one() {
    let data = tempfile::tempdir().unwrap();
    drop(open(data.path(), None).unwrap());
    fs::write(data.path().join("executor/journal/journal_id"), "jrnl_").unwrap();
    assert_eq!(open(data.path(), None).unwrap_err().kind(), io::ErrorKind::InvalidData);
}
