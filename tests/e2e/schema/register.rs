//! A table is registered in the step that creates it, or by a call of its own.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::Raw;
use tests::{Cluster, Manager, http, wait};

use super::{column, done, on_each, refused};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = shared!(suite:
        a_comment_registers_the_table_that_it_stands_on,
        a_call_registers_a_table_that_exists,
        a_key_may_have_a_quoted_name,
        a_reference_table_and_an_unsharded_one_are_registered,
        what_does_not_fit_is_neither_created_nor_registered,
        rows_that_would_not_be_found_keep_a_table_from_being_registered,
        a_table_is_forgotten_once_it_is_dropped,
        a_table_is_registered_over_http,
    )
    .into();
    trials.extend(alone!(suite:
        without_a_manager_nothing_is_created,
        a_router_shows_its_token_to_the_manager,
    ));
    trials
}

/// The registered table in the manager's words; null when there is none.
async fn registered(cluster: &Cluster, name: &str) -> anyhow::Result<serde_json::Value> {
    let answer = http::get(&cluster.manager(0)?.api("/tables"))
        .await?
        .expect(200)?;
    let tables = answer["tables"].as_array().cloned().unwrap_or_default();
    let found = tables.into_iter().find(|table| table["name"] == name);
    Ok(found.unwrap_or_default())
}

async fn a_comment_registers_the_table_that_it_stands_on(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(
        &mut router,
        "/* shard_key = customer */ CREATE TABLE reg_orders (customer bigint, id int, \
         PRIMARY KEY (customer, id))",
    )
    .await?;
    // The session sees it at once.
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        let insert = format!("INSERT INTO reg_orders (customer, id) VALUES ({key}, 1)");
        done(&mut router, &insert).await?;
    }
    same!(
        on_each(cluster, "SELECT count(*) FROM reg_orders").await?,
        ["1", "1"]
    );
    let table = registered(cluster, "public.reg_orders").await?;
    same!(
        (&table["shard_key"], &table["group"]),
        (&json!("customer"), &json!("default"))
    );
    // Again is no harm; otherwise is refused.
    done(
        &mut router,
        "/* shard_key = customer */ CREATE TABLE IF NOT EXISTS reg_orders (customer bigint)",
    )
    .await?;
    let (code, ..) = refused(
        &mut router,
        "/* shard_key = id */ CREATE TABLE IF NOT EXISTS reg_orders (customer bigint)",
    )
    .await?;
    same!(code, "42710");
    // A text key gets a group of its own.
    done(
        &mut router,
        "/* shard_key = 'word' */ CREATE TABLE reg_words (LIKE reg_orders, word text PRIMARY KEY); \
         ALTER TABLE reg_words ALTER customer DROP NOT NULL, ALTER id DROP NOT NULL; \
         CREATE INDEX ON reg_words (id)",
    )
    .await?;
    same!(
        registered(cluster, "public.reg_words").await?["group"],
        json!("text")
    );
    done(&mut router, "INSERT INTO reg_words (word) VALUES ('a')").await?;
    Ok(())
}

async fn a_key_may_have_a_quoted_name(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "/* shard_key = 'Customer Id' */ CREATE TABLE \"Reg Mixed\" (v text, \"Customer Id\" bigint PRIMARY KEY)",
        "CREATE TABLE reg_camel (v text, \"customerId\" bigint PRIMARY KEY)",
        "SELECT sharding.shard_table('reg_camel', 'customerId')",
    ] {
        done(&mut router, sql).await?;
    }
    let tables = [
        ("\"Reg Mixed\"", "\"Customer Id\""),
        ("reg_camel", "\"customerId\""),
    ];
    let (here, there) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    for (table, key) in tables {
        done(
            &mut router,
            &format!("INSERT INTO {table} VALUES ('a', {here})"),
        )
        .await?;
        let named = format!("INSERT INTO {table} ({key}, v) VALUES ({there}, 'b')");
        done(&mut router, &named).await?;
        let counts = on_each(cluster, &format!("SELECT count(*) FROM {table}")).await?;
        same!(counts, ["1", "1"], "{table}");
        let select = format!("SELECT v FROM {table} t WHERE t.{key} = {there}");
        same!(
            column(&done(&mut router, &select).await?)?,
            ["b"],
            "{table}"
        );
        let all = format!("SELECT v FROM {table} ORDER BY {key} = {here}");
        same!(
            column(&done(&mut router, &all).await?)?,
            ["b", "a"],
            "{table}"
        );
        let update = format!("UPDATE {table} SET v = 'c' WHERE {key} IN ({here}, {there})");
        done(&mut router, &update).await?;
    }
    // Without its quotes the name is another one.
    let (code, ..) = refused(&mut router, "SELECT v FROM reg_camel WHERE customerId = 1").await?;
    same!(code, "42703");
    let (code, ..) = refused(
        &mut router,
        "SELECT sharding.shard_table('reg_camel', 'customerid')",
    )
    .await?;
    anyhow::ensure!(code != "00000", "{code}");
    Ok(())
}

