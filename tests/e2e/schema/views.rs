//! Views through routers: registered by the statements that make them, and read as they are now,
//! whoever has changed them.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::{Message, Raw, bind, execute, parse, sync};
use tests::{Cluster, http};

use super::{column, done, on_each, refused};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(shared!(suite:
        a_view_is_registered_by_its_creation,
        a_view_of_an_unsharded_table_is_where_that_is,
        a_view_follows_the_changes_beneath_it,
        a_view_of_a_transaction_is_read_after_its_commit,
        a_view_that_exists_is_registered_as_it_is,
        row_security_keeps_a_view_out,
    ));
    trials.extend(alone!(suite: a_view_that_another_router_replaces_is_read_so_at_once));
    trials
}

async fn connect(cluster: &Cluster) -> anyhow::Result<Raw> {
    Raw::connect(&cluster.router(0)?.address()).await
}

async fn read(router: &mut Raw, sql: &str) -> anyhow::Result<Vec<String>> {
    column(&done(router, sql).await?)
}

/// A sharded table with five rows of keys 1 to 5.
async fn make(router: &mut Raw, table: &str) -> Outcome {
    let create =
        format!("/* shard_key = k */ CREATE TABLE {table} (k bigint PRIMARY KEY, a int, b text)");
    // The managers may still be choosing who leads.
    let mut answer = router.query(&create).await?;
    while answer.iter().find_map(Message::sqlstate).as_deref() == Some("57P03") {
        answer = router.query(&create).await?;
    }
    for key in 1..=5 {
        let insert = format!("INSERT INTO {table} (k, a, b) VALUES ({key}, {key} * 10, 'b{key}')");
        done(router, &insert).await?;
    }
    Ok(())
}

async fn definition(cluster: &Cluster, view: &str) -> anyhow::Result<Option<String>> {
    let path = cluster.manager(0)?.api("/tables");
    let tables = http::get(&path).await?.expect(200)?;
    let all = tables["tables"].as_array().context("tables")?;
    let found = all.iter().find(|table| table["name"] == json!(view));
    let text = found.and_then(|table| table["definition"].as_str());
    Ok(text.map(str::to_owned))
}

async fn a_view_is_registered_by_its_creation(cluster: &Cluster) -> Outcome {
    let mut router = connect(cluster).await?;
    make(&mut router, "vr_rows").await?;
    done(
        &mut router,
        "CREATE VIEW vr_big AS SELECT k, a FROM vr_rows WHERE a > 20",
    )
    .await?;
    same!(
        on_each(cluster, "SELECT to_regclass('vr_big') IS NOT NULL").await?,
        ["t", "t"]
    );
    let known = definition(cluster, "public.vr_big")
        .await?
        .context("a definition")?;
    anyhow::ensure!(known.contains("public.vr_rows"), "{known}");
    same!(
        read(&mut router, "SELECT a FROM vr_big ORDER BY a").await?,
        ["30", "40", "50"]
    );
    same!(
        read(&mut router, "SELECT a FROM vr_big WHERE k = 4").await?,
        ["40"]
    );
    same!(
        read(&mut router, "SELECT a FROM vr_big WHERE k = 1").await?,
        [""; 0]
    );
    let routed = read(
        &mut router,
        "EXPLAIN (ROUTE) SELECT a FROM vr_big WHERE k = 4",
    )
    .await?;
    anyhow::ensure!(
        routed.first().is_some_and(|it| it.starts_with("Route to")),
        "{routed:?}"
    );
    // The other front.
    let body = json!({ "query": "SELECT count(*) AS n FROM vr_big" });
    let answer = cluster.router(0)?.execute(&body).await?.expect(200)?;
    same!(answer["rows"][0]["n"], json!(3), "{answer}");
    let (code, text, _) = refused(&mut router, "SELECT v.a FROM vr_big v, vr_big w").await?;
    same!(code, "0A000");
    anyhow::ensure!(text.contains("reading view \"vr_big\""), "{text}");
    let (code, _, hint) = refused(&mut router, "UPDATE vr_big SET a = 1 WHERE k = 4").await?;
    same!(code, "0A000");
    anyhow::ensure!(hint.contains("write its table"), "{hint}");
    done(&mut router, "ALTER VIEW vr_big RENAME TO vr_large").await?;
    same!(
        read(&mut router, "SELECT count(*) FROM vr_large").await?,
        ["3"]
    );
    let (code, ..) = refused(&mut router, "SELECT count(*) FROM vr_big").await?;
    same!(code, "42P01");
    done(
        &mut router,
        "CREATE OR REPLACE VIEW vr_large AS SELECT k, a FROM vr_rows",
    )
    .await?;
    same!(
        read(&mut router, "SELECT count(*) FROM vr_large").await?,
        ["5"]
    );
    done(&mut router, "DROP VIEW vr_large").await?;
    same!(definition(cluster, "public.vr_large").await?, None);
    let (code, ..) = refused(&mut router, "SELECT count(*) FROM vr_large").await?;
    same!(code, "42P01");
    Ok(())
}

