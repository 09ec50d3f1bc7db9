//! PREPARE, EXECUTE and DEALLOCATE by SQL.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, execute, parse, sync, tags};

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        an_execute_goes_to_the_shard_of_its_arguments,
        an_execute_over_several_shards_is_explained,
        both_protocols_share_their_statements,
        prepared_statements_outlive_transactions_and_not_deallocate,
        what_execute_cannot_do_is_said,
        an_execute_may_need_several_shards,
    )
    .into()
}

async fn start(cluster: &Cluster, table: &str) -> anyhow::Result<(Raw, [i64; 2])> {
    cluster
        .create(table, "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let keys = [
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ];
    Ok((Raw::connect(&cluster.router(0)?.address()).await?, keys))
}

async fn done(router: &mut Raw, statements: &[String]) -> Outcome {
    for sql in statements {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer), None, "{sql}: {answer:?}");
    }
    Ok(())
}

async fn an_execute_goes_to_the_shard_of_its_arguments(cluster: &Cluster) -> Outcome {
    let (mut router, [here, there]) = start(cluster, "by_sql").await?;
    done(
        &mut router,
        &[
            "PREPARE put (bigint, text) AS INSERT INTO by_sql VALUES ($1, $2)".to_owned(),
            "PREPARE \"get it\" AS SELECT v FROM by_sql WHERE k = $1".to_owned(),
            format!("EXECUTE put({here}, 'here')"),
            format!("EXECUTE put('{there}', upper('there'))"),
        ],
    )
    .await?;
    for (key, wanted) in [(here, "here"), (there, "THERE")] {
        let answer = router.query(&format!("EXECUTE \"get it\" ({key})")).await?;
        same!(tags(&answer), "TDCZ", "{answer:?}");
        same!(column(&answer)?, [wanted]);
    }
    for (shard, wanted) in [("shard-1", "here"), ("shard-2", "THERE")] {
        let found = cluster.shard(shard)?.psql("SELECT v FROM by_sql").await?;
        same!(found, wanted, "{shard}");
    }
    let explained = router
        .query(&format!("EXPLAIN (COSTS off) EXECUTE \"get it\"({there})"))
        .await?;
    same!(sqlstate(&explained), None, "{explained:?}");
    let answer = router.query("EXECUTE \"get it\"(NULL)").await?;
    same!(tags(&answer), "TCZ", "{answer:?}");
    Ok(())
}

async fn an_execute_over_several_shards_is_explained(cluster: &Cluster) -> Outcome {
    let (mut router, [here, there]) = start(cluster, "by_sql_told").await?;
    done(
        &mut router,
        &[
            "PREPARE above (bigint) AS SELECT v FROM by_sql_told WHERE k > $1 ORDER BY v"
                .to_owned(),
            "PREPARE set2 (bigint, bigint) AS UPDATE by_sql_told SET v = 'x' WHERE k IN ($1, $2)"
                .to_owned(),
            format!("INSERT INTO by_sql_told (k, v) VALUES ({here}, 'a'), ({there}, 'b')"),
        ],
    )
    .await?;
    let both = format!("EXPLAIN (COSTS off) EXECUTE set2({here}, '{there}')");
    for (sql, wanted) in [
        (
            "EXPLAIN (COSTS off) EXECUTE above(0)",
            "Scatter over 2 shards",
        ),
        (
            "EXPLAIN ANALYZE /* c */ EXECUTE above('0')",
            "Scatter over 2 shards",
        ),
        (both.as_str(), "Write on 2 shards"),
    ] {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer), None, "{sql}: {answer:?}");
        let lines = column(&answer)?;
        anyhow::ensure!(
            lines.iter().any(|line| line.contains(wanted)),
            "{sql}: {lines:?}"
        );
        anyhow::ensure!(
            lines.iter().any(|line| line.contains("shard-2")),
            "{sql}: {lines:?}"
        );
    }
    same!(
        column(&router.query("EXECUTE above(0)").await?)?,
        ["a", "b"]
    );
    Ok(())
}

async fn both_protocols_share_their_statements(cluster: &Cluster) -> Outcome {
    let (mut router, [here, _]) = start(cluster, "by_sql_both").await?;
    done(
        &mut router,
        &["PREPARE a (bigint, text) AS INSERT INTO by_sql_both (k, v) VALUES ($1, $2)".to_owned()],
    )
    .await?;
    let key = here.to_string();
    let values = [Some(key.as_bytes()), Some(&b"x"[..])];
    let select = "SELECT v FROM by_sql_both WHERE k = $1";
    let batch = [
        bind("", "a", false, &values),
        execute("", 0),
        parse("b", select, &[]),
        sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    same!(tags(&answer), "2C1Z", "{answer:?}");
    let answer = router.query(&format!("EXECUTE b({here})")).await?;
    same!(column(&answer)?, ["x"]);
    let (code, _) = error_of(&router.query("PREPARE b AS SELECT 1").await?)?;
    same!(code, "42P05");
    Ok(())
}

async fn prepared_statements_outlive_transactions_and_not_deallocate(cluster: &Cluster) -> Outcome {
    let (mut router, [here, there]) = start(cluster, "by_sql_lives").await?;
    done(
        &mut router,
        &[
            "BEGIN".to_owned(),
            "PREPARE put AS INSERT INTO by_sql_lives VALUES ($1, $2)".to_owned(),
            format!("EXECUTE put({here}, 'a')"),
            "ROLLBACK".to_owned(),
            format!("EXECUTE put({here}, 'b')"),
            format!("EXECUTE put({there}, 'c')"),
        ],
    )
    .await?;
    let answer = router
        .query("PREPARE wrong AS SELECT * FROM by_sql_nowhere")
        .await?;
    same!(sqlstate(&answer).as_deref(), Some("42P01"));
    let answer = router
        .query("PREPARE wrong AS SELECT x FROM by_sql_lives WHERE k = 1")
        .await?;
    same!(sqlstate(&answer).as_deref(), Some("42703"), "{answer:?}");
    same!(status(&answer)?, 'I');
    let answer = router.query("EXECUTE wrong").await?;
    same!(sqlstate(&answer).as_deref(), Some("26000"));
    for (sql, code) in [
        ("DEALLOCATE put", None),
        ("EXECUTE put(1, 'x')", Some("26000")),
        ("PREPARE put AS SELECT 1", None),
        ("DISCARD ALL", None),
        ("EXECUTE put", Some("26000")),
        ("BEGIN", None),
        ("SELECT v FROM by_sql_lives WHERE k = 1", None),
        ("EXECUTE put", Some("26000")),
        ("PREPARE late AS SELECT 1", Some("25P02")),
        ("ROLLBACK", None),
    ] {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer).as_deref(), code, "{sql}: {answer:?}");
    }
    Ok(())
}

