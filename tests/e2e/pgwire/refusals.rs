//! What the router cannot route yet it refuses with 0A000 and a reason; it never answers wrongly.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, close, execute, parse, sync, tags};

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        statements_that_need_several_shards_are_refused_with_a_reason,
        statements_that_would_end_on_a_wrong_shard_are_refused,
        keys_of_one_shard_are_routed_together,
        a_table_that_is_not_registered_is_named,
        an_array_of_keys_is_looked_at_as_a_whole,
        what_one_connection_cannot_have_is_refused,
        a_table_that_is_not_there_is_told_as_postgresql_tells_it,
        a_refusal_in_a_batch_skips_to_sync,
    )
    .into()
}

async fn start(cluster: &Cluster, table: &str) -> anyhow::Result<(Raw, [i64; 2])> {
    cluster
        .create(table, "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let keys = [
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ];
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for key in keys {
        let done = router
            .query(&format!("INSERT INTO {table} (k, v) VALUES ({key}, 1)"))
            .await?;
        same!(sqlstate(&done), None);
    }
    Ok((router, keys))
}

/// Each must be refused, with a reason, and change nothing.
async fn all_are_refused(router: &mut Raw, statements: &[String]) -> Outcome {
    for sql in statements {
        let answer = router.query(sql).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{sql}: {text}");
        anyhow::ensure!(text.len() > 15, "{sql}: no reason in {text:?}");
        anyhow::ensure!(!text.ends_with('.'), "{sql}: {text:?}");
        same!(tags(&answer), "EZ", "{sql}");
        same!(status(&answer)?, 'I', "{sql}");
    }
    Ok(())
}

async fn statements_that_need_several_shards_are_refused_with_a_reason(
    cluster: &Cluster,
) -> Outcome {
    let (mut router, [here, there]) = start(cluster, "refuse_wide").await?;
    let statements = [
        "INSERT INTO refuse_wide SELECT a.k, 1 FROM refuse_wide a FULL JOIN refuse_wide b ON a.v = b.v"
            .to_owned(),
        format!("SELECT * FROM refuse_wide a, refuse_wide b WHERE a.k = {here}"),
        format!("SELECT * FROM refuse_wide a JOIN refuse_wide b ON a.v = b.k WHERE a.k = {here}"),
        format!("SELECT (SELECT count(*) FROM refuse_wide) FROM refuse_wide WHERE k = {here}"),
        "SELECT k FROM refuse_wide FOR UPDATE".to_owned(),
        "SELECT * FROM refuse_wide INTERSECT SELECT * FROM refuse_wide".to_owned(),
        format!("WITH a AS (DELETE FROM refuse_wide RETURNING k) SELECT * FROM a WHERE k = {here}"),
    ];
    all_are_refused(&mut router, &statements).await?;
    for (shard, key) in [("shard-1", here), ("shard-2", there)] {
        let rows = cluster
            .shard(shard)?
            .psql("SELECT k, v FROM refuse_wide")
            .await?;
        same!(rows, format!("{key}|1"), "{shard} was changed");
    }
    Ok(())
}

async fn statements_that_would_end_on_a_wrong_shard_are_refused(cluster: &Cluster) -> Outcome {
    let (mut router, [here, there]) = start(cluster, "refuse_wrong").await?;
    let statements = [
        format!("UPDATE refuse_wrong SET k = {there} WHERE k = {here}"),
        format!("UPDATE refuse_wrong SET k = k + 1 WHERE k = {here}"),
        format!(
            "INSERT INTO refuse_wrong (k, v) VALUES ({here}, 1) ON CONFLICT (k) DO UPDATE SET k = {there}"
        ),
        "INSERT INTO refuse_wrong (k, v) VALUES (nextval('nowhere'), 1)".to_owned(),
        "INSERT INTO refuse_wrong (k, v) VALUES ((random() * 1000)::bigint, 1)".to_owned(),
        "INSERT INTO refuse_wrong DEFAULT VALUES".to_owned(),
        // Which column comes first is known to the shards alone.
    ];
    all_are_refused(&mut router, &statements).await?;
    let answer = router
        .query(&format!("SELECT v FROM refuse_wrong WHERE k = {here}"))
        .await?;
    same!(column(&answer)?, ["1"]);
    Ok(())
}

