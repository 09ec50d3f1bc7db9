//! Both directions at once: what came from the other side does not go back.

use manager::reshard::follow::{Mirror, Spec};
use topology::KeyType;

use super::{Field, synced};
use crate::setup::moved;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_the_other_side_does_not_go_back() {
    let schema = "CREATE TABLE t (k bigint PRIMARY KEY, n bigint NOT NULL)";
    let field = Field::new(schema, vec![moved("t", "k", KeyType::Bigint)], 1).await;
    let mirror = &field.mirrors[0];
    field.publish(mirror).await;
    let forward = field.spec();
    let backward = Spec {
        owner: mirror.shard.clone(),
        mirrors: vec![Mirror {
            shard: field.owner.shard.clone(),
            ranges: forward.mirrors[0].ranges.clone(),
        }],
        ..forward.clone()
    };
    let (there, back) = (field.follow_as(forward), field.follow_as(backward));
    field
        .owner
        .psql("INSERT INTO t SELECT i, 0 FROM generate_series(1, 500) i")
        .await;
    field.synced(&there).await;
    synced(mirror, &back).await;
    let applied = field.progress.rows_applied.value();
    assert!((400..500).contains(&applied), "{applied}");
    // What clients write over there comes back here, once.
    let changed: u64 = mirror
        .psql("WITH c AS (UPDATE t SET n = n + 1 RETURNING 1) SELECT count(*) FROM c")
        .await
        .parse()
        .unwrap();
    synced(mirror, &back).await;
    field.synced(&there).await;
    synced(mirror, &back).await;
    field.compare().await;
    assert_eq!(field.progress.rows_applied.value(), applied + changed);
    there.stop().await;
    back.stop().await;
}
