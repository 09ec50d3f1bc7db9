//! Which routers live, as anybody may read it.

use anyhow::Context as _;
use topology::records::{Incarnation, RouterRecord, encode};
use topology::routers::{Error, Router, list};
use topology::store::{Committed, MemoryStore, Op, Revision, Store as _, Txn};
use topology::{Epoch, keys};

fn record(epoch: u64) -> RouterRecord {
    RouterRecord {
        address: "router-a:6432".to_owned(),
        incarnation: Incarnation(7),
        applied_epoch: Epoch(epoch),
        version: "0.1.0".to_owned(),
    }
}

async fn write(store: &MemoryStore, key: &str, value: Vec<u8>) -> anyhow::Result<Revision> {
    let txn = Txn {
        compares: Vec::new(),
        ops: vec![Op::put(key, value)],
    };
    match store.commit(txn).await? {
        Committed::Applied(revision) => Ok(revision),
        Committed::Refused => anyhow::bail!("refused without a condition"),
    }
}

#[tokio::test]
async fn all_routers_are_listed_with_the_epoch_that_each_has_applied() -> anyhow::Result<()> {
    let store = MemoryStore::new();
    assert!(list(&store).await?.all.is_empty());
    let first = write(&store, &keys::router(4095), encode(&record(8))).await?;
    let last = write(&store, &keys::router(4095), encode(&record(9))).await?;
    let listed = list(&store).await?;
    let expected = Router {
        number: 4095,
        record: record(9),
        registered: first,
    };
    assert_eq!((listed.all, listed.revision), (vec![expected], last));
    Ok(())
}

#[tokio::test]
async fn a_router_that_is_not_understood_is_not_overlooked() -> anyhow::Result<()> {
    let store = MemoryStore::new();
    write(&store, &keys::router(7), b"{\"address\":\"a:1\"}".to_vec()).await?;
    let unreadable = list(&store).await.err().context("it is not read")?;
    assert!(matches!(unreadable, Error::Unreadable(_)), "{unreadable}");
    let store = MemoryStore::new();
    write(&store, "/sharding/v1/routers/x", encode(&record(1))).await?;
    let unknown = list(&store).await.err().context("it is none")?;
    assert!(matches!(unknown, Error::UnknownKey { .. }), "{unknown}");
    Ok(())
}
