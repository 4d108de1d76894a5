//! Frozen logs: one file per released shape, kept for ever. Every build folds them all to the state that is stored beside
//! them (I8); a change of the fold that changes a state must be meant, and raises `FOLD_VERSION`.
//!
//! `UPDATE_HISTORIES=1 cargo test -p perennial-tests --test histories` rewrites the states.

#![expect(clippy::expect_used, reason = "a history that cannot be read should stop the build")]

use std::path::{Path, PathBuf};

use perennial_engine::kernel::{FOLD_VERSION, State};
use perennial_schema::Timestamp;
use perennial_schema::event::{Raw, Record};
use serde::Deserialize;
use serde_json::{Value, json};

/// A line of a history: a record with its private part, which no API shows.
#[derive(Deserialize)]
struct Line {
    seq: u64,
    id: perennial_schema::EventId,
    #[serde(rename = "type")]
    kind: String,
    turn: u64,
    created_at: Timestamp,
    payload: Raw,
    private: Option<Raw>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("histories")
}

fn read(path: &Path) -> Vec<Record> {
    let text = std::fs::read_to_string(path).expect("a history");
    let record = |line: &str| {
        let line: Line = serde_json::from_str(line).expect("a line of a history");
        Record {
            seq: line.seq,
            id: line.id,
            kind: line.kind,
            turn: line.turn,
            actor: None,
            thread_id: None,
            created_at: line.created_at,
            payload: line.payload.text().to_owned(),
            private: line.private.map(|private| private.text().to_owned()),
        }
    };
    text.lines().map(record).collect()
}

#[test]
fn every_history_folds_to_its_state() {
    let mut checked = 0;
    for entry in std::fs::read_dir(folder()).expect("the folder of histories").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let events: Vec<_> = read(&path)
            .iter()
            .map(|record| record.decode().expect("a record decodes"))
            .collect();
        let state = State::default().fold(&events);
        let found = json!({"fold_version": FOLD_VERSION, "state": state, "messages": state.render().len()});
        let stored = path.with_extension("state.json");
        if std::env::var_os("UPDATE_HISTORIES").is_some() {
            let text = serde_json::to_string_pretty(&found).expect("JSON");
            std::fs::write(&stored, text + "\n").expect("the state can be written");
        }
        let text = std::fs::read_to_string(&stored).expect("a state beside the history");
        let expected: Value = serde_json::from_str(&text).expect("a state");
        assert_eq!(found, expected, "{}", path.display());
        checked += 1;
    }
    assert!(checked > 0, "no histories found");
}