async fn an_execute_may_need_several_shards(cluster: &Cluster) -> Outcome {
    let (mut router, [here, there]) = start(cluster, "by_sql_several").await?;
    done(
        &mut router,
        &[
            "PREPARE put AS INSERT INTO by_sql_several VALUES ($1, $2), ($3, $4) RETURNING v"
                .to_owned(),
            "PREPARE two AS SELECT v FROM by_sql_several WHERE k IN ($1, $2) ORDER BY v".to_owned(),
            "PREPARE wide (text) AS SELECT count(*) FROM by_sql_several WHERE v > $1".to_owned(),
            "PREPARE upd AS UPDATE by_sql_several SET v = v || $1".to_owned(),
        ],
    )
    .await?;
    let put = format!("EXECUTE put({here}, 'a', '{there}', 'b')");
    let answer = router.query(&put).await?;
    same!(tags(&answer), "TDDCZ", "{answer:?}");
    same!(column(&answer)?, ["a", "b"]);
    same!(status(&answer)?, 'I');
    for shard in ["shard-1", "shard-2"] {
        let found = cluster
            .shard(shard)?
            .psql("SELECT count(*) FROM by_sql_several")
            .await?;
        same!(found, "1", "{shard}");
    }
    let two = format!("EXECUTE two({here}, {there})");
    for _ in 0..2 {
        let answer = router.query(&two).await?;
        same!(tags(&answer), "TDDCZ", "{answer:?}");
        same!(column(&answer)?, ["a", "b"]);
    }
    same!(column(&router.query("EXECUTE wide('a')").await?)?, ["1"]);
    same!(column(&router.query("EXECUTE wide(NULL)").await?)?, ["0"]);
    // In a transaction it reads what was written, and is undone with it.
    router.query("BEGIN").await?;
    let answer = router.query("EXECUTE upd('x')").await?;
    same!(tags(&answer), "CZ", "{answer:?}");
    same!(answer[0].text(), "UPDATE 2");
    same!(column(&router.query(&two).await?)?, ["ax", "bx"]);
    same!(status(&router.query("ROLLBACK").await?)?, 'I');
    same!(column(&router.query(&two).await?)?, ["a", "b"]);
    // One that fails on a shard is on none.
    let (code, text) = error_of(&router.query(&put).await?)?;
    same!(code, "23505", "{text}");
    let answer = router
        .query(&format!("EXECUTE upd('y'); {two}; SELECT 1"))
        .await?;
    same!(tags(&answer), "CTDDCTDCZ", "{answer:?}");
    same!(column(&answer)?, ["ay", "by", "1"]);
    Ok(())
}

async fn what_execute_cannot_do_is_said(cluster: &Cluster) -> Outcome {
    let (mut router, [here, _]) = start(cluster, "by_sql_refused").await?;
    done(
        &mut router,
        &[
            "PREPARE a AS SELECT v FROM by_sql_refused WHERE k = $1".to_owned(),
            "PREPARE two AS SELECT v FROM by_sql_refused WHERE k IN ($1, $2)".to_owned(),
            "PREPARE wide AS SELECT v FROM by_sql_refused".to_owned(),
        ],
    )
    .await?;
    for (sql, code) in [
        ("EXECUTE a(1 + 1)".to_owned(), "0A000"),
        ("EXECUTE two(1, 1 + 1)".to_owned(), "0A000"),
        ("EXECUTE wide(1)".to_owned(), "42601"),
        ("EXECUTE a(nextval('s'))".to_owned(), "0A000"),
        ("EXECUTE a".to_owned(), "42601"),
        ("EXECUTE a('x')".to_owned(), "22P02"),
        (format!("EXECUTE a({here}, 2)"), "42601"),
        ("PREPARE b (no_such_type) AS SELECT $1".to_owned(), "0A000"),
    ] {
        let (found, text) = error_of(&router.query(&sql).await?)?;
        same!(found, code, "{sql}: {text}");
    }
    let batch = [
        parse("", "EXECUTE a(1)", &[]),
        bind("", "", false, &[]),
        execute("", 0),
        sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    same!(sqlstate(&answer).as_deref(), Some("0A000"));
    Ok(())
}
