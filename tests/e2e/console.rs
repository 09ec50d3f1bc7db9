//! The admin console: what an operator sees of a router, and what it does with it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::pg::Address;
use tests::program::{ROUTER_USER, Router};
use tests::raw::{Raw, bind, describe, execute, message, parse, query, sync, tags};
use tests::{Cluster, Postgres, wait};

use crate::suite::{Outcome, Suite, alone, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(shared!(suite:
        an_operator_sees_shards_pools_clients_and_the_ring,
        remembered_statements_are_shown_with_their_route,
        no_secret_is_shown,
        drivers_can_use_the_console,
        the_console_answers_row_by_row,
        only_admins_enter_where_users_prove_who_they_are,
        what_the_console_does_not_know_is_refused,
    ));
    trials.extend(alone!(suite:
        a_paused_shard_is_idle_and_serves_again_after_resume,
        a_pause_ends_with_the_operator_that_waits_for_it,
        a_pause_waits_for_the_end_of_a_copy,
        replicas_have_pools_and_are_paused_with_their_shard,
        reconnect_replaces_every_backend,
        reload_takes_users_and_says_what_takes_a_restart,
    ));
    trials
}

/// The console of a router.
fn console(router: &Router) -> Address {
    Address {
        database: "sharding".to_owned(),
        access: None,
        ..router.address()
    }
}

/// The rows of a table by the names of their columns.
async fn shown(router: &Router, command: &str) -> anyhow::Result<Vec<Value>> {
    let client = console(router).client().await?;
    let messages = client.simple_query(command).await?;
    let rows = messages.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => {
            let fields = row.columns().iter().enumerate();
            Some(
                fields
                    .map(|(at, column)| (column.name().to_owned(), json!(row.get(at))))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            )
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// The row in which a column has a value.
fn row<'a>(rows: &'a [Value], column: &str, value: &str) -> anyhow::Result<&'a Value> {
    let found = rows.iter().find(|row| row[column] == value);
    found.with_context(|| format!("no row with {column} {value} in {rows:?}"))
}

