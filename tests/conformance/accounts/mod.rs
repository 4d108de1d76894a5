//! Accounts on every database. A case takes an empty one.

mod agents;
mod cancelled;
mod environments;
mod faults;
mod files;
mod fixture;
mod keys;
mod requests;

/// Makes a test of each case on each database.
macro_rules! on_every_database {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::accounts::fixture::Books::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(books) = crate::accounts::fixture::Books::postgres().await {
                    super::$case(books).await;
                }
            })*
        }
    };
}
use on_every_database;
