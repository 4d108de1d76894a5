//! Packs made here and by strangers.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use perennial_schema::frame::Workspace;
use tar::{Builder, EntryType, Header};
use uuid::Uuid;

use super::*;

struct Rig {
    data: tempfile::TempDir,
    packs: Packs,
    workspaces: Workspaces,
    limits: Limits,
}

fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

impl Rig {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self {
            packs: Packs::open(data.path()).unwrap(),
            workspaces: Workspaces::open(data.path(), &[]).unwrap(),
            limits: Limits::default(),
            data,
        }
    }

    fn ask(&self, pack: PackId, ask: PackAsk) -> PackAnswer {
        self.packs.answer(pack, ask, &self.workspaces, &self.limits)
    }

    fn whole(&self, pack: PackId) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let offset = whole.len() as u64;
            let PackAnswer::Piece { piece, .. } = self.ask(pack, PackAsk::Read { offset }) else {
                panic!("no piece")
            };
            if piece.is_empty() {
                return whole;
            }
            whole.extend(STANDARD.decode(piece).unwrap());
        }
    }

    /// Every piece twice: answers get lost.
    fn put(&self, pack: PackId, bytes: &[u8]) {
        for (n, piece) in bytes.chunks(PACK_PIECE_BYTES).enumerate() {
            for _ in 0..2 {
                let ask = PackAsk::Write {
                    offset: (n * PACK_PIECE_BYTES) as u64,
                    piece: STANDARD.encode(piece),
                };
                assert!(matches!(self.ask(pack, ask), PackAnswer::Written { .. }));
            }
        }
    }

    fn unpack(&self, bytes: &[u8], to: SessionId) -> PackAnswer {
        let pack = PackId::from_uuid(to.uuid());
        self.put(pack, bytes);
        self.ask(pack, PackAsk::Unpack { session: to })
    }
}

#[test]
fn a_folder_travels_whole() {
    let rig = Rig::new();
    let source = rig.workspaces.session_path(session(1));
    let deep = source.join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let long = "n".repeat(180);
    fs::write(deep.join(&long), vec![7; 3 * PACK_PIECE_BYTES + 5]).unwrap();
    fs::write(source.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/passwd", source.join("link")).unwrap();
    symlink(format!("../{}", "t".repeat(150)), source.join("long")).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o500)).unwrap();

    let pack = PackId::from_uuid(Uuid::from_u128(9));
    let make = PackAsk::Make {
        session: session(1),
        workspace: Workspace::Session,
    };
    let PackAnswer::Made { bytes } = rig.ask(pack, make.clone()) else {
        panic!("not made")
    };
    assert_eq!(rig.ask(pack, make), PackAnswer::Made { bytes });
    let whole = rig.whole(pack);
    assert_eq!(whole.len() as u64, bytes);
    assert_eq!(rig.unpack(&whole, session(2)), PackAnswer::Unpacked);
    // Asked again it says the same, and a folder that is there stays.
    let again = rig.ask(
        PackId::from_uuid(session(2).uuid()),
        PackAsk::Unpack { session: session(2) },
    );
    assert_eq!(again, PackAnswer::Unpacked);

    let target = rig.workspaces.session_path(session(2));
    assert_eq!(
        fs::read(target.join("a/b").join(&long)).unwrap().len(),
        3 * PACK_PIECE_BYTES + 5
    );
    let mode = |path: &str| fs::metadata(target.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run.sh"), mode("a/b")), (0o755, 0o500));
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert!(fs::read_link(target.join("long")).unwrap().ends_with("t".repeat(150)));
    let times = |root: &Path| fs::metadata(root.join("run.sh")).unwrap().modified().unwrap();
    let apart = times(&source).duration_since(times(&target)).unwrap();
    assert!(apart.as_secs() < 1, "whole seconds are kept: {apart:?}");

    assert_eq!(rig.ask(pack, PackAsk::Drop), PackAnswer::Dropped);
    assert!(matches!(
        rig.ask(pack, PackAsk::Read { offset: 0 }),
        PackAnswer::Failed { .. }
    ));
}

