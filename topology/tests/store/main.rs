//! The store's contract: every case runs on the memory store and on a real etcd, so that what is
//! proved with the one holds with the other. And what etcd alone can do: fall silent, ask who we
//! are, and take a follower through its restarts.
// Clippy lets code under this unwrap, and helpers of tests otherwise not.
#![cfg(test)]

mod failures;
mod following;
mod leases;
mod limits;
mod listing;
mod subject;
mod transactions;
mod watching;

/// Makes each case a test on either store.
macro_rules! on_both_stores {
    ($($case:ident,)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::subject::Subject::memory()).await;
            })*
        }
        mod etcd {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::subject::Subject::etcd().await).await;
            })*
        }
    };
}
use on_both_stores;