async fn a_view_of_an_unsharded_table_is_where_that_is(cluster: &Cluster) -> Outcome {
    let mut router = connect(cluster).await?;
    let there = "/* table_kind = unsharded, shard = 'shard-2' */ CREATE TABLE vu_there (id int)";
    done(&mut router, there).await?;
    done(&mut router, "INSERT INTO vu_there VALUES (1), (2)").await?;
    done(
        &mut router,
        "CREATE VIEW vu_view AS SELECT id FROM vu_there",
    )
    .await?;
    same!(
        on_each(cluster, "SELECT to_regclass('vu_view') IS NOT NULL").await?,
        ["f", "t"]
    );
    same!(
        read(&mut router, "SELECT id FROM vu_view ORDER BY id").await?,
        ["1", "2"]
    );
    done(
        &mut router,
        "CREATE VIEW vu_more AS SELECT id + 1 AS id FROM vu_view",
    )
    .await?;
    same!(
        read(&mut router, "SELECT id FROM vu_more ORDER BY id").await?,
        ["2", "3"]
    );
    done(
        &mut router,
        "ALTER TABLE vu_there RENAME COLUMN id TO number",
    )
    .await?;
    same!(
        read(&mut router, "SELECT id FROM vu_more ORDER BY id").await?,
        ["2", "3"]
    );
    done(&mut router, "DROP VIEW vu_more").await?;
    done(&mut router, "DROP VIEW vu_view").await?;
    done(&mut router, "DROP TABLE vu_there").await?;
    Ok(())
}

async fn a_view_follows_the_changes_beneath_it(cluster: &Cluster) -> Outcome {
    let mut router = connect(cluster).await?;
    make(&mut router, "vc_rows").await?;
    done(
        &mut router,
        "CREATE VIEW vc_view AS SELECT k, a, b FROM vc_rows",
    )
    .await?;
    done(
        &mut router,
        "CREATE VIEW vc_over AS SELECT k, a FROM vc_view WHERE b <> 'b1'",
    )
    .await?;
    done(&mut router, "ALTER TABLE vc_rows RENAME COLUMN a TO c").await?;
    same!(
        read(&mut router, "SELECT a FROM vc_over WHERE k = 3").await?,
        ["30"]
    );
    done(
        &mut router,
        "ALTER TABLE vc_rows ADD COLUMN a int DEFAULT 7",
    )
    .await?;
    same!(
        read(&mut router, "SELECT sum(a) FROM vc_over").await?,
        ["140"]
    );
    let replace = "CREATE OR REPLACE VIEW vc_view AS SELECT k, a, b FROM vc_rows";
    done(&mut router, replace).await?;
    same!(
        read(&mut router, "SELECT sum(a) FROM vc_over").await?,
        ["28"]
    );
    // What is dropped with a table is no view any more.
    done(&mut router, "DROP TABLE vc_rows CASCADE").await?;
    same!(definition(cluster, "public.vc_view").await?, None);
    let (code, ..) = refused(&mut router, "SELECT * FROM vc_over").await?;
    same!(code, "42P01");
    Ok(())
}

