//! Foreign keys: those that every shard can hold by itself are made, all others refused.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::Raw;

use super::{done, on_each, refused};
use crate::pgwire::error_of;
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_foreign_key_is_made_where_each_shard_can_hold_it,
        a_foreign_key_to_rows_of_other_shards_is_refused,
    )
    .into()
}

async fn a_foreign_key_is_made_where_each_shard_can_hold_it(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "/* table_kind = reference */ CREATE TABLE fk_kinds (kind text PRIMARY KEY)",
        "/* shard_key = id */ CREATE TABLE fk_users (id bigint PRIMARY KEY, \
         kind text REFERENCES fk_kinds)",
        "/* shard_key = user_id */ CREATE TABLE fk_orders (user_id bigint REFERENCES fk_users, \
         id int, up int, PRIMARY KEY (user_id, id), \
         FOREIGN KEY (user_id, up) REFERENCES fk_orders (user_id, id))",
        "/* table_kind = reference */ CREATE TABLE fk_names (kind text REFERENCES fk_kinds)",
        "INSERT INTO fk_kinds VALUES ('a')",
    ] {
        done(&mut router, sql).await?;
    }
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        done(
            &mut router,
            &format!("INSERT INTO fk_users VALUES ({key}, 'a')"),
        )
        .await?;
        done(
            &mut router,
            &format!("INSERT INTO fk_orders VALUES ({key}, 1, NULL), ({key}, 2, 1)"),
        )
        .await?;
        let torn = format!("INSERT INTO fk_orders VALUES ({key}, 3, 9)");
        let (code, _) = error_of(&router.query(&torn).await?)?;
        same!(code, "23503");
    }
    Ok(())
}

async fn a_foreign_key_to_rows_of_other_shards_is_refused(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(
        &mut router,
        "/* shard_key = id */ CREATE TABLE fk_people (id bigint PRIMARY KEY)",
    )
    .await?;
    for sql in [
        "/* shard_key = id */ CREATE TABLE fk_torn (id bigint, person bigint REFERENCES fk_people)",
        "/* shard_key = id */ CREATE TABLE fk_torn (id bigint PRIMARY KEY, \
         parent bigint REFERENCES fk_torn)",
        "/* table_kind = reference */ CREATE TABLE fk_torn (person bigint REFERENCES fk_people)",
        "/* table_kind = unsharded */ CREATE TABLE fk_torn (person bigint REFERENCES fk_people)",
        "ALTER TABLE fk_people ADD boss bigint REFERENCES fk_people",
    ] {
        let (code, message, hint) = refused(&mut router, sql).await?;
        same!(code, "0A000", "{sql}: {message}");
        anyhow::ensure!(!hint.is_empty(), "{sql}: {message}");
    }
    done(&mut router, "BEGIN").await?;
    let within = "ALTER TABLE fk_people ADD boss bigint REFERENCES fk_people";
    let (code, ..) = refused(&mut router, within).await?;
    same!(code, "0A000");
    done(&mut router, "ROLLBACK").await?;
    let made = "SELECT count(*) FROM pg_attribute WHERE attname IN ('boss', 'person', 'parent') \
                AND attrelid::regclass::text LIKE 'fk_%'";
    same!(on_each(cluster, made).await?, ["0", "0"]);
    // A table that has one is not registered either.
    done(
        &mut router,
        "CREATE TABLE fk_late (id bigint PRIMARY KEY, person bigint REFERENCES fk_people)",
    )
    .await?;
    let call = "SELECT sharding.shard_table('fk_late', 'id')";
    let (code, message, _) = refused(&mut router, call).await?;
    same!(code, "0A000", "{message}");
    done(&mut router, "DROP TABLE fk_late").await?;
    Ok(())
}
