//! What readers of a view may wait for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::writer::Writer;
use super::{Following, PATIENCE, View};
use crate::store::MemoryStore;
use crate::{Epoch, Parts, Snapshot};

#[tokio::test(start_paused = true)]
async fn a_view_says_when_it_was_loaded_and_not_before() {
    let store = MemoryStore::new();
    store.set_reachable(false);
    let following = Following::new(Arc::new(store.clone()));
    assert!(timeout(PATIENCE, following.view.loaded()).await.is_err());
    assert!(!following.view.is_loaded());
    assert_eq!(following.view.freshness().age, None);
    store.set_reachable(true);
    timeout(PATIENCE, following.view.loaded()).await.unwrap();
    assert!(following.view.is_loaded());
    assert!(following.view.last_confirmed().is_some());
}

#[tokio::test(start_paused = true)]
async fn each_clone_of_a_view_hears_of_changes_since_it_last_asked() {
    let store = MemoryStore::new();
    let mut writer = Writer::new(store.clone());
    let following = Following::new(Arc::new(store));
    let mut early = following.view.clone();
    writer.add("a").await;
    assert_eq!(timeout(PATIENCE, early.changed()).await, Ok(Epoch(1)));
    let mut late = early.clone();
    assert!(timeout(PATIENCE, early.changed()).await.is_err());
    writer.add("b").await;
    writer.add("c").await;
    following.reaches(Epoch(3)).await;
    for view in [&mut early, &mut late] {
        assert_eq!(timeout(PATIENCE, view.changed()).await, Ok(Epoch(3)));
        assert!(timeout(PATIENCE, view.changed()).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_ends_with_its_process_and_its_view_remains() {
    let store = MemoryStore::new();
    let mut writer = Writer::new(store.clone());
    let following = Following::new(Arc::new(store));
    writer.add("a").await;
    following.reaches(Epoch(1)).await;
    following.shutdown.request();
    following.tasks.wait(Duration::from_secs(1)).await.unwrap();
    assert!(!following.is_connected());
    writer.add("b").await;
    assert_eq!(following.stays().await.epoch(), Epoch(1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_store_confirms_the_snapshot_again_and_again() {
    let following = Following::new(Arc::new(MemoryStore::new()));
    for _ in 0..20 {
        sleep(PATIENCE / 7).await;
        assert!(following.view.freshness().age.unwrap() < Duration::from_secs(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fixed_view_shows_its_snapshot_and_counts_as_connected() {
    let snapshot = Snapshot::try_new(Epoch(7), Parts::default()).unwrap();
    let view = View::fixed(snapshot.clone());
    assert_eq!(*view.snapshot(), snapshot);
    assert!(view.is_loaded() && view.freshness().connected);
    assert_eq!(view.wait_for(Epoch(7)).await.epoch(), Epoch(7));
}

#[tokio::test(start_paused = true)]
async fn a_view_takes_nothing_back_whoever_asks() {
    let at = |epoch| Snapshot::try_new(Epoch(epoch), Parts::default()).unwrap();
    let view = View::fixed(at(7));
    assert!(!view.publish(at(6)));
    assert!(!view.publish(at(7)));
    assert_eq!(view.snapshot().epoch(), Epoch(7));
    assert!(view.publish(at(8)));
    assert_eq!(view.snapshot().epoch(), Epoch(8));
}