async fn an_operator_sees_shards_pools_clients_and_the_ring(cluster: &Cluster) -> Outcome {
    cluster
        .create("console_seen", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?;
    let key = cluster.key_on("shard-1", 1).await?;
    let mut session =
        Raw::connect_with(&router.address(), &[("application_name", "console-seen")]).await?;
    session.query("BEGIN").await?;
    session
        .query(&format!("SELECT FROM console_seen WHERE k = {key}"))
        .await?;
    let clients = shown(router, "SHOW CLIENTS").await?;
    let client = row(&clients, "application_name", "console-seen")?;
    same!(client["state"], "active");
    same!(client["shard_id"], "shard-1");
    anyhow::ensure!(client["request_time"].is_string(), "{client}");
    let servers = shown(router, "show servers;").await?;
    let server = row(&servers, "application_name", "console-seen")?;
    same!(server["state"], "active");
    same!(server["link"], client["id"]);
    same!(server["remote_pid"], client["remote_pid"]);
    session.query("ROLLBACK").await?;
    let clients = shown(router, "SHOW CLIENTS").await?;
    same!(
        row(&clients, "application_name", "console-seen")?["state"],
        "idle"
    );
    anyhow::ensure!(
        clients
            .iter()
            .any(|client| client["database"] == "sharding"),
        "the operator is no client"
    );
    let pools = shown(router, "SHOW POOLS").await?;
    let pool = row(&pools, "shard_id", "shard-1")?;
    same!(pool["pool_mode"], "transaction");
    same!(pool["paused"], "0");
    same!(pool["role"], "primary");
    let shards = shown(router, "SHOW SHARDS").await?;
    same!(row(&shards, "shard_id", "shard-2")?["state"], "active");
    let ring = shown(router, "SHOW RING").await?;
    same!(ring.len(), cluster.snapshot().await?.ring().vnodes().len());
    let stats = shown(router, "SHOW STATS").await?;
    let requests = row(&stats, "shard_id", "shard-1")?["total_query_count"].clone();
    anyhow::ensure!(requests != "0", "{stats:?}");
    let version = shown(router, "SHOW VERSION").await?;
    same!(version.len(), 1);
    Ok(())
}

async fn remembered_statements_are_shown_with_their_route(cluster: &Cluster) -> Outcome {
    cluster
        .create("console_routes", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?;
    let client = router.client().await?;
    let sql = "SELECT k AS console_route FROM console_routes WHERE k = $1";
    for _ in 0..3 {
        client.query(sql, &[&7_i64]).await?;
    }
    let routes = shown(router, "SHOW ROUTES").await?;
    let route = row(&routes, "query", sql)?;
    same!(route["route"], "key");
    same!(route["reason"], "key $1");
    same!(route["hits"], "2");
    Ok(())
}

async fn no_secret_is_shown(cluster: &Cluster) -> Outcome {
    // Shown by a router that has secrets: its shards' password and its users'.
    for router in &cluster.routers {
        let Ok(rows) = shown(router, "SHOW CONFIG").await else {
            continue;
        };
        same!(
            row(&rows, "key", "sharding.max_connections")?["value"],
            "20"
        );
        same!(
            row(&rows, "key", "sharding.max_connections")?["default"],
            "100"
        );
        let text = format!("{rows:?}");
        for secret in [tests::postgres::PASSWORD, ROUTER_USER.1] {
            anyhow::ensure!(!text.contains(secret), "a secret is shown");
        }
    }
    Ok(())
}

async fn drivers_can_use_the_console(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    let client = console(router).client().await?;
    // Prepared, with numbers in binary format.
    let rows = client.query("SHOW POOLS", &[]).await?;
    let ports: Vec<i64> = rows.iter().map(|row| row.get("port")).collect();
    let endpoint = cluster.shard("shard-1")?.address().port;
    anyhow::ensure!(ports.contains(&i64::from(endpoint)), "{ports:?}");
    let by_psql = console(router).psql("SHOW POOLS; SHOW VERSION").await?;
    anyhow::ensure!(by_psql.contains("transaction"), "{by_psql}");
    // What psycopg sends around a statement.
    client.batch_execute("BEGIN").await?;
    client.batch_execute("SHOW STATS").await?;
    client.batch_execute("COMMIT").await?;
    Ok(())
}

async fn the_console_answers_row_by_row(cluster: &Cluster) -> Outcome {
    let mut session = Raw::connect(&console(cluster.router(0)?)).await?;
    let batch = [
        parse("", "SHOW SHARDS", &[]),
        bind("", "", false, &[]),
        describe(b'P', ""),
        execute("", 1),
        execute("", 0),
        sync(),
    ];
    let answer = session.exchange(&batch.concat()).await?;
    same!(tags(&answer), "12TDsDCZ", "{answer:?}");
    let wrong = [parse("", "SELECT 1", &[]), bind("", "", false, &[]), sync()];
    let answer = session.exchange(&wrong.concat()).await?;
    same!(tags(&answer), "EZ", "{answer:?}");
    Ok(())
}

async fn only_admins_enter_where_users_prove_who_they_are(cluster: &Cluster) -> Outcome {
    let (name, password) = ROUTER_USER;
    let address = Address {
        user: name.to_owned(),
        password: Some(password.to_owned()),
        ..console(cluster.router(1)?)
    };
    let refused = address.client().await.err().context("alice was let in")?;
    let text = format!("{refused:#}");
    anyhow::ensure!(text.contains("may not use the admin console"), "{text}");
    let output = address.psql_output("SHOW POOLS").await?;
    anyhow::ensure!(!output.status.success(), "psql was let in");
    Ok(())
}

async fn what_the_console_does_not_know_is_refused(cluster: &Cluster) -> Outcome {
    let mut session = Raw::connect(&console(cluster.router(0)?)).await?;
    for (command, code) in [
        ("SELECT 1", "42601"),
        ("SHOW TABLES", "42704"),
        ("PAUSE nowhere", "42704"),
    ] {
        let answer = session.query(command).await?;
        same!(tags(&answer), "EZ", "{command}");
        same!(answer[0].sqlstate().as_deref(), Some(code), "{command}");
    }
    same!(tags(&session.query(" ; ").await?), "IZ");
    Ok(())
}

/// A cluster whose router may wait two seconds for a backend.
async fn cluster() -> anyhow::Result<Cluster> {
    Cluster::start(Plan {
        router_config: json!({ "sharding": { "checkout_timeout": "2s" } }),
        ..Plan::default()
    })
    .await
}

async fn a_paused_shard_is_idle_and_serves_again_after_resume() -> Outcome {
    let cluster = cluster().await?;
    cluster
        .create("paused", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?;
    let (one, two) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    let select = |key: i64| format!("SELECT 1 FROM paused WHERE k = {key}");
    let mut busy = Raw::connect(&router.address()).await?;
    busy.query("BEGIN").await?;
    busy.query(&select(one)).await?;
    let operator = console(router).client().await?;
    let pause = operator.simple_query("PAUSE \"shard-1\"");
    tokio::pin!(pause);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut pause).await;
    anyhow::ensure!(early.is_err(), "paused while a transaction is open");
    // The transaction goes on to its end.
    same!(tags(&busy.query(&select(one)).await?), "TCZ");
    busy.query("COMMIT").await?;
    pause.await?;
    let pools = shown(router, "SHOW POOLS").await?;
    let pool = row(&pools, "shard_id", "shard-1")?;
    same!(pool["paused"], "1");
    same!(pool["sv_idle"], "0", "idle backends are closed");
    // The other shard serves on, and new clients are greeted by it.
    let mut other = Raw::connect(&router.address()).await?;
    same!(tags(&other.query(&select(two)).await?), "TCZ");
    // Not resumed in time: the session goes on after the error.
    let answer = busy.query(&select(one)).await?;
    same!(tags(&answer), "EZ");
    same!(answer[0].sqlstate().as_deref(), Some("53400"));
    // Resumed in time: nothing but a delay.
    let sql = select(one);
    let waiting = busy.query(&sql);
    let resumed = async {
        wait::until("a waiting client", wait::SETTLE, async || {
            let pools = shown(router, "SHOW POOLS").await?;
            same!(row(&pools, "shard_id", "shard-1")?["cl_waiting"], "1");
            let clients = shown(router, "SHOW CLIENTS").await?;
            row(&clients, "state", "waiting").map(drop)
        })
        .await?;
        operator.simple_query("RESUME").await?;
        anyhow::Ok(())
    };
    let (answer, resumed) = tokio::join!(waiting, resumed);
    resumed?;
    same!(tags(&answer?), "TCZ");
    Ok(())
}

async fn a_pause_ends_with_the_operator_that_waits_for_it() -> Outcome {
    let cluster = cluster().await?;
    let router = cluster.router(0)?;
    let mut busy = Raw::connect(&router.address()).await?;
    busy.query("BEGIN").await?;
    busy.query("SELECT 1").await?;
    let mut operator = Raw::connect(&console(router)).await?;
    operator.send(&query("PAUSE")).await?;
    let paused = async |wanted: &str| {
        let rows = shown(router, "SHOW POOLS").await?;
        let is = rows.iter().any(|row| row["paused"] == "1");
        anyhow::ensure!(is == (wanted == "1"), "{rows:?}");
        Ok(())
    };
    wait::until("a pause", wait::SETTLE, async || paused("1").await).await?;
    drop(operator);
    wait::until("the end of the pause", wait::SETTLE, async || {
        paused("0").await
    })
    .await?;
    busy.query("COMMIT").await?;
    same!(router.psql("SELECT 1").await?, "1");
    Ok(())
}

async fn reconnect_replaces_every_backend() -> Outcome {
    let cluster = cluster().await?;
    let router = cluster.router(0)?;
    let mut busy = Raw::connect(&router.address()).await?;
    busy.query("BEGIN").await?;
    busy.query("SELECT 1").await?;
    router.psql("SELECT 1").await?;
    let ids = async || {
        let rows = shown(router, "SHOW SERVERS").await?;
        anyhow::Ok(
            rows.into_iter()
                .map(|row| row["id"].to_string())
                .collect::<Vec<_>>(),
        )
    };
    let before = ids().await?;
    let operator = console(router).client().await?;
    operator.simple_query("RECONNECT").await?;
    let servers = shown(router, "SHOW SERVERS").await?;
    same!(servers.len(), 1, "only the busy one is left: {servers:?}");
    same!(servers[0]["close_needed"], "1");
    busy.query("COMMIT").await?;
    router.psql("SELECT 1").await?;
    for id in ids().await? {
        anyhow::ensure!(!before.contains(&id), "{id} was not replaced");
    }
    Ok(())
}

async fn reload_takes_users_and_says_what_takes_a_restart() -> Outcome {
    let users = json!([{ "name": "root", "password": "first" }]);
    let auth = json!({
        "admin_users": ["root"],
        "auth": { "method": "scram-sha-256", "users": users },
    });
    let cluster = Cluster::start(Plan {
        shards: 1,
        router_config: json!({ "pgwire": auth }),
        ..Plan::default()
    })
    .await?;
    let router = cluster.router(0)?;
    let address = |password: &str| Address {
        user: "root".to_owned(),
        password: Some(password.to_owned()),
        ..console(router)
    };
    let operator = address("first").client().await?;
    let path = router.program.config();
    let text = std::fs::read_to_string(path)?;
    std::fs::write(path, text.replace("\"first\"", "\"second\""))?;
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    config["sharding"]["max_connections"] = json!(7);
    config["observability"]["log_level"] = json!("debug");
    std::fs::write(path, config.to_string())?;
    operator.simple_query("RELOAD").await?;
    anyhow::ensure!(address("first").client().await.is_err(), "the old password");
    let shown = address("second").psql_output("RELOAD").await?;
    let notices = String::from_utf8_lossy(&shown.stderr).into_owned();
    anyhow::ensure!(
        notices.contains("sharding.max_connections = 7 takes a restart"),
        "{notices}"
    );
    let level = "SHOW CONFIG";
    let rows = address("second").psql(level).await?;
    anyhow::ensure!(rows.contains("log_level|debug|info|yes"), "{rows}");
    anyhow::ensure!(rows.contains("max_connections|20|100|no"), "{rows}");
    // What cannot be used changes nothing.
    std::fs::write(path, "{\"nonsense\": 1}")?;
    let refused = operator.simple_query("RELOAD").await;
    let code = refused.err().and_then(|error| error.code().cloned());
    same!(
        code.map(|code| code.code().to_owned()).as_deref(),
        Some("F0000")
    );
    address("second").client().await?;
    Ok(())
}

async fn a_pause_waits_for_the_end_of_a_copy() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 1,
        ..Plan::default()
    })
    .await?;
    let router = cluster.router(0)?;
    router.psql("CREATE TABLE loaded (k bigint)").await?;
    let body = json!({ "name": "loaded", "kind": "unsharded", "shard_id": "shard-1" });
    cluster.post_when_led("/tables", &body).await?;
    cluster.settle().await?;
    let mut session = Raw::connect(&router.address()).await?;
    session.send(&query("COPY loaded FROM STDIN")).await?;
    same!(
        session.receive().await?.map(|message| message.tag),
        Some(b'G')
    );
    let mut operator = Raw::connect(&console(router)).await?;
    operator.send(&query("PAUSE")).await?;
    let early = tokio::time::timeout(Duration::from_millis(500), operator.receive()).await;
    anyhow::ensure!(early.is_err(), "paused amid a copy: {early:?}");
    for _ in 0..100 {
        session.send(&message(b'd', b"1\n")).await?;
    }
    session.send(&message(b'c', &[])).await?;
    same!(tags(&session.until_ready().await?), "CZ");
    same!(tags(&operator.until_ready().await?), "CZ");
    same!(tags(&operator.query("RESUME").await?), "CZ");
    same!(router.psql("SELECT count(*) FROM loaded").await?, "100");
    Ok(())
}

