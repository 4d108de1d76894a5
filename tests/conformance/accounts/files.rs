//! Files: found, listed and forgotten by their workspace alone.

use perennial_api::accounts::Listing;
use perennial_engine::ports::TimeBounds;
use perennial_schema::FileId;
use perennial_schema::file::File;
use uuid::Uuid;

use super::fixture::{Books, at, workspace};
use super::on_every_database;

on_every_database![a_file_comes_back_as_it_was_stored, files_are_listed_newest_first];

fn file(name: &str, micros: i64) -> File {
    File {
        id: FileId::from_uuid(Uuid::now_v7()),
        kind: "file".into(),
        filename: name.into(),
        mime_type: "text/plain".into(),
        size_bytes: 1 << 40,
        created_at: at(micros),
        downloadable: true,
        sha256: "abc".into(),
    }
}

async fn a_file_comes_back_as_it_was_stored(books: Books) {
    let (accounts, owner) = (&books.accounts, books.workspace);
    let stored = file("Grüße \"x\".txt", 3);
    let made = accounts.create_file(owner, stored.clone(), None).await.unwrap();
    assert_eq!(made.resource, stored);
    assert_eq!(accounts.file(owner, stored.id).await.unwrap(), Some(stored.clone()));
    assert_eq!(accounts.file(workspace(), stored.id).await.unwrap(), None);
    assert!(!accounts.delete_file(workspace(), stored.id).await.unwrap());
    assert!(accounts.delete_file(owner, stored.id).await.unwrap());
    assert!(!accounts.delete_file(owner, stored.id).await.unwrap());
    assert_eq!(accounts.file(owner, stored.id).await.unwrap(), None);
}

async fn files_are_listed_newest_first(books: Books) {
    let (accounts, owner) = (&books.accounts, books.workspace);
    for (name, micros) in [("one", 1), ("three", 3), ("two", 2)] {
        accounts.create_file(owner, file(name, micros), None).await.unwrap();
    }
    accounts.create_file(workspace(), file("other", 9), None).await.unwrap();
    let listing = |cursor, limit| Listing {
        created: TimeBounds::default(),
        include_archived: false,
        cursor,
        limit,
    };
    let first = accounts.files(owner, listing(None, 2)).await.unwrap();
    let names: Vec<&str> = first.iter().map(|file| file.filename.as_str()).collect();
    assert_eq!(names, ["three", "two"]);
    let rest = accounts
        .files(owner, listing(Some((first[1].created_at, first[1].id)), 2))
        .await
        .unwrap();
    assert_eq!((rest.len(), rest[0].filename.as_str()), (1, "one"));
}
