//! Each shard keeps its number, and none is given out twice.

use std::time::{Duration, SystemTime};

use topology::numbers::{Error, MAX_NUMBERS, of};
use topology::store::MemoryStore;
use topology::{Endpoint, Shard, ShardId, ShardState};

fn shard(id: &str, second: u64) -> Shard {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    Shard {
        id: ShardId::try_new(id).expect("a valid id"),
        name: id.to_owned(),
        primary_endpoint: Endpoint::try_new("postgres://db:5432/app").expect("a valid endpoint"),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight: 1,
        vnode_count: 16,
        version: 1,
        created_at: at,
        updated_at: at,
        lineage: None,
        promotion: None,
    }
}

#[tokio::test]
async fn each_shard_keeps_its_number_and_none_is_given_out_twice() {
    let store = MemoryStore::new();
    let (a, b, c) = (shard("a", 1), shard("b", 1), shard("c", 1));
    assert_eq!(of(&store, &[&b, &a]).await.unwrap(), [0, 1]);
    assert_eq!(of(&store, &[&a, &c, &b]).await.unwrap(), [1, 2, 0]);
    // It was removed, and another one got its id.
    assert_eq!(of(&store, &[&shard("b", 2)]).await.unwrap(), [3]);
    assert_eq!(of(&store, &[&b]).await.unwrap(), [0]);
}

#[tokio::test]
async fn there_are_only_so_many() {
    let store = MemoryStore::new();
    let all: Vec<Shard> = (0..=u64::from(MAX_NUMBERS))
        .map(|at| shard("s", at))
        .collect();
    let all: Vec<&Shard> = all.iter().collect();
    let (last, but_last) = all.split_last().unwrap();
    let numbers = of(&store, but_last).await.unwrap();
    assert_eq!(numbers.last(), Some(&(MAX_NUMBERS - 1)));
    assert!(matches!(of(&store, &[last]).await, Err(Error::Exhausted)));
    assert_eq!(of(&store, &all[..1]).await.unwrap(), [0]);
}