async fn a_call_registers_a_table_that_exists(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(
        &mut router,
        "CREATE TABLE reg_called (k int PRIMARY KEY, v text)",
    )
    .await?;
    let (_, _, hint) = refused(&mut router, "SELECT * FROM reg_called WHERE k = 1").await?;
    anyhow::ensure!(hint.contains("sharding.shard_table"), "{hint}");
    let answer = done(
        &mut router,
        "SELECT sharding.shard_table('reg_called', 'k')",
    )
    .await?;
    same!(column(&answer)?, ["reg_called"]);
    done(&mut router, "INSERT INTO reg_called VALUES (1, 'x')").await?;
    // By a driver's prepared statement, too.
    done(
        &mut router,
        "CREATE TABLE reg_prepared (k uuid PRIMARY KEY)",
    )
    .await?;
    let client = cluster.router(0)?.client().await?;
    let row = client
        .query_one(
            "SELECT sharding.shard_table('public.reg_prepared', 'k')",
            &[],
        )
        .await?;
    same!(row.get::<_, &str>(0), "public.reg_prepared");
    same!(
        registered(cluster, "public.reg_prepared").await?["key_type"],
        json!("uuid")
    );
    done(&mut router, "BEGIN").await?;
    let (code, ..) = refused(&mut router, "SELECT sharding.reference_table('reg_called')").await?;
    same!(code, "25001");
    done(&mut router, "ROLLBACK").await?;
    let (code, ..) = refused(&mut router, "SELECT sharding.shard_table('reg_none', 'k')").await?;
    same!(code, "42P01");
    let (code, ..) = refused(&mut router, "SELECT sharding.no_such('x')").await?;
    same!(code, "42883");
    Ok(())
}

async fn a_reference_table_and_an_unsharded_one_are_registered(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(
        &mut router,
        "/* table_kind = reference */ CREATE TABLE reg_ref (code text PRIMARY KEY)",
    )
    .await?;
    same!(
        registered(cluster, "public.reg_ref").await?["kind"],
        json!("reference")
    );
    done(
        &mut router,
        "/* table_kind = unsharded, shard = 'shard-2' */ CREATE TABLE reg_home (a int)",
    )
    .await?;
    let there = "SELECT to_regclass('reg_home') IS NOT NULL";
    same!(on_each(cluster, there).await?, ["f", "t"]);
    done(&mut router, "INSERT INTO reg_home VALUES (1)").await?;
    done(&mut router, "CREATE TABLE reg_some (a int)").await?;
    done(&mut router, "SELECT sharding.unsharded_table('reg_some')").await?;
    same!(
        registered(cluster, "public.reg_some").await?["shard_id"],
        json!("shard-1")
    );
    done(&mut router, "INSERT INTO reg_some VALUES (1)").await?;
    Ok(())
}

async fn what_does_not_fit_is_neither_created_nor_registered(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (sql, wanted) in [
        (
            "/* shard_key = x */ CREATE TABLE reg_bad (k bigint)",
            "42703",
        ),
        (
            "/* shard_key = k */ CREATE TABLE reg_bad (k numeric)",
            "42P16",
        ),
        (
            "/* shard_key = k */ CREATE TABLE reg_bad (k varchar(5))",
            "42P16",
        ),
        (
            "/* shard_key = k */ CREATE TABLE reg_bad (k bigint, id int PRIMARY KEY)",
            "0A000",
        ),
        (
            "/* shard_key = k, table_group = default */ CREATE TABLE reg_bad (k text)",
            "55000",
        ),
        (
            "/* shard_key = k, table_kind = reference */ CREATE TABLE reg_bad (k text)",
            "42601",
        ),
        (
            "/* table_kind = other */ CREATE TABLE reg_bad (k text)",
            "42601",
        ),
        (
            "/* table_kind = unsharded, shard = 'shard-9' */ CREATE TABLE reg_bad (k text)",
            "22023",
        ),
    ] {
        let (code, message, _) = refused(&mut router, sql).await?;
        same!(code, wanted, "{sql}: {message}");
    }
    let there = "SELECT to_regclass('reg_bad') IS NOT NULL";
    same!(on_each(cluster, there).await?, ["f", "f"]);
    same!(registered(cluster, "public.reg_bad").await?, json!(null));
    Ok(())
}

