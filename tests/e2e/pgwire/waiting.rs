//! What a session waits for, and for how long: a backend in the line, a client that says nothing,
//! a shard that does not answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::{Raw, startup, tags};
use tests::{Cluster, wait};
use tokio::time::Instant;

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        those_who_wait_for_a_backend_are_served_in_order,
        waiting_has_an_end_and_the_line_a_limit,
        a_cancel_ends_a_wait_for_a_backend,
        a_client_that_leaves_gives_up_its_place,
        who_waits_for_a_shard_that_leaves_is_told_at_once,
        a_copy_that_takes_too_long_is_ended,
        a_client_beyond_the_limit_is_refused_and_the_others_go_on,
        a_session_or_transaction_that_idles_too_long_is_closed,
        a_statement_that_takes_too_long_is_cancelled,
        a_shard_that_answers_no_cancel_is_given_up,
    )
    .into()
}

async fn one_shard(router_config: serde_json::Value) -> anyhow::Result<Cluster> {
    Cluster::start(Plan {
        shards: 1,
        router_config,
        ..Plan::default()
    })
    .await
}

/// A gauge of the router that has one shard.
async fn gauge(cluster: &Cluster, name: &str) -> anyhow::Result<String> {
    let metrics = cluster.router(0)?.program.metrics().await?;
    let line = metrics.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit_once(' '));
    Ok(value.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

async fn wait_for_waiting(cluster: &Cluster, count: usize) -> Outcome {
    wait::until("a line", wait::SETTLE, async || {
        same!(
            gauge(cluster, "shard_connections_waiting").await?,
            count.to_string()
        );
        Ok(())
    })
    .await
}

async fn those_who_wait_for_a_backend_are_served_in_order() -> Outcome {
    let cluster = one_shard(json!({
        "sharding": { "max_connections": 1, "checkout_timeout": "30s" },
    }))
    .await?;
    let router = cluster.router(0)?;
    router
        .psql("CREATE TABLE line (k bigint, n int, at timestamptz DEFAULT clock_timestamp())")
        .await?;
    cluster
        .post_when_led(
            "/tables",
            &json!({ "name": "line", "shard_key": "k", "key_type": "bigint", "group": "default" }),
        )
        .await?;
    cluster.settle().await?;
    let mut sessions = Vec::new();
    for _ in 0..30 {
        sessions.push(Raw::connect(&router.address()).await?);
    }
    let mut holder = Raw::connect(&router.address()).await?;
    holder.query("BEGIN").await?;
    holder.query("SELECT 1").await?;
    for (number, session) in sessions.iter_mut().enumerate() {
        let sql = format!("INSERT INTO line (k, n) VALUES (7, {number})");
        session.send(&tests::raw::query(&sql)).await?;
        wait_for_waiting(&cluster, number + 1).await?;
    }
    holder.query("COMMIT").await?;
    let answers = join_all(sessions.iter_mut().map(Raw::until_ready)).await;
    for answer in answers {
        same!(tags(&answer?), "CZ");
    }
    let served = router
        .psql("SELECT string_agg(n::text, ',' ORDER BY at) FROM line WHERE k = 7")
        .await?;
    let order: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    same!(served, order.join(","));
    same!(gauge(&cluster, "shard_connections_waiting").await?, "0");
    // Under load nobody starves: each of many gets a like share.
    let ends = Instant::now() + Duration::from_secs(3);
    let runs = sessions.iter_mut().map(async |session: &mut Raw| {
        let mut count = 0_u32;
        while Instant::now() < ends {
            session.query("SELECT 1").await?;
            count += 1;
        }
        anyhow::Ok(count)
    });
    let counts: Vec<u32> = join_all(runs)
        .await
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    let (least, most) = (counts.iter().min(), counts.iter().max());
    let fair = least
        .zip(most)
        .is_some_and(|(least, most)| *most <= least * 2 + 10);
    anyhow::ensure!(fair, "{counts:?}");
    let waits = gauge(&cluster, "shard_connection_wait_seconds_count").await?;
    anyhow::ensure!(waits.parse::<f64>()? >= 30.0, "{waits} waits");
    Ok(())
}

async fn waiting_has_an_end_and_the_line_a_limit() -> Outcome {
    let cluster = one_shard(json!({
        "sharding": { "max_connections": 1, "checkout_timeout": "2s", "max_waiting": 1 },
    }))
    .await?;
    let router = cluster.router(0)?;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(Raw::connect(&router.address()).await?);
    }
    let [holder, late, crowd] = sessions.as_mut_slice() else {
        anyhow::bail!("three sessions");
    };
    holder.query("BEGIN").await?;
    holder.query("SELECT 1").await?;
    late.send(&tests::raw::query("SELECT 1")).await?;
    wait_for_waiting(&cluster, 1).await?;
    let refused = crowd.query("SELECT 1").await?;
    let (code, text) = error_of(&refused)?;
    same!(code, "53400");
    anyhow::ensure!(text.contains("shard-1"), "{text}");
    let refused = late.until_ready().await?;
    same!(sqlstate(&refused).as_deref(), Some("53400"));
    same!(status(&refused)?, 'I');
    holder.query("COMMIT").await?;
    for session in [late, crowd] {
        same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    }
    Ok(())
}

