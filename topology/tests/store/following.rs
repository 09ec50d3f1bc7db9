//! A follower of a real etcd: restarts, compactions, and data that is not what it was.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use platform::{Shutdown, TaskGroup};
use tests::Etcd;
use tokio::time::{sleep, timeout};
use topology::records::{Head, encode};
use topology::store::{Committed, Entry, Error, LeaseId, Listing, Op, Revision, Store, Txn, Watch};
use topology::watch::{Backoff, Follower, View};
use topology::{Epoch, Group, GroupName, KeyType, Term, keys};

use crate::subject::{PATIENCE, applied, connect};

/// Long enough for a follower to have done what it must not do.
const A_WHILE: Duration = Duration::from_secs(3);

/// A running follower; ends with its value.
struct Following {
    view: View,
    shutdown: Shutdown,
    _tasks: TaskGroup,
}

impl Following {
    fn new(store: Arc<dyn Store>) -> Self {
        let (follower, view) = Follower::new(store, Backoff::default());
        let (shutdown, tasks) = (Shutdown::new(), TaskGroup::new());
        tasks.spawn("follower", follower.run(shutdown.clone()));
        Self {
            view,
            shutdown,
            _tasks: tasks,
        }
    }

    /// Every epoch adds a group with its number, so that one epoch is not another.
    async fn reaches(&self, epoch: u64) {
        let reached = timeout(PATIENCE, self.view.wait_for(Epoch(epoch))).await;
        let snapshot = reached.expect("the follower does not catch up");
        assert_eq!(snapshot.epoch(), Epoch(epoch));
        for number in 1..=epoch {
            assert!(snapshot.group(&group(number).name).is_some(), "{number}");
        }
    }

    async fn is_connected(&self, connected: bool) {
        let changed = async {
            while self.view.freshness().connected != connected {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, changed)
            .await
            .expect("the follower's connection stays as it was");
    }

    async fn stays_at(&self, epoch: u64) {
        self.is_connected(false).await;
        sleep(A_WHILE).await;
        assert_eq!(self.view.snapshot().epoch(), Epoch(epoch));
        assert!(!self.view.freshness().connected);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

fn group(number: u64) -> Group {
    let name = GroupName::try_new(&format!("g{number}")).unwrap();
    let key_type = KeyType::Uuid;
    Group { name, key_type }
}

/// Writes an epoch as a leader of a term does.
async fn write(store: &dyn Store, epoch: u64, term: u64) -> Revision {
    let group = group(epoch);
    let (epoch, term) = (Epoch(epoch), Term(term));
    let ops = vec![
        Op::put(keys::group(&group.name), encode(&group)),
        Op::put(keys::HEAD, encode(&Head { epoch, term })),
    ];
    let compares = Vec::new();
    applied(store.commit(Txn { compares, ops }).await)
}

/// A store that can be exchanged under its user, as a data folder under etcd, and that can begin
/// its next watch too early.
#[derive(Debug)]
struct Exchangeable {
    inner: Mutex<Arc<dyn Store>>,
    watch_from: Mutex<Option<Revision>>,
}

impl Exchangeable {
    fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(inner),
            watch_from: Mutex::default(),
        })
    }

    fn inner(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.lock().unwrap())
    }

    fn exchange(&self, inner: Arc<dyn Store>) {
        *self.inner.lock().unwrap() = inner;
    }
}

#[async_trait]
impl Store for Exchangeable {
    async fn read(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.inner().read(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        self.inner().list(prefix).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.inner().commit(txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let earlier = self.watch_from.lock().unwrap().take();
        self.inner().watch(prefix, earlier.unwrap_or(from)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.inner().grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner().keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner().revoke(lease).await
    }
}

#[tokio::test]
async fn a_follower_outlives_a_killed_etcd() {
    let mut server = Etcd::start().await.unwrap();
    let store = Arc::new(connect(&server));
    let following = Following::new(Arc::clone(&store) as Arc<dyn Store>);
    timeout(PATIENCE, following.view.loaded()).await.unwrap();
    write(store.as_ref(), 1, 1).await;
    following.reaches(1).await;
    for epoch in 2..4 {
        server.kill().await.unwrap();
        following.is_connected(false).await;
        assert_eq!(following.view.snapshot().epoch(), Epoch(epoch - 1));
        server.restart().await.unwrap();
        write(store.as_ref(), epoch, 1).await;
        following.reaches(epoch).await;
        following.is_connected(true).await;
    }
}

#[tokio::test]
async fn a_follower_finds_out_that_etcd_is_frozen_and_goes_on_after_it() {
    let server = Etcd::start().await.unwrap();
    let store = Arc::new(connect(&server));
    write(store.as_ref(), 1, 1).await;
    let following = Following::new(Arc::clone(&store) as Arc<dyn Store>);
    following.reaches(1).await;
    server.pause().unwrap();
    following.is_connected(false).await;
    server.resume().unwrap();
    following.is_connected(true).await;
    write(store.as_ref(), 2, 1).await;
    following.reaches(2).await;
}

#[tokio::test]
async fn a_follower_recovers_from_a_watch_behind_the_compaction() {
    let mut server = Etcd::start().await.unwrap();
    let store = Arc::new(connect(&server));
    write(store.as_ref(), 1, 1).await;
    let exchangeable = Exchangeable::new(Arc::clone(&store) as Arc<dyn Store>);
    let following = Following::new(Arc::clone(&exchangeable) as Arc<dyn Store>);
    following.reaches(1).await;
    let newest = write(store.as_ref(), 2, 1).await;
    following.reaches(2).await;
    store.compact(newest).await.unwrap();
    *exchangeable.watch_from.lock().unwrap() = Some(Revision(1));
    server.kill().await.unwrap();
    following.is_connected(false).await;
    server.restart().await.unwrap();
    following.is_connected(true).await;
    write(store.as_ref(), 3, 1).await;
    following.reaches(3).await;
    assert_eq!(*exchangeable.watch_from.lock().unwrap(), None);
}

#[tokio::test]
async fn an_etcd_with_no_data_or_older_data_takes_nothing_away() {
    let mut server = Etcd::start().await.unwrap();
    let store = Arc::new(connect(&server));
    for epoch in 1..=3 {
        write(store.as_ref(), epoch, 1).await;
    }
    let exchangeable = Exchangeable::new(Arc::clone(&store) as Arc<dyn Store>);
    let following = Following::new(Arc::clone(&exchangeable) as Arc<dyn Store>);
    following.reaches(3).await;
    let replacement = Etcd::start().await.unwrap();
    let other = Arc::new(connect(&replacement));
    exchangeable.exchange(Arc::clone(&other) as Arc<dyn Store>);
    server.kill().await.unwrap();
    following.stays_at(3).await;
    for epoch in 1..=2 {
        write(other.as_ref(), epoch, 2).await;
    }
    following.stays_at(3).await;
    // The same epoch with one record more is another topology.
    write(other.as_ref(), 3, 2).await;
    let unequal = group(99);
    let stray = Op::put(keys::group(&unequal.name), encode(&unequal));
    let compares = Vec::new();
    let ops = vec![stray];
    applied(other.commit(Txn { compares, ops }).await);
    following.stays_at(3).await;
    // Its leader brings it past the epoch that was published, and all of it counts.
    write(other.as_ref(), 4, 2).await;
    following.reaches(4).await;
    assert!(following.view.snapshot().group(&unequal.name).is_some());
    following.is_connected(true).await;
}
