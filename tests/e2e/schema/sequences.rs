//! Sequences that an application declares give no value on two shards, and ids none twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::Raw;
use tests::{Cluster, wait};

use super::{column, done, refused};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = shared!(suite:
        declared_sequences_give_no_value_on_two_shards,
        what_would_give_a_value_twice_is_refused,
        a_sequence_is_asked_by_itself,
    )
    .into();
    trials.extend(alone!(suite: ids_are_unique_over_routers_and_their_deaths));
    trials
}

/// Values of a sequence, so many on each shard.
async fn values(cluster: &Cluster, sequence: &str) -> anyhow::Result<Vec<i64>> {
    let mut values = Vec::new();
    for shard in &cluster.shards {
        let question = format!(
            "SELECT string_agg(nextval('{sequence}')::text, ',') FROM generate_series(1, 50)"
        );
        for value in shard.psql(&question).await?.split(',') {
            values.push(value.parse()?);
        }
    }
    Ok(values)
}

async fn declared_sequences_give_no_value_on_two_shards(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "/* shard_key = k */ CREATE TABLE seq_all (k bigint, id bigserial, small serial, \
         own bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (k, id))",
        "CREATE SEQUENCE seq_plain START WITH 500",
        "CREATE SEQUENCE seq_fifty INCREMENT BY 50",
        "ALTER TABLE seq_all ADD COLUMN plain bigint DEFAULT nextval('seq_plain')",
    ] {
        done(&mut router, sql).await?;
    }
    // By a statement, on whichever shard it goes to.
    let mut given = BTreeSet::new();
    for key in 1..=40 {
        let insert = format!("INSERT INTO seq_all (k) VALUES ({key}) RETURNING id");
        let answer = done(&mut router, &insert).await?;
        anyhow::ensure!(given.insert(column(&answer)?), "{given:?}");
    }
    let sequences = [
        "seq_all_id_seq",
        "seq_all_small_seq",
        "seq_all_own_seq",
        "seq_plain",
    ];
    for sequence in sequences {
        let all = values(cluster, sequence).await?;
        let unique: BTreeSet<i64> = all.iter().copied().collect();
        same!(unique.len(), all.len(), "{sequence}: {all:?}");
    }
    let mut blocks = BTreeSet::new();
    for value in values(cluster, "seq_fifty").await? {
        for own in value..value + 50 {
            anyhow::ensure!(blocks.insert(own), "{own} is in two blocks");
        }
    }
    // It goes on where it is told to, and still not like the others.
    done(&mut router, "ALTER SEQUENCE seq_plain RESTART WITH 1000000").await?;
    let all = values(cluster, "seq_plain").await?;
    let unique: BTreeSet<i64> = all.iter().copied().collect();
    same!(unique.len(), all.len(), "{all:?}");
    anyhow::ensure!(all.iter().all(|value| *value >= 1_000_000), "{all:?}");
    done(&mut router, "TRUNCATE seq_all RESTART IDENTITY").await?;
    let all = values(cluster, "seq_all_id_seq").await?;
    let unique: BTreeSet<i64> = all.iter().copied().collect();
    same!(unique.len(), all.len(), "{all:?}");
    Ok(())
}

async fn what_would_give_a_value_twice_is_refused(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for shard in &cluster.shards {
        shard.psql("CREATE SEQUENCE seq_raw").await?;
    }
    for sql in [
        "CREATE TABLE seq_rows (k bigint)",
        "CREATE SEQUENCE seq_kept",
        "/* table_kind = reference */ CREATE TABLE seq_ref (a int)",
    ] {
        done(&mut router, sql).await?;
    }
    cluster
        .shard("shard-1")?
        .psql("INSERT INTO seq_rows VALUES (1)")
        .await?;
    for sql in [
        "CREATE TABLE seq_bad (k bigint, id smallserial)",
        "CREATE SEQUENCE seq_bad CYCLE",
        "CREATE SEQUENCE seq_bad INCREMENT BY -1",
        "CREATE TABLE seq_bad (k bigint DEFAULT nextval('seq_raw'))",
        "ALTER SEQUENCE seq_kept INCREMENT BY 1",
        "ALTER SEQUENCE seq_kept MINVALUE 7",
        "ALTER TABLE seq_rows ADD COLUMN id bigserial",
        "/* table_kind = reference */ CREATE TABLE seq_bad (id bigserial)",
        "ALTER TABLE seq_ref ADD COLUMN id bigserial",
        "SELECT nextval('seq_kept') FROM seq_rows",
        "SELECT setval('seq_kept', 1)",
        "SELECT currval('seq_kept')",
        "SELECT sharding.next_id() + 1",
        "SELECT sharding.next_id(), 1",
    ] {
        let (code, message, hint) = refused(&mut router, sql).await?;
        same!(code, "0A000", "{sql}: {message}");
        anyhow::ensure!(!hint.is_empty(), "{sql}: {message}");
    }
    Ok(())
}

/// As ORMs ask for an id before they insert the row; no default gives it as well.
async fn a_sequence_is_asked_by_itself(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "CREATE SEQUENCE seq_asked INCREMENT BY 10",
        "/* shard_key = k */ CREATE TABLE seq_given \
         (k bigint, id bigint DEFAULT nextval('seq_asked'))",
    ] {
        done(&mut router, sql).await?;
    }
    let mut ids = Vec::new();
    for key in 1..=8 {
        let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
        ids.extend(column(
            &done(&mut other, "SELECT nextval('seq_asked')").await?,
        )?);
        let insert = format!("INSERT INTO seq_given (k) VALUES ({key}) RETURNING id");
        ids.extend(column(&done(&mut other, &insert).await?)?);
    }
    ids.sort();
    ids.dedup();
    same!(ids.len(), 16);
    Ok(())
}

async fn ids_are_unique_over_routers_and_their_deaths() -> Outcome {
    let mut cluster = Cluster::start(Plan {
        shards: 1,
        routers: 3,
        ..Plan::default()
    })
    .await?;
    let mut all = BTreeSet::new();
    let mut count = 0;
    for _ in 0..3 {
        for at in 0..3 {
            let mut router = Raw::connect(&cluster.router(at)?.address()).await?;
            let answer = wait::until("ids", wait::START, || async {
                let mut router = Raw::connect(&cluster.router(at)?.address()).await?;
                done(&mut router, "SELECT * FROM sharding.next_ids(2000)").await
            })
            .await?;
            let ids = column(&answer)?;
            same!(ids.len(), 2000);
            let ids: Vec<i64> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
            anyhow::ensure!(ids.is_sorted(), "in the order of time");
            count += ids.len();
            all.extend(ids);
            let answer = done(&mut router, "SELECT sharding.next_id()").await?;
            count += 1;
            all.extend(
                column(&answer)?
                    .iter()
                    .map(|id| id.parse::<i64>())
                    .collect::<Result<Vec<_>, _>>()?,
            );
            // By a driver that wants the binary form.
            let client = cluster.router(at)?.client().await?;
            let id: i64 = client
                .query_one("SELECT sharding.next_id()", &[])
                .await?
                .get(0);
            count += 1;
            all.insert(id);
            let block = client.query("SELECT sharding.next_ids(3)", &[]).await?;
            count += block.len();
            all.extend(block.iter().map(|row| row.get::<_, i64>(0)));
        }
        let mut router = cluster.routers.remove(0);
        router.program.kill().await?;
        drop(router);
        cluster.add_router(&json!({})).await?;
    }
    same!(all.len(), count);
    Ok(())
}
