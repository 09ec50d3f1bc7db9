//! TLS between the router and its shards: what `shards_tls` says is what happens, and nothing else
//! changes by it.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::authority::Authority;
use tests::cluster::Plan;
use tests::postgres::Options;
use tests::{Cluster, Router, wait};
use tokio_postgres::NoTls;

use super::cancel;
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        sslmode_means_what_libpq_means_by_it,
        an_authority_that_is_replaced_is_in_force_for_new_connections,
        a_shard_without_tls_is_reached_only_where_tls_is_not_required,
    )
    .into()
}

/// Whether the backend that answers was reached under TLS, as the shard sees it.
const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

async fn router(cluster: &Cluster, tls: Value) -> anyhow::Result<Router> {
    let config = json!({ "shards_tls": tls });
    let mut router = Router::prepare(&cluster.etcd.endpoint(), &config)?;
    router.program.start().await?;
    Ok(router)
}

async fn sslmode_means_what_libpq_means_by_it() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let mut settings = authority.postgres()?;
    settings.push(("log_connections", "on".to_owned()));
    let postgres = Options {
        settings,
        ..Options::default()
    };
    let full = json!({ "sslmode": "verify-full", "root_cert_path": authority.root() });
    let cluster = Cluster::start(Plan {
        shards: 2,
        postgres,
        router_config: json!({ "shards_tls": full }),
        manager_config: json!({ "shards_tls": full }),
        ..Plan::default()
    })
    .await?;
    for (tls, encrypted) in [
        (json!({ "sslmode": "disable" }), "f"),
        (json!({}), "t"),
        (json!({ "sslmode": "require" }), "t"),
        (
            json!({ "sslmode": "verify-ca", "root_cert_path": authority.root() }),
            "t",
        ),
    ] {
        let router = router(&cluster, tls.clone()).await?;
        same!(router.psql(IS_ENCRYPTED).await?, encrypted, "{tls}");
    }
    let strict = router(
        &cluster,
        json!({ "sslmode": "verify-ca", "root_cert_path": other.root() }),
    )
    .await?;
    let refused = strict.address().psql_output("SELECT 1").await?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    anyhow::ensure!(text.contains("TLS handshake"), "{text}");
    everything_works_as_in_clear(&cluster).await?;
    let log = cluster.shard("shard-1")?.log();
    let mut managers = log
        .lines()
        .filter(|line| line.contains("application_name=sharding-manager"))
        .peekable();
    anyhow::ensure!(managers.peek().is_some(), "no manager asked: {log}");
    anyhow::ensure!(
        managers.all(|line| line.contains("SSL enabled")),
        "a manager asked in clear: {log}"
    );
    Ok(())
}

/// Writing, reading, much of both, and cancelling, under verify-full.
async fn everything_works_as_in_clear(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    same!(router.psql(IS_ENCRYPTED).await?, "t");
    let over_http = router.execute(&json!({ "query": IS_ENCRYPTED })).await?;
    same!(over_http.expect(200)?["rows"][0]["ssl"], json!(true));
    cluster
        .create("encrypted", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let mut client = router.client().await?;
    // More than any buffer between the two holds, both ways.
    let long = "x".repeat(8 << 20);
    for key in 0..4_i64 {
        let sql = "INSERT INTO encrypted (k, v) VALUES ($1, $2)";
        client.execute(sql, &[&key, &long]).await?;
        let row = client
            .query_one("SELECT v FROM encrypted WHERE k = $1", &[&key])
            .await?;
        anyhow::ensure!(row.get::<_, &str>(0) == long, "key {key} came back changed");
    }
    let rows = client
        .query(
            "SELECT repeat('y', 1000) FROM generate_series(1, 20000)",
            &[],
        )
        .await?;
    same!(rows.len(), 20_000);
    let transaction = client.transaction().await?;
    let sql = "UPDATE encrypted SET v = 'short' WHERE k = 1";
    same!(transaction.execute(sql, &[]).await?, 1);
    transaction.rollback().await?;
    let sql = cancel::sleeper(cluster, "encrypted_sleeper").await?;
    let token = client.cancel_token();
    let (slept, cancelled) = tokio::join!(client.query(&sql, &[]), async {
        cancel::running(cluster, "encrypted_sleeper").await?;
        anyhow::Ok(token.cancel_query(NoTls).await?)
    });
    cancelled?;
    same!(super::refused(slept)?.code().code(), "57014");
    Ok(())
}

async fn an_authority_that_is_replaced_is_in_force_for_new_connections() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let postgres = Options {
        settings: authority.postgres()?,
        ..Options::default()
    };
    let root = authority.root();
    let (good, bad) = (std::fs::read(&root)?, std::fs::read(other.root())?);
    let full = json!({ "sslmode": "verify-full", "root_cert_path": root });
    let cluster = Cluster::start(Plan {
        shards: 1,
        postgres,
        router_config: json!({ "shards_tls": full }),
        manager_config: json!({ "shards_tls": full }),
        ..Plan::default()
    })
    .await?;
    let router = cluster.router(0)?;
    let mut console = router.address();
    console.database = "sharding".to_owned();
    for (file, passes) in [(&bad, false), (&good, true)] {
        std::fs::write(&root, file)?;
        wait::until("the new authority", wait::SETTLE, async || {
            console.psql("RECONNECT").await?;
            let shown = router.address().psql_output(IS_ENCRYPTED).await?;
            same!(shown.status.success(), passes);
            Ok(())
        })
        .await?;
        // The manager connects anew for each probe.
        let healthy = format!(
            "shard_health_status{{shard_id=\"shard-1\"}} {}",
            u8::from(passes)
        );
        wait::until(&healthy, wait::SETTLE, async || {
            let metrics = cluster.manager(0)?.0.metrics().await?;
            anyhow::ensure!(metrics.contains(&healthy), "no {healthy}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn a_shard_without_tls_is_reached_only_where_tls_is_not_required() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 1,
        ..Plan::default()
    })
    .await?;
    same!(cluster.router(0)?.psql(IS_ENCRYPTED).await?, "f");
    let router = router(&cluster, json!({ "sslmode": "require" })).await?;
    let refused = router.address().psql_output("SELECT 1").await?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    anyhow::ensure!(text.contains("offers no TLS"), "{text}");
    Ok(())
}