async fn a_cancel_ends_a_wait_for_a_backend() -> Outcome {
    let cluster = one_shard(json!({
        "sharding": { "max_connections": 1, "checkout_timeout": "60s" },
    }))
    .await?;
    let address = cluster.router(0)?.address();
    let mut holder = Raw::connect(&address).await?;
    let mut waiter = Raw::connect(&address).await?;
    holder.query("BEGIN").await?;
    holder.query("SELECT 1").await?;
    waiter.send(&tests::raw::query("SELECT 2")).await?;
    wait_for_waiting(&cluster, 1).await?;
    let mut canceller = Raw::open(address.port).await?;
    canceller
        .send(&tests::raw::cancel(&waiter.cancel_key))
        .await?;
    let answer = waiter.until_ready().await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    same!(status(&answer)?, 'I');
    wait_for_waiting(&cluster, 0).await?;
    // The holder's backend was not meant.
    same!(column(&holder.query("SELECT 1").await?)?, ["1"]);
    holder.query("COMMIT").await?;
    same!(column(&waiter.query("SELECT 2").await?)?, ["2"]);
    Ok(())
}

async fn a_copy_that_takes_too_long_is_ended() -> Outcome {
    let cluster = one_shard(json!({ "pgwire": { "query_timeout": "1s" } })).await?;
    let router = cluster.router(0)?;
    router.psql("CREATE TABLE loaded (k bigint)").await?;
    let body = json!({ "name": "loaded", "kind": "unsharded", "shard_id": "shard-1" });
    cluster.post_when_led("/tables", &body).await?;
    cluster.settle().await?;
    let row = tests::raw::message(b'd', b"1\n");
    let mut session = Raw::connect(&router.address()).await?;
    // The client goes on sending.
    session
        .send(&tests::raw::query("COPY loaded FROM STDIN"))
        .await?;
    same!(
        session.receive().await?.map(|message| message.tag),
        Some(b'G')
    );
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        session.send(&row).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    session.send(&tests::raw::message(b'c', &[])).await?;
    let answer = session.until_ready().await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    same!(status(&answer)?, 'I');
    same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    // The client says nothing any more.
    session
        .send(&tests::raw::query("COPY loaded FROM STDIN"))
        .await?;
    same!(
        session.receive().await?.map(|message| message.tag),
        Some(b'G')
    );
    let began = Instant::now();
    let answer = session.until_ready().await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    same!(status(&answer)?, 'I');
    let took = began.elapsed();
    anyhow::ensure!(took < Duration::from_secs(10), "took {took:?}");
    session.send(&tests::raw::message(b'c', &[])).await?;
    same!(
        column(&session.query("SELECT count(*) FROM loaded").await?)?,
        ["0"]
    );
    Ok(())
}

async fn a_client_beyond_the_limit_is_refused_and_the_others_go_on() -> Outcome {
    let cluster = one_shard(json!({ "pgwire": { "max_client_connections": 5 } })).await?;
    let address = cluster.router(0)?.address();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(Raw::connect(&address).await?);
    }
    let packet = startup(&[("user", &address.user), ("database", &address.database)]);
    for _ in 0..3 {
        let mut beyond = Raw::open(address.port).await?;
        beyond.send(&packet).await?;
        let answer = beyond.closed().await?;
        same!(sqlstate(&answer).as_deref(), Some("53300"), "{answer:?}");
    }
    for session in &mut sessions {
        same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    }
    // A place that is given up is free for the next.
    drop(sessions.pop());
    wait::until("a free place", wait::SETTLE, async || {
        let mut session = Raw::connect(&address).await?;
        same!(column(&session.query("SELECT 1").await?)?, ["1"]);
        Ok(())
    })
    .await
}

/// What a session is told when it is closed.
async fn farewell(session: &mut Raw) -> anyhow::Result<String> {
    let said = session.closed().await?;
    Ok(sqlstate(&said).unwrap_or_default())
}

async fn a_session_or_transaction_that_idles_too_long_is_closed() -> Outcome {
    let cluster = one_shard(json!({ "pgwire": {
        "client_idle_timeout": "1s",
        "idle_in_transaction_timeout": "500ms",
        "transaction_timeout": "2s",
    } }))
    .await?;
    cluster
        .create("idling", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let address = cluster.router(0)?.address();
    let mut idle = Raw::connect(&address).await?;
    same!(column(&idle.query("SELECT 1").await?)?, ["1"]);
    same!(farewell(&mut idle).await?, "57P05");
    let mut lazy = Raw::connect(&address).await?;
    lazy.query("BEGIN").await?;
    lazy.query("INSERT INTO idling (k) VALUES (7)").await?;
    same!(farewell(&mut lazy).await?, "25P03");
    let mut pending = Raw::connect(&address).await?;
    pending.query("BEGIN").await?;
    same!(farewell(&mut pending).await?, "25P03", "on no shard yet");
    let mut long = Raw::connect(&address).await?;
    long.query("BEGIN").await?;
    let began = Instant::now();
    let closed = loop {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(10), "it goes on");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let Ok(answer) = long.query("SELECT 1").await else {
            break String::new();
        };
        if let Some(code) = sqlstate(&answer) {
            break code;
        }
    };
    // A statement that came at the same moment may find the connection closed.
    anyhow::ensure!(["25P04", ""].contains(&closed.as_str()), "{closed}");
    anyhow::ensure!(began.elapsed() >= Duration::from_millis(1_900), "too early");
    let direct = &cluster.shards[0];
    same!(direct.psql("SELECT count(*) FROM idling").await?, "0");
    Ok(())
}

