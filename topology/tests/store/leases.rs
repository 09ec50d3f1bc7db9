//! Leases: keys that live and die with them.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use topology::store::{Error, Event, LeaseId, Op};

use crate::subject::{Subject, after, changes, put};

crate::on_both_stores! {
    a_lease_that_is_not_kept_alive_takes_its_keys_with_it,
    a_lease_that_is_kept_alive_outlives_its_time,
    a_revoked_lease_takes_its_keys_with_it_at_one_revision,
    a_key_belongs_to_the_lease_of_its_last_write,
    a_lease_that_is_gone_cannot_be_kept_alive_and_may_be_revoked_again,
}

const TTL: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(600);

async fn a_lease_that_is_not_kept_alive_takes_its_keys_with_it(store: &Subject) {
    let granted_at = Instant::now();
    let lease = store.grant(TTL).await.unwrap();
    store.put("/stays", "1").await;
    let written = store.put_leased("/k/a", lease).await;
    let mut watch = store.watch_from("/k/", after(written)).await;
    let batch = changes(watch.as_mut()).await.unwrap();
    let lived = granted_at.elapsed();
    let key = "/k/a".to_owned();
    assert_eq!(batch.events, [Event::Delete { key }]);
    assert!(batch.revision > written);
    assert!(lived >= TTL, "the lease lived for {lived:?}");
    assert_eq!(store.value("/k/a").await, None);
    assert!(store.value("/stays").await.is_some());
    let answer = store.keep_alive(lease).await;
    assert!(matches!(answer, Err(Error::LeaseExpired)), "{answer:?}");
}

async fn a_lease_that_is_kept_alive_outlives_its_time(store: &Subject) {
    let lease = store.grant(TTL).await.unwrap();
    store.put_leased("/k/a", lease).await;
    let begun = Instant::now();
    while begun.elapsed() < 2 * TTL {
        store.keep_alive(lease).await.unwrap();
        sleep(TTL / 5).await;
    }
    assert!(store.value("/k/a").await.is_some());
    store.keep_alive(lease).await.unwrap();
}

async fn a_revoked_lease_takes_its_keys_with_it_at_one_revision(store: &Subject) {
    let lease = store.grant(LONG).await.unwrap();
    let other = store.grant(LONG).await.unwrap();
    assert_ne!(lease, other);
    store.put_leased("/k/a", lease).await;
    store.put_leased("/k/b", lease).await;
    let written = store.put_leased("/k/c", other).await;
    store.revoke(lease).await.unwrap();
    let mut watch = store.watch_from("/k/", after(written)).await;
    let batch = changes(watch.as_mut()).await.unwrap();
    let mut removed: Vec<_> = batch.events.iter().map(Event::key).collect();
    removed.sort_unstable();
    assert_eq!(removed, ["/k/a", "/k/b"]);
    assert_eq!(store.revision().await, batch.revision);
    assert_eq!(store.value("/k/a").await, None);
    assert!(store.value("/k/c").await.is_some());
}

async fn a_key_belongs_to_the_lease_of_its_last_write(store: &Subject) {
    let (first, second) = (
        store.grant(LONG).await.unwrap(),
        store.grant(LONG).await.unwrap(),
    );
    for key in ["/k/freed", "/k/passed_on", "/k/renewed"] {
        store.put_leased(key, first).await;
    }
    let passed_on = Op::put_leased("/k/passed_on", "2", second);
    store.apply([put("/k/freed", "2"), passed_on]).await;
    // Removed and written anew, a key has forgotten its lease.
    store.apply([Op::delete("/k/renewed")]).await;
    store.put("/k/renewed", "2").await;
    store.revoke(first).await.unwrap();
    assert_eq!(store.list("/k/").await.unwrap().entries.len(), 3);
    store.revoke(second).await.unwrap();
    assert_eq!(store.value("/k/passed_on").await, None);
    assert_eq!(store.list("/k/").await.unwrap().entries.len(), 2);
}

async fn a_lease_that_is_gone_cannot_be_kept_alive_and_may_be_revoked_again(store: &Subject) {
    let lease = store.grant(LONG).await.unwrap();
    let before = store.revision().await;
    for lease in [lease, lease, LeaseId(4711)] {
        store.revoke(lease).await.unwrap();
        let answer = store.keep_alive(lease).await;
        assert!(matches!(answer, Err(Error::LeaseExpired)), "{answer:?}");
    }
    // A lease without keys comes and goes unseen.
    assert_eq!(store.revision().await, before);
}