async fn keys_of_one_shard_are_routed_together(cluster: &Cluster) -> Outcome {
    let (mut router, [here, _]) = start(cluster, "refuse_not").await?;
    let other = cluster.key_on("shard-1", here + 1).await?;
    let third = cluster.key_on("shard-1", other + 1).await?;
    let statements = [
        (
            format!("INSERT INTO refuse_not (k, v) VALUES ({other}, 2), ({third}, 3)"),
            vec![],
        ),
        (
            format!("SELECT v FROM refuse_not WHERE k IN ({here}, {other}, {third}) ORDER BY v"),
            vec!["1", "2", "3"],
        ),
        (
            format!("SELECT v FROM refuse_not WHERE k = {here} OR k = {other} ORDER BY v"),
            vec!["1", "2"],
        ),
        (
            format!("SELECT b.v FROM refuse_not a JOIN refuse_not b USING (k) WHERE a.k = {other}"),
            vec!["2"],
        ),
    ];
    for (sql, wanted) in statements {
        let answer = router.query(&sql).await?;
        same!(sqlstate(&answer), None, "{sql}: {answer:?}");
        same!(column(&answer)?, wanted, "{sql}");
    }
    Ok(())
}

async fn a_table_that_is_not_registered_is_named(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "SELECT * FROM never_created WHERE k = 1",
        "INSERT INTO never_created VALUES (1)",
        "UPDATE never_created SET v = 1 WHERE k = 1",
    ] {
        let answer = router.query(sql).await?;
        let (code, text) = error_of(&answer)?;
        anyhow::ensure!(
            ["0A000", "42P01"].contains(&code.as_str()),
            "{sql}: {code} {text}"
        );
        anyhow::ensure!(text.contains("never_created"), "{sql}: {text}");
        same!(status(&answer)?, 'I');
    }
    // Created but not registered: its rows would be on whichever shard happened to be asked.
    router
        .query("CREATE TABLE never_registered (k bigint)")
        .await?;
    let answer = router
        .query("INSERT INTO never_registered VALUES (1)")
        .await?;
    let (code, text) = error_of(&answer)?;
    same!(code, "0A000", "{text}");
    anyhow::ensure!(text.contains("never_registered"), "{text}");
    Ok(())
}

async fn an_array_of_keys_is_looked_at_as_a_whole(cluster: &Cluster) -> Outcome {
    let (_, [here, there]) = start(cluster, "refuse_array").await?;
    let client = cluster.router(0)?.client().await?;
    let sql = "SELECT k FROM refuse_array WHERE k = ANY($1)";
    let one = client.query(sql, &[&vec![here]]).await?;
    same!(
        one.iter()
            .map(|row| row.get::<_, i64>(0))
            .collect::<Vec<_>>(),
        [here]
    );
    let sql = "SELECT k FROM refuse_array WHERE k = ANY($1) ORDER BY k";
    let both = client.query(sql, &[&vec![here, there]]).await?;
    same!(
        both.iter()
            .map(|row| row.get::<_, i64>(0))
            .collect::<Vec<_>>(),
        [here.min(there), here.max(there)]
    );
    let sql = "UPDATE refuse_array SET v = 2 WHERE k = ANY($1)";
    same!(client.execute(sql, &[&vec![here, there]]).await?, 2);
    Ok(())
}

async fn what_one_connection_cannot_have_is_refused(cluster: &Cluster) -> Outcome {
    let (mut router, [here, _]) = start(cluster, "refuse_bind").await?;
    let statements = [
        "CREATE TEMP TABLE refuse_bind (a int)".to_owned(),
        "CREATE TEMP TABLE t AS SELECT * FROM refuse_bind".to_owned(),
        format!("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM refuse_bind WHERE k = {here}"),
        "SELECT pg_advisory_lock(v) FROM refuse_bind".to_owned(),
        "PREPARE TRANSACTION 'a'".to_owned(),
        "DO $$ BEGIN END $$".to_owned(),
        "COPY refuse_bind FROM '/etc/passwd'".to_owned(),
    ];
    all_are_refused(&mut router, &statements).await
}

