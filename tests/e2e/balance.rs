//! Every row lies on the shard that its key hashes to, and the shards have their share: read from
//! the shards themselves, behind the router's back.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::Cluster;
use tests::cluster::owner;
use topology::{Key, KeyType};

use crate::suite::{Outcome, Suite, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite: every_row_is_on_the_shard_of_its_key).into()
}

async fn every_row_is_on_the_shard_of_its_key(cluster: &Cluster) -> Outcome {
    for (table, key_type) in [
        ("lies_bigint", KeyType::Bigint),
        ("lies_text", KeyType::Text),
        ("lies_uuid", KeyType::Uuid),
    ] {
        let word = key_type.as_str();
        cluster
            .create(table, &format!("k {word} PRIMARY KEY"), ("k", word))
            .await?;
        let mut script = String::new();
        for number in 0..2_000_u32 {
            let key = match key_type {
                KeyType::Bigint => format!("{}", i64::from(number) * 7_919 - 3_000_000),
                KeyType::Text => format!("'user {number}'"),
                KeyType::Uuid => {
                    format!(
                        "'{}'",
                        uuid::Uuid::from_u128(u128::from(number).pow(4) << 17)
                    )
                }
            };
            script.push_str(&format!("INSERT INTO {table} (k) VALUES ({key});\n"));
        }
        cluster.router(0)?.address().psql_script(&script).await?;
        each_lies_right(cluster, table, key_type).await?;
    }
    Ok(())
}

async fn each_lies_right(cluster: &Cluster, table: &str, key_type: KeyType) -> Outcome {
    let snapshot = cluster.snapshot().await?;
    let mut total = 0;
    for (number, shard) in cluster.shards.iter().enumerate() {
        let id = format!("shard-{}", number + 1);
        let keys = shard.psql(&format!("SELECT k FROM {table}")).await?;
        for text in keys.lines() {
            let key = Key::from_text(key_type, text.as_bytes())?;
            let home = owner(&snapshot, &key).context("the ring has vnodes")?;
            same!(home, id, "the row {text} of {table}");
        }
        let count = keys.lines().count();
        // Two shards of 256 vnodes: a share below a third would be a fault of the ring.
        anyhow::ensure!(
            (667..=1_333).contains(&count),
            "{count} of 2,000 rows on {id}"
        );
        total += count;
    }
    same!(total, 2_000);
    Ok(())
}
