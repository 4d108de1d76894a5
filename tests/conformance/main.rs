//! One suite per port, run on every backend. A case takes a fresh rig and knows nothing of what is behind it; a new backend
//! is one more line in [`on_every_store`].

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod bus;
#[cfg(test)]
mod executors;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod log;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod meter;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod work;

/// Makes a test of each case on each store.
#[cfg(test)]
macro_rules! on_every_store {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::fixture::Rig::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::fixture::Rig::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(rig) = crate::fixture::Rig::postgres().await {
                    super::$case(rig).await;
                }
            })*
        }
    };
}
#[cfg(test)]
pub(crate) use on_every_store;
