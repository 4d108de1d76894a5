//! Mail: sent once, handed over in order, received by one at a time, and never lost without a word.

mod changes;
mod fixture;
mod handed;
mod queues;
mod sending;
mod tasks;

/// Makes a test of each case on each store.
macro_rules! on_every_post {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::mail::fixture::Desk::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::mail::fixture::Desk::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(desk) = crate::mail::fixture::Desk::postgres().await {
                    super::$case(desk).await;
                }
            })*
        }
    };
}
use on_every_post;
