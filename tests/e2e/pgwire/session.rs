//! What belongs to a session follows it to whichever backend it gets, and to nobody else.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, close, describe, execute, parse, sync, tags};

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        settings_follow_their_session_to_every_shard,
        a_setting_of_a_transaction_ends_with_it,
        a_setting_that_is_rolled_back_is_not_followed,
        discard_all_forgets_settings_and_statements,
        prepared_statements_work_on_every_shard,
        a_session_may_have_many_prepared_statements,
        statements_of_one_name_in_two_sessions_are_two,
        a_statement_that_does_not_exist_is_postgresqls_error,
        a_prepared_statement_survives_a_change_of_its_table,
        many_sessions_share_few_backends,
    )
    .into()
}

async fn two_keys(cluster: &Cluster) -> anyhow::Result<[i64; 2]> {
    Ok([
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ])
}

async fn settings_follow_their_session_to_every_shard(cluster: &Cluster) -> Outcome {
    cluster
        .create("follow", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?.address();
    let (mut one, mut two) = (Raw::connect(&router).await?, Raw::connect(&router).await?);
    one.query("SET work_mem = '5MB'").await?;
    two.query("SET work_mem = '6MB'").await?;
    for key in two_keys(cluster).await? {
        let insert = format!("INSERT INTO follow (k) VALUES ({key})");
        same!(sqlstate(&one.query(&insert).await?), None);
        let sql = format!("SELECT current_setting('work_mem') FROM follow WHERE k = {key}");
        for _ in 0..3 {
            same!(column(&one.query(&sql).await?)?, ["5MB"]);
            same!(column(&two.query(&sql).await?)?, ["6MB"]);
        }
    }
    let mut fresh = Raw::connect(&router).await?;
    same!(column(&fresh.query("SHOW work_mem").await?)?, ["4MB"]);
    one.query("RESET work_mem").await?;
    same!(column(&one.query("SHOW work_mem").await?)?, ["4MB"]);
    Ok(())
}

async fn a_setting_of_a_transaction_ends_with_it(cluster: &Cluster) -> Outcome {
    let mut one = Raw::connect(&cluster.router(0)?.address()).await?;
    one.query("BEGIN").await?;
    one.query("SET LOCAL work_mem = '7MB'").await?;
    same!(column(&one.query("SHOW work_mem").await?)?, ["7MB"]);
    one.query("COMMIT").await?;
    for _ in 0..4 {
        same!(column(&one.query("SHOW work_mem").await?)?, ["4MB"]);
    }
    Ok(())
}

async fn a_setting_that_is_rolled_back_is_not_followed(cluster: &Cluster) -> Outcome {
    let mut one = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "SET work_mem = '5MB'",
        "BEGIN",
        "SET work_mem = '9MB'",
        "ROLLBACK",
    ] {
        one.query(sql).await?;
    }
    for _ in 0..4 {
        same!(column(&one.query("SHOW work_mem").await?)?, ["5MB"]);
    }
    Ok(())
}

async fn discard_all_forgets_settings_and_statements(cluster: &Cluster) -> Outcome {
    let mut one = Raw::connect(&cluster.router(0)?.address()).await?;
    one.query("SET work_mem = '5MB'").await?;
    let run = [bind("", "a", false, &[]), execute("", 0), sync()].concat();
    let prepared = one
        .exchange(&[parse("a", "SELECT 7", &[]), run.clone()].concat())
        .await?;
    same!(column(&prepared)?, ["7"]);
    same!(tags(&one.query("DISCARD ALL").await?), "CZ");
    same!(column(&one.query("SHOW work_mem").await?)?, ["4MB"]);
    same!(
        sqlstate(&one.exchange(&run).await?).as_deref(),
        Some("26000")
    );
    let again = one
        .exchange(&[parse("a", "SELECT 8", &[]), run].concat())
        .await?;
    same!(column(&again)?, ["8"]);
    Ok(())
}

