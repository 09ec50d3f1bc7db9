//! Every limit of the configuration is kept (I10): what is beyond it is refused, the rest goes on.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::raw::{Raw, parse, query, startup, sync, tags};
use tokio::time::Instant;

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: every_limit_of_the_configuration_is_kept).into()
}

async fn every_limit_of_the_configuration_is_kept() -> Outcome {
    let router_config = json!({
        "pgwire": {
            "max_client_connections": 4,
            "max_prepared_statements": 5,
            "max_message_bytes": "64KiB",
            "login_timeout": "1s",
        },
        "sharding": { "max_connections": 1, "checkout_timeout": "500ms" },
    });
    let cluster = Cluster::start(Plan {
        shards: 1,
        router_config,
        ..Plan::default()
    })
    .await?;
    cluster
        .create("bounded", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    sessions(&cluster).await?;
    backends(&cluster).await?;
    statements(&cluster).await?;
    messages(&cluster).await?;
    silence(&cluster).await
}

/// Connects once the sessions of the step before are gone.
async fn connect(cluster: &Cluster) -> anyhow::Result<Raw> {
    let address = cluster.router(0)?.address();
    tests::wait::until("a free place", tests::wait::SETTLE, || {
        Raw::connect(&address)
    })
    .await
}

async fn sessions(cluster: &Cluster) -> Outcome {
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(connect(cluster).await?);
    }
    let address = cluster.router(0)?.address();
    let mut fifth = Raw::open(address.port).await?;
    fifth
        .send(&startup(&[
            ("user", &address.user),
            ("database", &address.database),
        ]))
        .await?;
    let answer = fifth.closed().await?;
    same!(sqlstate(&answer).as_deref(), Some("53300"), "{answer:?}");
    for session in &mut sessions {
        same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    }
    Ok(())
}

async fn backends(cluster: &Cluster) -> Outcome {
    let (mut one, mut two) = (connect(cluster).await?, connect(cluster).await?);
    one.query("BEGIN").await?;
    one.query("INSERT INTO bounded (k) VALUES (1)").await?;
    let begin = Instant::now();
    let answer = two.query("INSERT INTO bounded (k) VALUES (2)").await?;
    let (code, text) = error_of(&answer)?;
    same!(code, "53400", "{text}");
    anyhow::ensure!(text.contains("shard-1"), "the shard is not named: {text}");
    same!(status(&answer)?, 'I');
    let took = begin.elapsed();
    anyhow::ensure!(took < Duration::from_secs(5), "refused after {took:?}");
    one.query("COMMIT").await?;
    same!(
        tags(&two.query("INSERT INTO bounded (k) VALUES (2)").await?),
        "CZ"
    );
    Ok(())
}

async fn statements(cluster: &Cluster) -> Outcome {
    let mut session = connect(cluster).await?;
    for number in 0..5 {
        let name = format!("s{number}");
        let answer = session
            .exchange(&[parse(&name, "SELECT 1", &[]), sync()].concat())
            .await?;
        same!(tags(&answer), "1Z", "{name}");
    }
    let sixth = session
        .exchange(&[parse("s5", "SELECT 1", &[]), sync()].concat())
        .await?;
    same!(sqlstate(&sixth).as_deref(), Some("54000"), "{sixth:?}");
    same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    Ok(())
}

async fn messages(cluster: &Cluster) -> Outcome {
    let mut session = connect(cluster).await?;
    let fits = format!("SELECT 1 /* {} */", "x".repeat(60_000));
    same!(column(&session.query(&fits).await?)?, ["1"]);
    let longer = format!("SELECT 1 /* {} */", "x".repeat(70_000));
    drop(session.send(&query(&longer)).await);
    let answer = session.closed().await?;
    let code = sqlstate(&answer).unwrap_or_default();
    anyhow::ensure!(["08P01", "54000"].contains(&code.as_str()), "{answer:?}");
    Ok(())
}

async fn silence(cluster: &Cluster) -> Outcome {
    let begin = Instant::now();
    let mut silent = Raw::open(cluster.router(0)?.address().port).await?;
    silent.closed().await?;
    let took = begin.elapsed();
    anyhow::ensure!(
        took < Duration::from_secs(6),
        "a silent client was kept for {took:?}"
    );
    Ok(())
}