async fn a_view_of_a_transaction_is_read_after_its_commit(cluster: &Cluster) -> Outcome {
    let mut router = connect(cluster).await?;
    make(&mut router, "vt_rows").await?;
    for (end, rows) in [("ROLLBACK", None), ("COMMIT", Some("3"))] {
        done(&mut router, "BEGIN").await?;
        done(
            &mut router,
            "CREATE VIEW vt_view AS SELECT k FROM vt_rows WHERE a > 20",
        )
        .await?;
        done(&mut router, end).await?;
        match rows {
            Some(rows) => same!(
                read(&mut router, "SELECT count(*) FROM vt_view").await?,
                [rows]
            ),
            None => {
                let (code, ..) = refused(&mut router, "SELECT count(*) FROM vt_view").await?;
                same!(code, "42P01");
            }
        }
    }
    done(&mut router, "BEGIN").await?;
    done(
        &mut router,
        "CREATE OR REPLACE VIEW vt_view AS SELECT k FROM vt_rows",
    )
    .await?;
    let (code, ..) = refused(&mut router, "SELECT count(*) FROM vt_view").await?;
    same!(code, "0A000");
    done(&mut router, "ROLLBACK").await?;
    same!(
        read(&mut router, "SELECT count(*) FROM vt_view").await?,
        ["3"]
    );
    done(&mut router, "BEGIN").await?;
    done(
        &mut router,
        "CREATE OR REPLACE VIEW vt_view AS SELECT k FROM vt_rows",
    )
    .await?;
    done(&mut router, "COMMIT").await?;
    same!(
        read(&mut router, "SELECT count(*) FROM vt_view").await?,
        ["5"]
    );
    done(&mut router, "DROP VIEW vt_view").await?;
    Ok(())
}

async fn a_view_that_exists_is_registered_as_it_is(cluster: &Cluster) -> Outcome {
    let mut router = connect(cluster).await?;
    make(&mut router, "ve_rows").await?;
    for shard in &cluster.shards {
        shard
            .psql("CREATE VIEW ve_view AS SELECT k FROM ve_rows WHERE a > 30")
            .await?;
    }
    let (code, _, hint) = refused(&mut router, "SELECT count(*) FROM ve_view").await?;
    same!(code, "0A000");
    anyhow::ensure!(hint.contains("sharding.view"), "{hint}");
    done(&mut router, "SELECT sharding.view('ve_view')").await?;
    same!(
        read(&mut router, "SELECT count(*) FROM ve_view").await?,
        ["2"]
    );
    // Behind the routers' back it is what was registered, wholly, until it is registered anew.
    let replace = "CREATE OR REPLACE VIEW ve_view AS SELECT k FROM ve_rows";
    let (first, others) = cluster.shards.split_first().context("shards")?;
    first.psql(replace).await?;
    same!(
        read(&mut router, "SELECT count(*) FROM ve_view").await?,
        ["2"]
    );
    let (code, text, _) = refused(&mut router, "SELECT sharding.view('ve_view')").await?;
    same!(code, "0A000");
    anyhow::ensure!(text.contains("not the same on all shards"), "{text}");
    for shard in others {
        shard.psql(replace).await?;
    }
    done(&mut router, "SELECT sharding.view('public.ve_view')").await?;
    same!(
        read(&mut router, "SELECT count(*) FROM ve_view").await?,
        ["5"]
    );
    let (code, ..) = refused(&mut router, "SELECT sharding.view('ve_none')").await?;
    same!(code, "42P01");
    done(&mut router, "DROP VIEW ve_view").await?;
    Ok(())
}