async fn a_statement_that_takes_too_long_is_cancelled() -> Outcome {
    let cluster = one_shard(json!({ "pgwire": { "query_timeout": "1s" } })).await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    let began = Instant::now();
    let answer = session.query("SELECT pg_sleep(30)").await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    same!(status(&answer)?, 'I');
    anyhow::ensure!(began.elapsed() < Duration::from_secs(10), "late");
    same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    // Within a transaction it fails, as PostgreSQL's would.
    session.query("BEGIN").await?;
    let answer = session.query("SELECT pg_sleep(30)").await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"));
    same!(status(&answer)?, 'E');
    same!(status(&session.query("ROLLBACK").await?)?, 'I');
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' \
                   AND state = 'active'";
    same!(cluster.shards[0].psql(running).await?, "0");
    Ok(())
}

async fn a_shard_that_answers_no_cancel_is_given_up() -> Outcome {
    let cluster = one_shard(json!({
        "pgwire": { "query_timeout": "1s" },
        "sharding": { "connect_timeout": "1s", "checkout_timeout": "2s" },
    }))
    .await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    cluster.shards[0].pause()?;
    let answer = session.query("SELECT 1").await;
    cluster.shards[0].resume()?;
    let answer = answer?;
    same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    same!(status(&answer)?, 'I');
    same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    Ok(())
}

async fn a_client_that_leaves_gives_up_its_place() -> Outcome {
    let cluster = one_shard(json!({
        "sharding": { "max_connections": 1, "checkout_timeout": "60s" },
    }))
    .await?;
    let router = cluster.router(0)?;
    let mut waiter = Raw::connect(&router.address()).await?;
    let mut holder = Raw::connect(&router.address()).await?;
    holder.query("BEGIN").await?;
    holder.query("SELECT 1").await?;
    waiter.send(&tests::raw::query("SELECT 1")).await?;
    wait_for_waiting(&cluster, 1).await?;
    drop(waiter);
    wait_for_waiting(&cluster, 0).await
}

async fn who_waits_for_a_shard_that_leaves_is_told_at_once() -> Outcome {
    let cluster = Cluster::start(Plan {
        spares: 1,
        router_config: json!({
            "sharding": { "max_connections": 1, "checkout_timeout": "60s" },
        }),
        ..Plan::default()
    })
    .await?;
    cluster
        .create("leaving", "k bigint", ("k", "bigint"))
        .await?;
    // It gets no keys before a plan moves some there, so that it can be removed.
    let spare = cluster.spares.first().context("a spare server")?;
    spare.psql("CREATE TABLE leaving (k bigint)").await?;
    let shard = json!({ "name": "shard-9", "primary_endpoint": spare.endpoint() });
    cluster.post_when_led("/shards", &shard).await?;
    cluster.settle().await?;
    let router = cluster.router(0)?.address();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut session = Raw::connect(&router).await?;
        session.query("SET sharding.shard = 'shard-9'").await?;
        sessions.push(session);
    }
    let [holder, simple, extended] = sessions.as_mut_slice() else {
        anyhow::bail!("three sessions");
    };
    holder.query("BEGIN").await?;
    same!(column(&holder.query("SELECT 1").await?)?, ["1"]);
    simple.send(&tests::raw::query("SELECT 2")).await?;
    let batch = [
        tests::raw::parse("", "SELECT 3", &[]),
        tests::raw::bind("", "", false, &[]),
        tests::raw::execute("", 0),
        tests::raw::sync(),
    ];
    extended.send(&batch.concat()).await?;
    wait::until("a line", wait::SETTLE, async || {
        let metrics = cluster.router(0)?.program.metrics().await?;
        let mut lines = metrics.lines();
        let line = lines
            .find(|line| line.starts_with("shard_connections_waiting") && line.contains("shard-9"));
        anyhow::ensure!(line.is_some_and(|line| line.ends_with(" 2")), "{line:?}");
        Ok(())
    })
    .await?;
    let shard = cluster.manager(0)?.api("/shards/shard-9");
    tests::http::delete(&shard).await?.expect(204)?;
    // Each is routed anew, and told that its shard is not there.
    let began = Instant::now();
    for session in [simple, extended] {
        let answer = session.until_ready().await?;
        let (_, text) = error_of(&answer)?;
        anyhow::ensure!(text.contains("shard-9"), "{answer:?}");
        same!(status(&answer)?, 'I');
    }
    anyhow::ensure!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}
