//! Hints at a key or a shard, in comments and in settings, and EXPLAIN (ROUTE).

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::raw::{self, Raw, bind, describe, execute, parse, sync};

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_hint_in_a_comment_names_the_key_or_the_shard,
        a_setting_names_the_key_or_the_shard,
        a_hint_follows_its_transaction,
        a_startup_option_is_a_setting,
        a_hint_never_brings_a_row_to_the_wrong_shard,
        hints_work_in_the_extended_protocol,
        a_hint_in_a_comment_works_over_http,
        a_route_is_explained,
    )
    .into()
}

/// A table with one row on the first shard and two on the second; the keys of the first of each.
async fn uneven(cluster: &Cluster, table: &str) -> anyhow::Result<[i64; 2]> {
    cluster
        .create(table, "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let one = cluster.key_on("shard-1", 1).await?;
    let two = cluster.key_on("shard-2", 1).await?;
    let three = cluster.key_on("shard-2", two + 1).await?;
    for key in [one, two, three] {
        let insert = format!("INSERT INTO {table} (k, v) VALUES ({key}, 0)");
        cluster.router(0)?.psql(&insert).await?;
    }
    Ok([one, two])
}

async fn connect(cluster: &Cluster) -> anyhow::Result<Raw> {
    Raw::connect(&cluster.router(0)?.address()).await
}

async fn value(router: &mut Raw, sql: &str) -> anyhow::Result<String> {
    let answer = router.query(sql).await?;
    let first = column(&answer)?.into_iter().next();
    first.with_context(|| format!("{sql}: {answer:?}"))
}

async fn a_hint_in_a_comment_names_the_key_or_the_shard(cluster: &Cluster) -> Outcome {
    let [one, two] = uneven(cluster, "hint_comment").await?;
    let mut router = connect(cluster).await?;
    let count = "SELECT count(*) FROM hint_comment";
    for (hint, rows) in [
        (format!("shard_key = {one}"), "1"),
        (format!("shard_key = '{two}'"), "2"),
        ("shard = 'shard-1'".to_owned(), "1"),
        ("shard = shard-2".to_owned(), "2"),
        (format!("shard = shard-2, shard_key = {two}"), "2"),
    ] {
        same!(
            value(&mut router, &format!("{count} /* {hint} */")).await?,
            rows,
            "{hint}"
        );
        same!(
            value(&mut router, &format!("/*{hint}*/ {count}")).await?,
            rows,
            "{hint}"
        );
    }
    for (hint, code) in [
        ("shard_key = 'x'".to_owned(), "22P02"),
        ("shard = nowhere".to_owned(), "22023"),
        ("shard = a */ /* shard = b".to_owned(), "42601"),
        (format!("shard = shard-1, shard_key = {two}"), "0A000"),
    ] {
        let (found, text) = error_of(&router.query(&format!("{count} /* {hint} */")).await?)?;
        same!(found, code, "{hint}: {text}");
    }
    let literal = format!("{count} WHERE '/* shard = shard-1 */' <> ''");
    same!(
        value(&mut router, &literal).await?,
        "3",
        "no hint: all rows"
    );
    Ok(())
}

async fn a_setting_names_the_key_or_the_shard(cluster: &Cluster) -> Outcome {
    let [one, two] = uneven(cluster, "hint_setting").await?;
    let mut router = connect(cluster).await?;
    let count = "SELECT count(*) FROM hint_setting";
    let set = router.query(&format!("SET sharding.key = {two}")).await?;
    same!(raw::tags(&set), "CZ");
    same!(value(&mut router, count).await?, "2");
    same!(
        value(&mut router, "SHOW sharding.key").await?,
        two.to_string()
    );
    // A comment goes before the setting; another key that is shown is refused.
    same!(
        value(&mut router, &format!("{count} /* shard_key = {one} */")).await?,
        "1"
    );
    let other = router.query(&format!("{count} WHERE k = {one}")).await?;
    same!(sqlstate(&other).as_deref(), Some("0A000"));
    router.query("RESET sharding.key").await?;
    same!(value(&mut router, "SHOW sharding.key").await?, "");
    same!(value(&mut router, count).await?, "3", "no hint: all rows");
    router.query("SET sharding.shard TO 'shard-1'").await?;
    same!(value(&mut router, count).await?, "1");
    for off in ["SET sharding.shard = ''", "RESET ALL", "DISCARD ALL"] {
        same!(sqlstate(&router.query(off).await?), None, "{off}");
        same!(value(&mut router, count).await?, "3", "{off}");
        router.query("SET sharding.shard TO 'shard-1'").await?;
        let both = format!("{count} WHERE k IN ({one}, {two})");
        same!(
            sqlstate(&router.query(&both).await?).as_deref(),
            Some("0A000"),
            "keys of another shard than the hint's"
        );
    }
    // No shard has heard of it.
    let known = value(
        &mut router,
        "SELECT current_setting('sharding.shard', true) IS NULL",
    );
    same!(known.await?, "t");
    let script = router.query("SET sharding.shard = ''; SELECT 1").await?;
    same!(raw::tags(&script), "CTDCZ", "{script:?}");
    Ok(())
}

async fn a_startup_option_is_a_setting(cluster: &Cluster) -> Outcome {
    let [one, two] = uneven(cluster, "hint_startup").await?;
    let address = cluster.router(0)?.address();
    let options = format!("-c sharding.key={two} -c statement_timeout=12345");
    let parameters = [
        ("options", options.as_str()),
        ("Sharding.Consistency", "eventual"),
    ];
    let mut router = Raw::connect_with(&address, &parameters).await?;
    let count = "SELECT count(*) FROM hint_startup";
    same!(value(&mut router, count).await?, "2");
    same!(
        value(&mut router, "SHOW sharding.consistency").await?,
        "eventual"
    );
    same!(
        value(&mut router, "SHOW statement_timeout").await?,
        "12345ms"
    );
    router.query(&format!("SET sharding.key = {one}")).await?;
    same!(value(&mut router, count).await?, "1");
    for reset in [
        "RESET sharding.key",
        "SET sharding.key TO DEFAULT",
        "RESET ALL",
        "DISCARD ALL",
    ] {
        router.query("SET sharding.key = ''").await?;
        same!(value(&mut router, "SHOW sharding.key").await?, "");
        router.query(reset).await?;
        same!(
            value(&mut router, "SHOW sharding.key").await?,
            two.to_string(),
            "{reset}"
        );
    }
    let wrong = [("sharding.consistency", "maybe")];
    let refused = Raw::connect_with(&address, &wrong).await;
    let text = format!("{:?}", refused.err().context("the client was let in")?);
    anyhow::ensure!(text.contains("22023"), "{text}");
    Ok(())
}

async fn a_hint_follows_its_transaction(cluster: &Cluster) -> Outcome {
    let [one, two] = uneven(cluster, "hint_transaction").await?;
    let mut router = connect(cluster).await?;
    let show = "SHOW sharding.key";
    for (statements, inside, after) in [
        (
            vec![format!("SET sharding.key = {one}")],
            one.to_string(),
            "",
        ),
        (
            vec![format!("SET LOCAL sharding.key = {two}")],
            two.to_string(),
            "",
        ),
    ] {
        router.query("BEGIN").await?;
        for statement in &statements {
            same!(
                sqlstate(&router.query(statement).await?),
                None,
                "{statement}"
            );
        }
        same!(value(&mut router, show).await?, inside);
        let count = value(&mut router, "SELECT count(*) FROM hint_transaction").await?;
        same!(count, if inside == one.to_string() { "1" } else { "2" });
        router.query("ROLLBACK").await?;
        same!(value(&mut router, show).await?, after);
    }
    router.query("BEGIN").await?;
    router.query(&format!("SET sharding.key = {one}")).await?;
    router.query("SAVEPOINT a").await?;
    router
        .query(&format!("SET LOCAL sharding.key = {two}"))
        .await?;
    same!(value(&mut router, show).await?, two.to_string());
    router.query("ROLLBACK TO a").await?;
    same!(value(&mut router, show).await?, one.to_string());
    router
        .query(&format!("SET LOCAL sharding.key = {two}"))
        .await?;
    same!(status(&router.query("COMMIT").await?)?, 'I');
    same!(value(&mut router, show).await?, one.to_string());
    router.query("BEGIN").await?;
    router.query("RESET sharding.key").await?;
    same!(status(&router.query("SELECT * FROM nowhere").await?)?, 'E');
    same!(
        sqlstate(&router.query(show).await?).as_deref(),
        Some("25P02")
    );
    router.query("COMMIT").await?;
    same!(value(&mut router, show).await?, one.to_string());
    Ok(())
}

async fn a_hint_never_brings_a_row_to_the_wrong_shard(cluster: &Cluster) -> Outcome {
    let [one, two] = uneven(cluster, "hint_writes").await?;
    let mut router = connect(cluster).await?;
    let far = cluster.key_on("shard-2", 5000).await?;
    router.query("SET sharding.shard = 'shard-1'").await?;
    for sql in [
        "DELETE FROM hint_writes".to_owned(),
        "UPDATE hint_writes SET v = 1".to_owned(),
        "SELECT * FROM hint_writes FOR UPDATE".to_owned(),
        format!("DELETE FROM hint_writes WHERE k = {two}"),
        format!("INSERT INTO hint_writes (k, v) VALUES ({far}, 1)"),
        "CREATE TABLE hint_other (k bigint)".to_owned(),
    ] {
        let answer = router.query(&sql).await?;
        same!(
            sqlstate(&answer).as_deref(),
            Some("0A000"),
            "{sql}: {answer:?}"
        );
    }
    let update = format!("UPDATE hint_writes SET v = 7 WHERE k = {one} RETURNING v");
    same!(value(&mut router, &update).await?, "7");
    let strays = cluster.shard("shard-1")?;
    let sql = format!("SELECT count(*) FROM hint_writes WHERE k = {two}");
    same!(strays.psql(&sql).await?, "0");
    same!(
        cluster
            .shard("shard-2")?
            .psql("SELECT count(*) FROM hint_writes")
            .await?,
        "2"
    );
    Ok(())
}

async fn hints_work_in_the_extended_protocol(cluster: &Cluster) -> Outcome {
    let [one, two] = uneven(cluster, "hint_extended").await?;
    let mut router = connect(cluster).await?;
    let text = |value: i64| value.to_string().into_bytes();
    let count = "SELECT count(*) FROM hint_extended";
    let run = |sql: &str| {
        [
            parse("", sql, &[]),
            bind("", "", false, &[]),
            execute("", 0),
        ]
        .concat()
    };
    let hinted = [run(&format!("{count} /* shard_key = {two} */")), sync()].concat();
    same!(column(&router.exchange(&hinted).await?)?, ["2"]);
    // A setting of the same batch holds for what follows.
    let messages = [
        run(&format!("SET sharding.key = {one}")),
        run(count),
        sync(),
    ]
    .concat();
    let answer = router.exchange(&messages).await?;
    same!(column(&answer)?, ["1"], "{answer:?}");
    let show = [
        parse("", "SHOW sharding.key", &[]),
        describe(b'S', ""),
        bind("", "", false, &[]),
        describe(b'P', ""),
        execute("", 0),
        sync(),
    ];
    let answer = router.exchange(&show.concat()).await?;
    same!(raw::tags(&answer), "1tT2TDCZ");
    same!(column(&answer)?, [one.to_string()]);
    router.query("RESET sharding.key").await?;
    let explain = [
        parse(
            "e",
            "EXPLAIN (ROUTE) SELECT v FROM hint_extended WHERE k = $1",
            &[20],
        ),
        describe(b'S', "e"),
        bind("", "e", false, &[Some(&text(two))]),
        execute("", 0),
        sync(),
    ];
    let answer = router.exchange(&explain.concat()).await?;
    let lines = column(&answer)?;
    same!(
        lines.first().map(String::as_str),
        Some("Route to shard shard-2"),
        "{lines:?}"
    );
    Ok(())
}

async fn a_hint_in_a_comment_works_over_http(cluster: &Cluster) -> Outcome {
    let [one, two] = uneven(cluster, "hint_http").await?;
    let router = cluster.router(0)?;
    for (hint, shard, rows) in [
        (format!("shard_key = {one}"), "shard-1", 1),
        ("shard = shard-2".to_owned(), "shard-2", 2),
    ] {
        let query = format!("SELECT count(*) AS n FROM hint_http /* {hint} */");
        let answer = router
            .execute(&json!({ "query": query }))
            .await?
            .expect(200)?;
        same!(answer["shard_id"], json!(shard), "{answer}");
        same!(answer["rows"][0]["n"], json!(rows), "{answer}");
    }
    let both = json!({
        "query": format!("SELECT count(*) FROM hint_http /* shard_key = {one} */"),
        "shard_key": two,
    });
    router.execute(&both).await?.expect(501)?;
    let explain =
        json!({ "query": format!("EXPLAIN (ROUTE) SELECT v FROM hint_http WHERE k = {two}") });
    let answer = router.execute(&explain).await?.expect(200)?;
    same!(
        answer["rows"][0]["QUERY PLAN"],
        json!("Route to shard shard-2"),
        "{answer}"
    );
    same!(answer["shard_id"], json!("shard-2"));
    Ok(())
}

async fn a_route_is_explained(cluster: &Cluster) -> Outcome {
    let [one, _] = uneven(cluster, "hint_explain").await?;
    let mut router = connect(cluster).await?;
    let select = "EXPLAIN (ROUTE) SELECT v FROM hint_explain";
    let by_key = router.query(&format!("{select} WHERE k = {one}")).await?;
    same!(raw::tags(&by_key), "TDDDDCZ");
    let lines = column(&by_key)?;
    same!(
        lines.first().map(String::as_str),
        Some("Route to shard shard-1")
    );
    let key = format!("  Key: {one} (literal)  Token: ");
    anyhow::ensure!(lines.iter().any(|line| line.starts_with(&key)), "{lines:?}");
    anyhow::ensure!(
        lines.iter().any(|line| line.starts_with("  Epoch: ")),
        "{lines:?}"
    );
    let first = value(&mut router, select).await?;
    same!(first, "Scatter over 2 shards");
    same!(
        value(&mut router, &format!("{select} WHERE k = $1")).await?,
        "Route by parameter $1"
    );
    let options = router.query("EXPLAIN (ROUTE, VERBOSE) SELECT 1").await?;
    same!(sqlstate(&options).as_deref(), Some("0A000"));
    Ok(())
}
