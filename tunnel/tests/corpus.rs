//! The fuzz target's corpus in the normal run: each file as it is, and many times spoiled.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "../fuzz/check.rs"]
mod check;

use std::path::Path;

use check::check;

/// Spoiled copies of each file.
const SPOILED: usize = 200;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/frames");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// What each file is, is in its name: frames to executors, frames from them, what is said first on a stream, or none of these.
#[test]
fn every_file_is_read_as_what_it_is() {
    let (mut to, mut from, mut hostile, mut stream) = (0, 0, 0, 0);
    for (name, bytes) in corpus() {
        let read = check(&bytes);
        match name.split('-').next() {
            Some("to") => assert!(read.to > 0, "{name}: {read:?}"),
            Some("from") => assert!(read.from > 0, "{name}: {read:?}"),
            Some("opening") => assert!(read.openings > 0, "{name}: {read:?}"),
            Some("answer" | "word") => assert!(read.answers > 0, "{name}: {read:?}"),
            Some("hostile") => assert_eq!(
                (read.to, read.from, read.openings, read.answers),
                (0, 0, 0, 0),
                "{name}"
            ),
            // Found by the fuzzer.
            _ => continue,
        }
        match &name[..2] {
            "to" => to += 1,
            "fr" => from += 1,
            "ho" => hostile += 1,
            _ => stream += 1,
        }
    }
    assert!(
        to >= 10 && from >= 8 && hostile >= 8 && stream >= 9,
        "{to} {from} {hostile} {stream}"
    );
}

#[test]
fn nothing_that_is_spoiled_does_harm() {
    let mut seed = 11_u64;
    let mut random = move |most: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % most.max(1)
    };
    let files = corpus();
    let (mut read, mut refused) = (0, 0);
    for (_, bytes) in &files {
        for _ in 0..SPOILED {
            let mut spoiled = bytes.clone();
            for _ in 0..=random(3) {
                let at = random(spoiled.len());
                match random(5) {
                    0 => spoiled.truncate(at),
                    1 => {
                        if let Some(byte) = spoiled.get_mut(at) {
                            *byte ^= 1 << random(8);
                        }
                    }
                    2 => {
                        if let Some(byte) = spoiled.get_mut(at) {
                            *byte = u8::try_from(random(256)).expect("a byte");
                        }
                    }
                    3 => {
                        let (_, other) = &files[random(files.len())];
                        spoiled.truncate(at);
                        spoiled.extend_from_slice(&other[random(other.len())..]);
                    }
                    _ => {
                        let piece = spoiled[at..].to_vec();
                        spoiled.extend_from_slice(&piece);
                    }
                }
                // As it grows with each piece that is said twice.
                spoiled.truncate(1 << 16);
            }
            let whole = check(&spoiled);
            if whole.to + whole.from + whole.openings + whole.answers > 0 {
                read += 1;
            } else {
                refused += 1;
            }
        }
    }
    println!(
        "{} files, {read} spoiled copies still began with a frame, {refused} did not",
        files.len()
    );
    assert!(read > 0 && refused > 0);
}