/// What is not registered may not be there at all; what is there is not read.
async fn a_table_that_is_not_there_is_told_as_postgresql_tells_it(cluster: &Cluster) -> Outcome {
    let (mut router, _) = start(cluster, "refuse_absent").await?;
    for (sql, code) in [
        ("SELECT * FROM no_such_table", "42P01"),
        ("INSERT INTO no_such_table VALUES (1)", "42P01"),
        ("COPY no_such_table TO STDOUT", "42P01"),
        ("COPY public.no_such_table FROM STDIN", "42P01"),
        ("SELECT no_such_function(1)", "42883"),
    ] {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer).as_deref(), Some(code), "{sql}");
        if !sql.starts_with("COPY") {
            is_told(&mut router, sql, code).await?;
        }
    }
    let own = "CREATE FUNCTION refuse_function(int) RETURNS int LANGUAGE sql AS 'SELECT $1'";
    router.query("CREATE TABLE refuse_unknown (a int)").await?;
    same!(sqlstate(&router.query(own).await?), None);
    for sql in [
        "SELECT * FROM refuse_unknown",
        "INSERT INTO refuse_unknown VALUES (1)",
        "COPY refuse_unknown TO STDOUT",
        "SELECT refuse_function(1)",
    ] {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer).as_deref(), Some("0A000"), "{sql}");
        is_told(&mut router, sql, "0A000").await?;
    }
    for shard in &cluster.shards {
        same!(
            shard
                .psql("SELECT count(*) FROM refuse_unknown")
                .await?
                .trim(),
            "0"
        );
    }
    Ok(())
}

/// All of a statement in one batch, with a name and without, alone and in a transaction.
async fn is_told(router: &mut Raw, sql: &str, code: &str) -> Outcome {
    for (begin, name, state) in [
        (None, "", 'I'),
        (None, "told", 'I'),
        (Some("BEGIN"), "", 'E'),
        (Some("BEGIN; SELECT 1"), "told", 'E'),
    ] {
        if let Some(begin) = begin {
            router.query(begin).await?;
        }
        let run = [bind("", name, false, &[]), execute("", 0), sync()].concat();
        let batch = [parse(name, sql, &[]), run].concat();
        let answer = router.exchange(&batch).await?;
        same!(
            sqlstate(&answer).as_deref(),
            Some(code),
            "{sql}: {answer:?}"
        );
        same!(status(&answer)?, state, "{sql}");
        router.query("ROLLBACK").await?;
        if !name.is_empty() {
            router
                .exchange(&[close(b'S', name), sync()].concat())
                .await?;
        }
        same!(column(&router.query("SELECT 1").await?)?, ["1"], "{sql}");
    }
    Ok(())
}

async fn a_refusal_in_a_batch_skips_to_sync(cluster: &Cluster) -> Outcome {
    let (mut router, [here, _]) = start(cluster, "refuse_batch").await?;
    let key = here.to_be_bytes();
    let update = parse("", "UPDATE refuse_batch SET v = v + 1 WHERE k = $1", &[20]);
    let run = [bind("", "", true, &[Some(&key)]), execute("", 0)].concat();
    let wide = parse("", "UPDATE refuse_batch SET k = k + 1", &[]);
    let wide = [wide, bind("", "", false, &[]), execute("", 0)].concat();
    let batch = [
        update.clone(),
        run.clone(),
        wide,
        update.clone(),
        run.clone(),
        sync(),
    ]
    .concat();
    let answer = router.exchange(&batch).await?;
    same!(sqlstate(&answer).as_deref(), Some("0A000"));
    same!(status(&answer)?, 'I');
    let value = router
        .query(&format!("SELECT v FROM refuse_batch WHERE k = {here}"))
        .await?;
    same!(column(&value)?, ["1"], "the batch is undone as a whole");
    let answer = router.exchange(&[update, run, sync()].concat()).await?;
    same!(tags(&answer), "12CZ");
    Ok(())
}
