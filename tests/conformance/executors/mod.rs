//! The registry: codes that work once, tokens, and which connection counts.

mod codes;
mod connections;
mod fixture;
mod hosts;
mod records;
mod sandboxes;

/// Makes a test of each case on each store.
macro_rules! on_every_registry {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::executors::fixture::Desk::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::executors::fixture::Desk::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(desk) = crate::executors::fixture::Desk::postgres().await {
                    super::$case(desk).await;
                }
            })*
        }
    };
}
use on_every_registry;
