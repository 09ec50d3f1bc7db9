//! One loss or one wrong at a time: what stays published, and how the follower comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::faulty::{Faulty, ListFault, WatchFault};
use super::writer::{Writer, id, shard};
use super::{Following, PATIENCE};
use crate::records::encode;
use crate::store::{MemoryStore, Op};
use crate::watch::{LoadError, load};
use crate::{Epoch, Term, keys};

/// A follower that has published the writer's first two epochs.
async fn following() -> (Writer, Following) {
    let store = MemoryStore::new();
    let mut writer = Writer::new(store.clone());
    writer.add("a").await;
    let following = Following::new(Arc::new(store));
    following.reaches(Epoch(1)).await;
    writer.add("b").await;
    following.reaches(Epoch(2)).await;
    (writer, following)
}

/// As [`following`], over a store that can be exchanged or lie.
async fn following_faulty() -> (Writer, Faulty, Following) {
    let store = MemoryStore::new();
    let mut writer = Writer::new(store.clone());
    let faulty = Faulty::new(store);
    writer.add("a").await;
    let following = Following::new(Arc::new(faulty.clone()));
    following.reaches(Epoch(1)).await;
    writer.add("b").await;
    following.reaches(Epoch(2)).await;
    (writer, faulty, following)
}

/// The follower goes on with the writer's next change.
async fn goes_on(writer: &mut Writer, following: &Following) {
    let epoch = writer.add("z").await;
    assert_eq!(*following.reaches(epoch).await, *writer.newest());
    sleep(PATIENCE).await;
    assert!(following.is_connected());
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_is_a_topology_at_epoch_zero() {
    let store = MemoryStore::new();
    let following = Following::new(Arc::new(store.clone()));
    tokio::time::timeout(PATIENCE, following.view.loaded())
        .await
        .unwrap();
    assert_eq!(following.stays().await.epoch(), Epoch(0));
    assert!(following.is_connected());
    goes_on(&mut Writer::new(store), &following).await;
}

#[tokio::test(start_paused = true)]
async fn each_change_is_published_as_it_was_written() {
    let (mut writer, following) = following().await;
    for choice in 0..=255 {
        let epoch = writer.change(choice).await;
        assert_eq!(*following.reaches(epoch).await, *writer.newest());
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_its_store_serves_the_last_epoch_and_catches_up() {
    let (mut writer, following) = following().await;
    writer.store.set_reachable(false);
    assert_eq!(*following.stays().await, *writer.newest());
    assert!(!following.is_connected());
    assert!(following.view.freshness().age.unwrap() >= PATIENCE - Duration::from_secs(1));
    writer.store.set_reachable(true);
    sleep(PATIENCE).await;
    assert!(following.is_connected());
    assert!(following.view.freshness().age.unwrap() <= Duration::from_secs(1));
    goes_on(&mut writer, &following).await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_were_compacted_meanwhile_are_loaded() {
    let (mut writer, faulty, following) = following_faulty().await;
    // The store is away while changes come and are forgotten.
    let away = MemoryStore::new();
    away.set_reachable(false);
    faulty.replace(&away);
    sleep(PATIENCE).await;
    for choice in 0..20 {
        writer.change(choice).await;
    }
    writer.store.compact(writer.store.revision());
    faulty.replace(&writer.store);
    assert_eq!(*following.reaches(writer.epoch()).await, *writer.newest());
    goes_on(&mut writer, &following).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_behind_the_compaction_is_begun_anew() {
    let (mut writer, faulty, following) = following_faulty().await;
    writer.store.drop_watches();
    sleep(PATIENCE).await;
    // The head is read before two changes, and the watch begun after their compaction.
    faulty.fail_list(ListFault::Stale);
    writer.add("c").await;
    writer.add("d").await;
    writer.store.compact(writer.store.revision());
    writer.store.drop_watches();
    assert_eq!(*following.reaches(writer.epoch()).await, *writer.newest());
    goes_on(&mut writer, &following).await;
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_are_begun_anew_and_nothing_is_left_out() {
    let (mut writer, following) = following().await;
    for choice in 0..50 {
        writer.store.drop_watches();
        let epoch = writer.change(choice).await;
        assert_eq!(*following.reaches(epoch).await, *writer.newest());
    }
}

#[tokio::test(start_paused = true)]
async fn batches_that_are_lost_doubled_or_out_of_order_are_made_up_for() {
    for fault in [
        WatchFault::Drop,
        WatchFault::Duplicate,
        WatchFault::Delay,
        WatchFault::Split,
        WatchFault::End,
        WatchFault::Compacted,
    ] {
        let (mut writer, faulty, following) = following_faulty().await;
        faulty.fail_watch(fault);
        writer.add("c").await;
        let epoch = writer.add("d").await;
        assert_eq!(
            *following.reaches(epoch).await,
            *writer.newest(),
            "{fault:?}"
        );
        goes_on(&mut writer, &following).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_without_a_new_head_is_not_published() {
    let (mut writer, following) = following().await;
    let stray = shard("stray");
    let before = writer.newest().clone();
    writer
        .commit(vec![Op::put(keys::shard(&stray.id), encode(&stray))])
        .await;
    assert_eq!(*following.stays().await, before);
    assert!(!following.is_connected());
    writer
        .commit(vec![Op::delete(keys::shard(&stray.id))])
        .await;
    goes_on(&mut writer, &following).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_not_passed_over() {
    let later = format!("{}plans/p1", keys::TOPOLOGY);
    for (key, value) in [
        (keys::shard(&id("c")), "not JSON"),
        (keys::shard(&id("c")), "{\"v\":2}"),
        (later, "{\"v\":1}"),
    ] {
        let (mut writer, following) = following().await;
        let before = writer.newest().clone();
        let head = writer.head(Epoch(3));
        writer
            .commit(vec![
                Op::put(key.clone(), Bytes::from_static(value.as_bytes())),
                head,
            ])
            .await;
        assert_eq!(*following.stays().await, before, "{key} {value}");
        assert!(!following.is_connected());
        let head = writer.head(Epoch(2));
        writer.commit(vec![Op::delete(key), head]).await;
        goes_on(&mut writer, &following).await;
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_do_not_fit_together_are_not_published() {
    let (mut writer, following) = following().await;
    let before = writer.newest().clone();
    let a = keys::shard(&id("a"));
    let shard_a = encode(before.shard(before.index_of(&id("a")).unwrap()).unwrap());
    // The shard goes, its vnodes stay.
    writer
        .commit(vec![Op::delete(a.clone()), writer.head(Epoch(3))])
        .await;
    assert_eq!(*following.stays().await, before);
    writer
        .commit(vec![Op::put(a, shard_a), writer.head(Epoch(2))])
        .await;
    goes_on(&mut writer, &following).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_gone_or_at_the_end_of_all_epochs_is_not_followed() {
    let (mut writer, following) = following().await;
    writer.commit(vec![Op::delete(keys::HEAD)]).await;
    assert_eq!(*following.stays().await, *writer.newest());
    assert!(!following.is_connected());
    writer.commit(vec![writer.head(Epoch(2))]).await;
    goes_on(&mut writer, &following).await;
    // Nothing can follow this one, and nothing panics over it.
    writer.commit(vec![writer.head(Epoch(u64::MAX))]).await;
    following.reaches(Epoch(u64::MAX)).await;
    writer.commit(vec![writer.head(Epoch(u64::MAX))]).await;
    assert_eq!(following.stays().await.epoch(), Epoch(u64::MAX));
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_skips_some_is_loaded_whole() {
    let (mut writer, following) = following().await;
    let skipped = writer.newest().clone();
    writer.commit(vec![writer.head(Epoch(9))]).await;
    let found = following.reaches(Epoch(9)).await;
    assert_eq!(found.shards(), skipped.shards());
    while writer.epoch() < Epoch(9) {
        writer.add("c").await;
    }
    goes_on(&mut writer, &following).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_empty_takes_nothing_away() {
    let (mut writer, faulty, following) = following_faulty().await;
    let before = writer.newest().clone();
    let empty = MemoryStore::new();
    faulty.replace(&empty);
    assert_eq!(*following.stays().await, before);
    assert!(!following.is_connected());
    assert!(following.view.freshness().age.unwrap() >= PATIENCE - Duration::from_secs(1));
    // A new history has to pass the published epoch before it counts.
    let mut other = Writer::new(empty);
    other.add("x").await;
    other.add("y").await;
    assert_eq!(*following.stays().await, before);
    goes_on(&mut other, &following).await;
    faulty.replace(&writer.store);
    assert_eq!(*following.stays().await, *other.newest());
    assert!(!following.is_connected());
    writer.add("c").await;
    goes_on(&mut writer, &following).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_older_takes_nothing_away() {
    let (mut writer, faulty, following) = following_faulty().await;
    let mut older = Writer::new(MemoryStore::new());
    older.add("a").await;
    faulty.replace(&older.store);
    assert_eq!(*following.stays().await, *writer.newest());
    assert!(!following.is_connected());
    faulty.replace(&writer.store);
    goes_on(&mut writer, &following).await;
}

/// A backup goes on from its own revision: the head of another history can stand at the very
/// revision and epoch of the one that was published.
#[tokio::test(start_paused = true)]
async fn a_store_with_another_history_of_the_same_length_is_not_taken_for_the_same() {
    let (writer, faulty, following) = following_faulty().await;
    let mut other = Writer::new(MemoryStore::new());
    other.term = Term(2);
    other.add("a").await;
    other.add("other").await;
    assert_eq!(other.store.revision(), writer.store.revision());
    faulty.replace(&other.store);
    assert_eq!(*following.stays().await, *writer.newest());
    assert!(!following.is_connected());
    goes_on(&mut other, &following).await;
}

#[tokio::test(start_paused = true)]
async fn records_without_a_head_are_not_a_topology() {
    let mut writer = Writer::new(MemoryStore::new());
    assert_eq!(load(&writer.store).await.unwrap().head, None);
    writer.add("a").await;
    let loaded = load(&writer.store).await.unwrap();
    assert_eq!((loaded.epoch(), loaded.term()), (Epoch(1), Term(1)));
    assert_eq!(loaded.head_mod_revision, writer.store.revision());
    assert_eq!(loaded.snapshot().unwrap(), *writer.newest());
    writer.commit(vec![Op::delete(keys::HEAD)]).await;
    assert!(matches!(load(&writer.store).await, Err(LoadError::NoHead)));
    let following = Following::new(Arc::new(writer.store.clone()));
    assert_eq!(following.stays().await.epoch(), Epoch(0));
    assert!(!following.view.is_loaded());
}