async fn rows_that_would_not_be_found_keep_a_table_from_being_registered(
    cluster: &Cluster,
) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "CREATE TABLE reg_rows (k bigint)").await?;
    cluster
        .shard("shard-2")?
        .psql("INSERT INTO reg_rows VALUES (1)")
        .await?;
    for sql in [
        "SELECT sharding.shard_table('reg_rows', 'k')",
        "SELECT sharding.reference_table('reg_rows')",
        "SELECT sharding.unsharded_table('reg_rows', 'shard-1')",
    ] {
        let (code, ..) = refused(&mut router, sql).await?;
        same!(code, "55000", "{sql}");
    }
    done(
        &mut router,
        "SELECT sharding.unsharded_table('reg_rows', 'shard-2')",
    )
    .await?;
    Ok(())
}

async fn a_table_is_forgotten_once_it_is_dropped(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let create = "/* shard_key = k */ CREATE TABLE reg_gone (k bigint)";
    done(&mut router, create).await?;
    let (code, ..) = refused(&mut router, "SELECT sharding.forget_table('reg_gone')").await?;
    same!(code, "55000");
    done(&mut router, "DROP TABLE reg_gone").await?;
    // A table that is made anew is the same one.
    done(&mut router, create).await?;
    done(&mut router, "DROP TABLE reg_gone").await?;
    done(&mut router, "SELECT sharding.forget_table('reg_gone')").await?;
    same!(registered(cluster, "public.reg_gone").await?, json!(null));
    done(
        &mut router,
        "/* table_kind = reference */ CREATE TABLE reg_gone (k bigint)",
    )
    .await?;
    Ok(())
}

async fn a_table_is_registered_over_http(cluster: &Cluster) -> Outcome {
    let body = json!({ "query": "/* shard_key = k */ CREATE TABLE reg_http (k bigint)" });
    cluster.router(0)?.execute(&body).await?.expect(200)?;
    let body = json!({ "query": "INSERT INTO reg_http (k) VALUES (1)" });
    cluster.router(0)?.execute(&body).await?.expect(200)?;
    let body = json!({ "query": "SELECT sharding.shard_table('reg_http', 'k')" });
    cluster.router(0)?.execute(&body).await?.expect(501)?;
    Ok(())
}

async fn without_a_manager_nothing_is_created() -> Outcome {
    let mut cluster = Cluster::start(Plan::default()).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    cluster.managers.clear();
    let create = "/* shard_key = k */ CREATE TABLE alone (k bigint)";
    // At first the lost leader's key is still there.
    let (code, message, hint) = refused(&mut router, create).await?;
    same!(code, "57P03", "{message}");
    anyhow::ensure!(hint.contains("send it again"), "{hint}");
    let there = "SELECT to_regclass('alone') IS NOT NULL";
    same!(on_each(&cluster, there).await?, ["f", "f"]);
    Ok(())
}

async fn a_router_shows_its_token_to_the_manager() -> Outcome {
    let security = json!({ "security": {
        "enable_rbac": true, "jwt_secret": "0123456789abcdef0123456789abcdef",
    } });
    let mut cluster = Cluster::start(Plan::default()).await?;
    // The shards are registered; from now on a manager leads that wants tokens.
    cluster.managers.clear();
    let mut manager = Manager::prepare(&cluster.etcd.endpoint(), &security)?;
    manager.0.start().await?;
    cluster.add_router(&security).await?;
    let create = "/* shard_key = k */ CREATE TABLE token (k bigint)";
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    wait::until("a leader that wants a token", wait::START, || async {
        let (code, ..) = refused(
            &mut Raw::connect(&cluster.router(0)?.address()).await?,
            create,
        )
        .await?;
        same!(code, "42501");
        Ok(())
    })
    .await?;
    let (_, _, hint) = refused(&mut router, create).await?;
    anyhow::ensure!(hint.contains("jwt_secret"), "{hint}");
    let mut router = Raw::connect(&cluster.router(1)?.address()).await?;
    done(&mut router, create).await?;
    done(&mut router, "INSERT INTO token (k) VALUES (1)").await?;
    Ok(())
}