#[test]
fn a_session_without_a_folder_has_an_empty_pack() {
    let rig = Rig::new();
    let pack = PackId::from_uuid(Uuid::from_u128(9));
    let make = PackAsk::Make {
        session: session(1),
        workspace: Workspace::Session,
    };
    assert_eq!(rig.ask(pack, make), PackAnswer::Made { bytes: 0 });
    assert!(rig.whole(pack).is_empty());
}

fn archive(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().unwrap()
}

/// The library refuses to write such paths, so they are put into the header as they are.
fn entry(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, size: u64) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header.set_cksum();
    tar.append(&header, io::repeat(b'x').take(size)).unwrap();
}

use std::io::Read as _;

#[test]
fn hostile_archives_leave_nothing_behind() {
    let mut rig = Rig::new();
    rig.limits.copy_entries = 4;
    rig.limits.copy_bytes = 1000;
    let outside = rig.data.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let through_link = archive(|tar| {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, "out", &outside).unwrap();
        entry(tar, "out/file", EntryType::Regular, 1);
    });
    let claims_much = archive(|tar| {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..1].copy_from_slice(b"f");
        header.set_size(1 << 40);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
    });
    let cases = [
        (archive(|tar| entry(tar, "/etc/x", EntryType::Regular, 1)), "leads out"),
        (
            archive(|tar| entry(tar, "a/../../x", EntryType::Regular, 1)),
            "leads out",
        ),
        (through_link, ""),
        (archive(|tar| entry(tar, "hard", EntryType::Link, 0)), "neither a file"),
        (archive(|tar| entry(tar, "dev", EntryType::Block, 0)), "neither a file"),
        (archive(|tar| entry(tar, "fifo", EntryType::Fifo, 0)), "neither a file"),
        (
            archive(|tar| entry(tar, "big", EntryType::Regular, 1001)),
            "more than 1000 bytes",
        ),
        (claims_much, "more than 1000 bytes"),
        (
            archive(|tar| {
                for n in 0..5 {
                    entry(tar, &format!("f{n}"), EntryType::Regular, 0);
                }
            }),
            "more than 4 files",
        ),
        (
            archive(|tar| entry(tar, "x", EntryType::GNULongName, 5000)),
            "longer than",
        ),
        (
            archive(|tar| {
                entry(tar, "twice", EntryType::Regular, 0);
                entry(tar, "twice", EntryType::Regular, 0);
            }),
            "",
        ),
        (vec![0xff; 2048], ""),
        (
            archive(|tar| entry(tar, "cut", EntryType::Regular, 900))[..800].to_vec(),
            "",
        ),
    ];
    for (n, (bytes, said)) in cases.iter().enumerate() {
        let to = session(100 + n as u128);
        let PackAnswer::Failed { message } = rig.unpack(bytes, to) else {
            panic!("case {n} was unpacked")
        };
        assert!(message.contains(said), "case {n}: {message}");
        assert!(!rig.workspaces.session_path(to).exists());
        rig.ask(PackId::from_uuid(to.uuid()), PackAsk::Drop);
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(&rig.workspaces.root).unwrap().count(),
        0,
        "unfinished folders are gone"
    );
}

#[test]
fn pieces_are_bounded_and_leave_no_gap() {
    let mut rig = Rig::new();
    rig.limits.copy_bytes = 10;
    rig.limits.copy_entries = 0;
    let pack = PackId::from_uuid(Uuid::from_u128(9));
    let write = |offset, bytes: &[u8]| PackAsk::Write {
        offset,
        piece: STANDARD.encode(bytes),
    };
    assert_eq!(rig.ask(pack, write(0, b"12345")), PackAnswer::Written { bytes: 5 });
    for (offset, bytes) in [
        (6, &b"x"[..]),
        (5, b"123456"),
        (u64::MAX, b"x"),
        (0, &[0; PACK_PIECE_BYTES + 1]),
    ] {
        assert!(matches!(rig.ask(pack, write(offset, bytes)), PackAnswer::Failed { .. }));
    }
    let damaged = PackAsk::Write {
        offset: 5,
        piece: "?".into(),
    };
    assert!(matches!(rig.ask(pack, damaged), PackAnswer::Failed { .. }));
}