async fn replicas_have_pools_and_are_paused_with_their_shard() -> Outcome {
    let mut cluster = Cluster::start(Plan {
        shards: 0,
        spares: 1,
        ..Plan::default()
    })
    .await?;
    let primary = cluster.spares.pop().context("a spare")?;
    let replica = Postgres::replica_of(&primary).await?;
    let shard = json!({
        "name": "shard-1",
        "primary_endpoint": primary.endpoint(),
        "replicas": [replica.endpoint()],
    });
    cluster.post_when_led("/shards", &shard).await?;
    cluster.settle().await?;
    let router = cluster.router(0)?;
    let eventual = [("sharding.consistency", "eventual")];
    wait::until("a read by the replica", wait::SETTLE, async || {
        let mut session = Raw::connect_with(&router.address(), &eventual).await?;
        let answer = session.query("SELECT pg_is_in_recovery()").await?;
        let is_replica = |m: &tests::raw::Message| m.tag == b'D' && m.body.ends_with(b"t");
        anyhow::ensure!(answer.iter().any(is_replica), "{answer:?}");
        Ok(())
    })
    .await?;
    let pools = shown(router, "SHOW POOLS").await?;
    let pool = row(&pools, "role", "replica")?;
    same!(pool["shard_id"], "shard-1");
    same!(pool["port"], json!(replica.address().port.to_string()));
    let servers = shown(router, "SHOW SERVERS").await?;
    row(&servers, "port", &replica.address().port.to_string())?;
    let mut operator = Raw::connect(&console(router)).await?;
    same!(tags(&operator.query("PAUSE shard-1").await?), "CZ");
    for pool in shown(router, "SHOW POOLS").await? {
        same!(
            (&pool["paused"], &pool["sv_idle"]),
            (&json!("1"), &json!("0")),
            "{pool}"
        );
    }
    same!(tags(&operator.query("RESUME").await?), "CZ");
    same!(router.psql("SELECT 1").await?, "1");
    let stats = shown(router, "SHOW STATS").await?;
    for column in ["total_received", "total_sent"] {
        let bytes = row(&stats, "shard_id", "shard-1")?[column].as_str();
        let bytes: u64 = bytes.context("a number")?.parse()?;
        anyhow::ensure!(bytes > 0, "{stats:?}");
    }
    Ok(())
}
