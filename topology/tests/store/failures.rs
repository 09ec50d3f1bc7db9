//! What is known of a request when the store is away: whether it may have been applied. On etcd
//! that is killed or frozen, and on the memory store that is told to fail.

use std::time::Duration;

use tests::Etcd;
use tokio::time::{Instant, timeout};
use topology::store::etcd::{Config, Credentials, InvalidConfig};
use topology::store::memory::CommitFault;
use topology::store::{Error, EtcdStore, MemoryStore, Op, Outcome, Revision, Store, Txn};

use crate::subject::{PATIENCE, applied, connect, put};

fn txn(op: Op) -> Txn {
    let compares = Vec::new();
    Txn {
        compares,
        ops: vec![op],
    }
}

fn store(endpoints: Vec<String>, timeout: Duration) -> EtcdStore {
    let credentials = None;
    EtcdStore::connect(Config {
        endpoints,
        timeout,
        credentials,
        tls: None,
    })
    .unwrap()
}

#[tokio::test]
async fn a_killed_etcd_applies_nothing_and_comes_back_with_everything() {
    let mut server = Etcd::start().await.unwrap();
    let store = connect(&server);
    let first = applied(store.commit(txn(put("/a", "1"))).await);
    let mut watch = store.watch("/", Revision(first.0 + 1)).await.unwrap();
    server.kill().await.unwrap();
    let ended = timeout(PATIENCE, async { while watch.next().await.is_ok() {} });
    ended.await.expect("the watch goes on without a server");
    let answer = store.commit(txn(put("/a", "2"))).await.unwrap_err();
    assert!(matches!(answer, Error::Unreachable(_)), "{answer:?}");
    assert_eq!(answer.outcome(), Outcome::NotApplied);
    assert!(matches!(store.read("/a").await, Err(Error::Unreachable(_))));
    assert!(matches!(store.list("/").await, Err(Error::Unreachable(_))));
    assert!(matches!(
        store.watch("/", first).await,
        Err(Error::Unreachable(_))
    ));
    server.restart().await.unwrap();
    let entry = store.read("/a").await.unwrap().unwrap();
    assert_eq!((entry.mod_revision, &entry.value[..]), (first, &b"1"[..]));
    applied(store.commit(txn(put("/a", "3"))).await);
}

#[tokio::test]
async fn a_frozen_etcd_leaves_the_outcome_open_within_the_timeout() {
    let server = Etcd::start().await.unwrap();
    let limit = Duration::from_secs(1);
    let store = store(vec![server.endpoint()], limit);
    applied(store.commit(txn(put("/a", "1"))).await);
    server.pause().unwrap();
    let begun = Instant::now();
    let answer = store.commit(txn(put("/a", "2"))).await.unwrap_err();
    assert_eq!(answer.outcome(), Outcome::MaybeApplied, "{answer:?}");
    let read = store.read("/a").await.unwrap_err();
    assert!(matches!(read, Error::Unreachable(_)), "{read:?}");
    assert!(begun.elapsed() < 3 * limit);
    server.resume().unwrap();
    let value = store.read("/a").await.unwrap().unwrap().value;
    assert!(value == "1" || value == "2");
}

#[tokio::test]
async fn a_watch_on_a_frozen_etcd_ends() {
    let server = Etcd::start().await.unwrap();
    let store = store(vec![server.endpoint()], Duration::from_secs(1));
    let mut watch = store.watch("/", Revision(1)).await.unwrap();
    server.pause().unwrap();
    let ended = timeout(PATIENCE, async { while watch.next().await.is_ok() {} });
    ended.await.expect("the watch waits for ever");
}

#[tokio::test]
async fn a_dead_member_is_passed_over() {
    let mut dead = Etcd::start().await.unwrap();
    let server = Etcd::start().await.unwrap();
    let endpoints = vec![dead.endpoint(), server.endpoint()];
    dead.kill().await.unwrap();
    // Which member is asked first is a matter of chance.
    for round in 0..8 {
        let store = store(endpoints.clone(), Duration::from_secs(5));
        applied(store.commit(txn(put("/a", &round.to_string()))).await);
        assert!(store.read("/a").await.unwrap().is_some());
        store.watch("/", Revision(1)).await.unwrap();
    }
}

#[tokio::test]
async fn the_store_logs_in_where_etcd_asks_for_it() {
    let server = Etcd::start().await.unwrap();
    for arguments in [
        &["user", "add", "root:swordfish"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        server.etcdctl(arguments).unwrap();
    }
    let as_root = |password: &str| {
        let config = Config {
            tls: None,
            endpoints: vec![server.endpoint()],
            timeout: Duration::from_secs(5),
            credentials: Some(Credentials {
                user: "root".to_owned(),
                password: platform::Secret::new(password),
            }),
        };
        EtcdStore::connect(config).unwrap()
    };
    let store = as_root("swordfish");
    applied(store.commit(txn(put("/a", "1"))).await);
    let mut watch = store.watch("/", Revision(1)).await.unwrap();
    assert!(watch.next().await.is_ok());
    for stranger in [connect(&server), as_root("guess")] {
        let answer = stranger.commit(txn(put("/a", "2"))).await.unwrap_err();
        assert!(matches!(answer, Error::Denied(_)), "{answer:?}");
        assert!(stranger.watch("/", Revision(1)).await.is_err());
    }
    assert_eq!(store.read("/a").await.unwrap().unwrap().value, "1");
}

#[tokio::test]
async fn a_configuration_without_a_usable_address_is_refused() {
    let refused = |endpoints: &[&str], timeout| {
        let endpoints = endpoints.iter().map(|&text| text.to_owned()).collect();
        let credentials = None;
        let config = Config {
            endpoints,
            timeout,
            credentials,
            tls: None,
        };
        EtcdStore::connect(config).map(drop).unwrap_err()
    };
    let second = Duration::from_secs(1);
    assert_eq!(refused(&[], second), InvalidConfig::NoEndpoints);
    assert_eq!(
        refused(&["a:1"], Duration::ZERO),
        InvalidConfig::ZeroTimeout
    );
    for endpoint in ["", "https://a:1", "http://u:p@a:1", "http://"] {
        let wanted = InvalidConfig::Endpoint {
            endpoint: endpoint.to_owned(),
        };
        assert_eq!(refused(&["a:1", endpoint], second), wanted);
    }
}

#[tokio::test]
async fn the_memory_store_fails_as_it_is_told() {
    let store = MemoryStore::new();
    let first = applied(store.commit(txn(put("/a", "1"))).await);
    store.fail_next_commit(CommitFault::Unreachable);
    store.fail_next_commit(CommitFault::LostRequest);
    store.fail_next_commit(CommitFault::LostAnswer);
    for (outcome, value) in [
        (Outcome::NotApplied, "1"),
        (Outcome::MaybeApplied, "1"),
        (Outcome::MaybeApplied, "2"),
    ] {
        let answer = store.commit(txn(put("/a", "2"))).await.unwrap_err();
        assert_eq!(answer.outcome(), outcome, "{answer:?}");
        assert_eq!(store.read("/a").await.unwrap().unwrap().value, value);
    }
    let mut watch = store.watch("/", first).await.unwrap();
    store.drop_watches();
    assert!(watch.next().await.is_err());
    store.set_reachable(false);
    assert!(matches!(store.read("/a").await, Err(Error::Unreachable(_))));
    store.set_reachable(true);
    applied(store.commit(txn(put("/a", "3"))).await);
}
