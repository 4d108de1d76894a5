//! The meter: budgets that hold under any concurrency, sessions that rest for them, virtual keys, traces and their sums.

mod budgets;
mod crowds;
mod fixture;
mod holds;
mod keys;
mod traces;

/// Makes a test of each case on each store.
macro_rules! on_every_meter {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::meter::fixture::Desk::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::meter::fixture::Desk::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(desk) = crate::meter::fixture::Desk::postgres().await {
                    super::$case(desk).await;
                }
            })*
        }
    };
}
use on_every_meter;