async fn row_security_keeps_a_view_out(cluster: &Cluster) -> Outcome {
    let mut router = connect(cluster).await?;
    make(&mut router, "vs_rows").await?;
    done(&mut router, "CREATE VIEW vs_view AS SELECT k FROM vs_rows").await?;
    done(
        &mut router,
        "CREATE VIEW vs_asks WITH (security_invoker) AS SELECT k FROM vs_rows",
    )
    .await?;
    done(&mut router, "CREATE VIEW vs_over AS SELECT k FROM vs_asks").await?;
    same!(
        read(&mut router, "SELECT count(*) FROM vs_over").await?,
        ["5"]
    );
    done(&mut router, "ALTER TABLE vs_rows ENABLE ROW LEVEL SECURITY").await?;
    for view in ["vs_view", "vs_over"] {
        let (code, ..) = refused(&mut router, &format!("SELECT count(*) FROM {view}")).await?;
        same!(code, "0A000", "{view}");
        let call = format!("SELECT sharding.view('{view}')");
        let (_, text, _) = refused(&mut router, &call).await?;
        anyhow::ensure!(text.contains("row security"), "{text}");
    }
    same!(
        read(&mut router, "SELECT count(*) FROM vs_asks").await?,
        ["5"]
    );
    done(&mut router, "DROP TABLE vs_rows CASCADE").await?;
    Ok(())
}

async fn a_view_that_another_router_replaces_is_read_so_at_once() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 3,
        routers: 2,
        ..Plan::default()
    })
    .await?;
    let mut one = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut other = Raw::connect(&cluster.router(1)?.address()).await?;
    make(&mut one, "va_rows").await?;
    make(&mut one, "va_rest").await?;
    done(&mut one, "DELETE FROM va_rest WHERE k = 2").await?;
    done(&mut one, "CREATE VIEW va_view AS SELECT k, a FROM va_rows").await?;
    tests::wait::until(
        "the view on the other router",
        tests::wait::SETTLE,
        async || {
            let mut other = Raw::connect(&cluster.router(1)?.address()).await?;
            done(&mut other, "SELECT count(*) FROM va_view").await
        },
    )
    .await?;
    let prepared = "SELECT count(*) FROM va_view WHERE k <> $1";
    let answer = other
        .exchange(&[parse("counts", prepared, &[]), sync()].concat())
        .await?;
    same!(answer.iter().find_map(Message::sqlstate), None);
    let tables = ["va_rows", "va_rest"];
    for turn in 0..20 {
        let table = tables[turn % 2];
        let low = turn % 4;
        let replace =
            format!("CREATE OR REPLACE VIEW va_view AS SELECT k, a FROM {table} WHERE k > {low}");
        done(&mut one, &replace).await?;
        let keys = (1..=5).filter(|key| *key > low && (turn % 2 == 0 || *key != 2));
        let expected: Vec<String> = keys.map(|key| key.to_string()).collect();
        let count = expected.len().to_string();
        for key in 1..=5_usize {
            let by_key = format!("SELECT k FROM va_view WHERE k = {key}");
            let there = expected.contains(&key.to_string());
            same!(
                read(&mut other, &by_key).await?.len(),
                usize::from(there),
                "{turn} {key}"
            );
        }
        same!(
            read(&mut other, "SELECT k FROM va_view ORDER BY k").await?,
            expected,
            "{turn}"
        );
        let batch = [
            bind("", "counts", false, &[Some(b"0")]),
            execute("", 0),
            sync(),
        ];
        let answer = other.exchange(&batch.concat()).await?;
        same!(column(&answer)?, [count], "{turn}: {answer:?}");
    }
    done(&mut one, "DROP VIEW va_view").await?;
    let (code, ..) = refused(&mut other, "SELECT k FROM va_view").await?;
    same!(code, "42P01");
    Ok(())
}