async fn prepared_statements_work_on_every_shard(cluster: &Cluster) -> Outcome {
    cluster
        .create("prepared", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let client = cluster.router(0)?.client().await?;
    let insert = client
        .prepare("INSERT INTO prepared (k, v) VALUES ($1, $2)")
        .await?;
    let select = client
        .prepare("SELECT v FROM prepared WHERE k = $1")
        .await?;
    for key in 1..=200_i64 {
        client
            .execute(&insert, &[&key, &format!("value {key}")])
            .await?;
    }
    for key in (1..=200_i64).rev() {
        let row = client.query_one(&select, &[&key]).await?;
        same!(row.get::<_, String>(0), format!("value {key}"));
    }
    let counts = [
        cluster
            .shard("shard-1")?
            .psql("SELECT count(*) FROM prepared")
            .await?,
        cluster
            .shard("shard-2")?
            .psql("SELECT count(*) FROM prepared")
            .await?,
    ];
    let counts: Vec<u64> = counts
        .iter()
        .map(|count| count.parse())
        .collect::<Result<_, _>>()?;
    same!(counts.iter().sum::<u64>(), 200);
    anyhow::ensure!(counts.iter().all(|&count| count > 40), "uneven: {counts:?}");
    Ok(())
}

async fn a_session_may_have_many_prepared_statements(cluster: &Cluster) -> Outcome {
    cluster
        .create("many", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let client = cluster.router(0)?.client().await?;
    let mut statements = Vec::new();
    for number in 0..500_i64 {
        let sql = format!("SELECT k + {number} FROM many WHERE k = $1");
        statements.push(client.prepare(&sql).await?);
    }
    for key in two_keys(cluster).await? {
        client
            .execute("INSERT INTO many (k) VALUES ($1)", &[&key])
            .await?;
        for (number, statement) in (0_i64..).zip(&statements).step_by(7) {
            let row = client.query_one(statement, &[&key]).await?;
            same!(row.get::<_, i64>(0), key + number);
        }
    }
    Ok(())
}

async fn statements_of_one_name_in_two_sessions_are_two(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?.address();
    let mut sessions = Vec::new();
    for number in 0..6 {
        let mut session = Raw::connect(&router).await?;
        let sql = format!("SELECT {number}");
        let answer = session
            .exchange(&[parse("same", &sql, &[]), sync()].concat())
            .await?;
        same!(tags(&answer), "1Z");
        sessions.push(session);
    }
    for _ in 0..3 {
        for (number, session) in sessions.iter_mut().enumerate() {
            let run = [bind("", "same", false, &[]), execute("", 0), sync()].concat();
            same!(
                column(&session.exchange(&run).await?)?,
                [number.to_string()]
            );
        }
    }
    Ok(())
}

async fn a_statement_that_does_not_exist_is_postgresqls_error(cluster: &Cluster) -> Outcome {
    let mut routed = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut direct = Raw::connect(&cluster.shard("shard-1")?.address()).await?;
    for batch in [
        [bind("", "nobody", false, &[]), execute("", 0), sync()].concat(),
        [describe(b'S', "nobody"), sync()].concat(),
        [describe(b'P', "nobody"), sync()].concat(),
        [execute("nobody", 0), sync()].concat(),
        [
            parse("twice", "SELECT 1", &[]),
            parse("twice", "SELECT 2", &[]),
            sync(),
        ]
        .concat(),
    ] {
        let (is, wanted) = (
            routed.exchange(&batch).await?,
            direct.exchange(&batch).await?,
        );
        same!(tags(&is), tags(&wanted));
        same!(error_of(&is)?, error_of(&wanted)?);
        same!(status(&is)?, 'I');
    }
    let batch = [close(b'S', "nobody"), close(b'P', "nobody"), sync()].concat();
    same!(tags(&routed.exchange(&batch).await?), "33Z");
    Ok(())
}

async fn a_prepared_statement_survives_a_change_of_its_table(cluster: &Cluster) -> Outcome {
    cluster
        .create("altered", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?;
    let client = router.client().await?;
    let keys = two_keys(cluster).await?;
    let update = client
        .prepare("UPDATE altered SET v = 'x' WHERE k = $1")
        .await?;
    for key in keys {
        client.execute(&update, &[&key]).await?;
    }
    router
        .psql("ALTER TABLE altered ADD COLUMN w int DEFAULT 3")
        .await?;
    for key in keys {
        router
            .psql(&format!("INSERT INTO altered (k, v) VALUES ({key}, 'v')"))
            .await?;
        same!(client.execute(&update, &[&key]).await?, 1);
    }
    Ok(())
}

async fn many_sessions_share_few_backends(cluster: &Cluster) -> Outcome {
    cluster
        .create("share", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?.address();
    let mut sessions = Vec::new();
    for key in 0..120_i64 {
        let mut session = Raw::connect(&router).await?;
        let done = session
            .query(&format!("INSERT INTO share (k) VALUES ({key})"))
            .await?;
        same!(sqlstate(&done), None);
        sessions.push(session);
    }
    for (key, session) in sessions.iter_mut().enumerate() {
        let sql = format!("SELECT k FROM share WHERE k = {key}");
        same!(column(&session.query(&sql).await?)?, [key.to_string()]);
    }
    for shard in &cluster.shards {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        let backends: u32 = shard.psql(sql).await?.parse()?;
        // Two routers with 20 each, the managers' probes and this psql.
        anyhow::ensure!(backends <= 50, "{backends} backends for 120 sessions");
    }
    Ok(())
}
