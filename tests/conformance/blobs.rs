//! What every blob store must do (I16).

use std::sync::Arc;

use bytes::Bytes;
use perennial_broker::blobs::{files::Files, memory::Memory};
use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_engine::ports::{Blobs, StoreError};

use crate::fixture::workspace;

/// Makes a test of each case on each store.
macro_rules! on_every_blob_store {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() { super::$case(std::sync::Arc::new(super::Memory::default())).await; })*
        }
        mod files {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let files = super::Files::open(&dir.path().join("blobs")).unwrap();
                super::$case(std::sync::Arc::new(files)).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                let Some(url) = crate::fixture::database().await else { return };
                let store = super::Postgres::open(&url, super::Settings::default()).await.unwrap();
                super::$case(std::sync::Arc::new(store.blobs())).await;
            })*
        }
    };
}

on_every_blob_store![
    bytes_come_back_under_their_hash,
    the_same_bytes_are_one_blob,
    what_is_no_hash_is_not_there,
    a_stranger_sees_nothing,
    concurrent_puts_agree,
];

async fn bytes_come_back_under_their_hash(blobs: Arc<dyn Blobs>) {
    let workspace = workspace();
    for bytes in [
        Bytes::from_static(b""),
        Bytes::from_static(b"a\0b\xff"),
        Bytes::from(vec![7; 3 << 20]),
    ] {
        let name = blobs.put(workspace, bytes.clone()).await.unwrap();
        assert_eq!(name.len(), 64);
        assert_eq!(blobs.get(workspace, &name).await.unwrap(), Some(bytes));
    }
    let abc = blobs.put(workspace, Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(abc, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

async fn the_same_bytes_are_one_blob(blobs: Arc<dyn Blobs>) {
    let workspace = workspace();
    let one = blobs.put(workspace, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(blobs.put(workspace, Bytes::from_static(b"x")).await.unwrap(), one);
    assert!(blobs.get(workspace, &one).await.unwrap().is_some());
}

async fn what_is_no_hash_is_not_there(blobs: Arc<dyn Blobs>) {
    let long = "../".repeat(22);
    for name in ["", "..", "/etc/passwd", &"a".repeat(64), &"A".repeat(64), &long[..64]] {
        assert_eq!(blobs.get(workspace(), name).await.unwrap(), None, "{name}");
    }
}

async fn a_stranger_sees_nothing(blobs: Arc<dyn Blobs>) {
    let name = blobs.put(workspace(), Bytes::from_static(b"secret")).await.unwrap();
    assert_eq!(blobs.get(workspace(), &name).await.unwrap(), None);
}

async fn concurrent_puts_agree(blobs: Arc<dyn Blobs>) {
    let workspace = workspace();
    let bytes = Bytes::from(vec![9; 100_000]);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (blobs, bytes) = (Arc::clone(&blobs), bytes.clone());
            tokio::spawn(async move { blobs.put(workspace, bytes).await.unwrap() })
        })
        .collect();
    for task in tasks {
        let name = task.await.unwrap();
        assert_eq!(blobs.get(workspace, &name).await.unwrap(), Some(bytes.clone()));
    }
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path()).unwrap();
    let workspace = workspace();
    let name = files.put(workspace, Bytes::from_static(b"abc")).await.unwrap();
    let path = dir.path().join(workspace.to_string()).join(&name[..2]).join(&name);
    std::fs::write(path, b"abd").unwrap();
    let told = files.get(workspace, &name).await;
    assert!(
        matches!(&told, Err(StoreError::Inconsistent { table: "blobs", key, .. }) if *key == name),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_file_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path()).unwrap();
    let workspace = workspace();
    files.put(workspace, Bytes::from(vec![1; 1 << 20])).await.unwrap();
    let mut stack = vec![dir.path().to_owned()];
    let mut sizes = Vec::new();
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                stack.push(entry.path());
            } else {
                sizes.push(entry.metadata().unwrap().len());
            }
        }
    }
    assert_eq!(sizes, [1 << 20], "no temporary file is left");
}
